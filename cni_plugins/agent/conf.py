"""The agent's configuration, `/etc/cni-plugins/agent.toml`: one table `[[overlay]]` for each overlay that it keeps, and `[multus]`.

docs/overlay.md explains the keys. What the vxlan plugin's configuration has too is called as there. A mistake is reported with the file,
the overlay's name and the key.
"""

from __future__ import annotations

import tomllib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from cni_plugins.protocol.errors import InvalidConfig
from cni_plugins.protocol.ip import parse_address, parse_cidr
from vxlan.leases.subnet_env import DEFAULT_PATH

_NAME = r"[A-Za-z0-9][A-Za-z0-9_.\-]*"  # a CNI network's name (SPEC section 1)
_LARGEST_VNI = (1 << 24) - 1
_ELSEWHERE = {
    "etcd": ("network", "ipv6Network", "vni", "port", "backend", "directRouting", "peersFile"),
    "kubernetes": ("peersFile",),
    "static": (),
}
_BY_NET_CONF = ("network", "ipv6Network", "vni", "port", "backend", "directRouting")


def _parsed(parse: Any, family: int) -> Any:
    def check(text: str) -> str:
        if text and parse(text).family != family:
            raise ValueError(f"is not of IPv{family}")
        return text

    return AfterValidator(check)


def _absolute(path: str) -> str:
    if path and not path.startswith("/"):
        raise ValueError("is not an absolute path")
    return path


FilePath = Annotated[str, AfterValidator(_absolute)]


class _Table(BaseModel):
    model_config = ConfigDict(frozen=True, strict=True, extra="forbid")


class EtcdConf(_Table):
    """How etcd is reached: `[overlay.etcd]`."""

    endpoints: list[str] = Field(min_length=1)
    """URLs, tried in this order until one answers."""

    prefix: str = "/coreos.com/network"
    """Under which the overlay's keys are; each overlay has its own."""

    caFile: FilePath = ""
    """Certificates that sign the endpoints', in PEM; when absent, those of the system."""

    certFile: FilePath = ""
    keyFile: FilePath = ""
    """Our own certificate and its key, where etcd asks for one."""

    username: str = ""
    passwordFile: FilePath = ""
    """Who we are, where etcd has users; the password is the file's first line."""

    @model_validator(mode="after")
    def _check(self) -> EtcdConf:
        for endpoint in self.endpoints:
            if not endpoint.startswith(("http://", "https://")):
                raise ValueError(f"endpoints: {endpoint!r} is not a URL, such as https://192.168.77.1:2379")
        if not self.prefix.startswith("/"):
            raise ValueError(f"prefix: {self.prefix!r} does not begin with a slash")
        if bool(self.certFile) != bool(self.keyFile):
            raise ValueError("certFile and keyFile go together")
        if bool(self.username) != bool(self.passwordFile):
            raise ValueError("username and passwordFile go together")
        return self


class KubernetesConf(_Table):
    """How the API server is reached, and what this node is called there: `[overlay.kubernetes]`."""

    node: str = ""
    """This node's name; when absent, what the environment variable NODE_NAME says, else the host's name."""

    kubeconfig: FilePath = ""
    """When absent, the service account of the pod that the agent runs in."""

    netConf: FilePath = ""
    """Flannel's net-conf.json, in place of `network`, `backend`, `vni` and the others."""


class OverlayConf(_Table):
    """One overlay: `[[overlay]]`."""

    name: str = Field(pattern=f"^{_NAME}$")
    """What it is called; a CNI network of type vxlan that uses it has the same name."""

    store: Literal["static", "etcd", "kubernetes"]
    """Where the leases are."""

    underlay: str = Field(min_length=1, max_length=15)
    """The node's interface that leads to the other nodes."""

    node: Annotated[str, _parsed(parse_address, 4)] = ""
    ipv6Node: Annotated[str, _parsed(parse_address, 6)] = ""
    """The node's address there; when absent, the first one of the family."""

    network: Annotated[str, _parsed(parse_cidr, 4)] = ""
    ipv6Network: Annotated[str, _parsed(parse_cidr, 6)] = ""
    """The whole overlay; with etcd it stands in etcd."""

    vni: int = Field(default=1, ge=1, le=_LARGEST_VNI)
    port: int = Field(default=8472, ge=1, le=65535)
    backend: Literal["vxlan", "host-gw"] = "vxlan"
    directRouting: bool = False
    mtu: int = Field(default=0, ge=0, le=65535)
    """As in the vxlan plugin's configuration."""

    peersFile: FilePath = ""
    """With the store static: the list of the nodes and their subnets, in JSON, this node among them. It is watched."""

    subnetFile: FilePath = DEFAULT_PATH
    """Where the flannel plugin finds this node's subnet; each overlay has its own file."""

    ipMasq: bool = True
    """Masquerade what leaves the overlay from this node's subnet, so that plugins need not."""

    forwardRules: bool = True
    """Let what the node forwards from and to the overlay pass where iptables' FORWARD drops."""

    etcd: EtcdConf | None = None
    kubernetes: KubernetesConf = KubernetesConf()

    @field_validator("peersFile")
    @classmethod
    def _not_a_directory(cls, path: str) -> str:
        if path.endswith("/"):
            raise ValueError("is a directory")
        return path

    @model_validator(mode="after")
    def _check(self) -> OverlayConf:
        self._refuse(_ELSEWHERE[self.store], f"goes with another store than {self.store}")
        if self.store == "etcd" and self.etcd is None:
            raise ValueError("etcd: is missing: say in [overlay.etcd] where it is")
        if self.store != "etcd":
            self._refuse(("etcd",), f"does not go with the store {self.store}")
        if self.store != "kubernetes":
            self._refuse(("kubernetes",), f"does not go with the store {self.store}")
        if self.store == "static" and not self.peersFile:
            raise ValueError("peersFile: is missing: the store static is a file")
        if self.kubernetes.netConf:
            self._refuse(_BY_NET_CONF, "stands in netConf already")
        elif self.store != "etcd" and not (self.network or self.ipv6Network):
            raise ValueError("network: is missing")
        return self

    def _refuse(self, keys: Sequence[str], reason: str) -> None:
        for key in keys:
            if key in self.model_fields_set:
                where = "; with etcd it stands in the key PREFIX/config" if self.store == "etcd" and key != "peersFile" else ""
                raise ValueError(f"{key}: {reason}{where}")


class MultusConf(_Table):
    """What the agent does for multus-lite besides serving its calls: `[multus]`."""

    hotChange: bool = False
    """Have the networks of running pods follow the annotation that asks for them."""


class AgentConf(_Table):
    """The whole file."""

    multus: MultusConf = MultusConf()
    overlay: list[OverlayConf] = []


def read(path: Path) -> AgentConf:
    """Read the file. Raises InvalidConfig, which names the file, the table and the key; OSError when it cannot be read."""
    try:
        data = tomllib.loads(path.read_text())
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise InvalidConfig(f"{path}: this is not TOML: {error}") from None
    try:
        conf = AgentConf.model_validate(data)
    except ValidationError as error:
        raise InvalidConfig("; ".join(f"{path}: {_explained(one, data)}" for one in error.errors())) from None
    for problem in _clashes(conf.overlay):
        raise InvalidConfig(f"{path}: {problem}")
    return conf


def _explained(error: Any, data: dict[str, Any]) -> str:
    """One mistake in words: which table, which key, what is wrong, what was there."""
    where, place = "", list(error["loc"])
    if place[:1] == ["overlay"] and len(place) > 1:
        entry = data["overlay"][place[1]]
        name = entry.get("name") if isinstance(entry, dict) else None
        where = f"overlay {name if isinstance(name, str) else f'number {place[1] + 1}'}: "
        place = place[2:]
    key = ".".join(map(str, place))
    reason = error["msg"].removeprefix("Value error, ")
    if error["type"] == "missing":
        return f"{where}{key}: is missing"
    if error["type"] == "extra_forbidden":
        return f"{where}{key}: there is no such key"
    shown = "" if isinstance(error["input"], dict) else f" (got {error['input']!r})"
    return f"{where}{f'{key}: ' if key else ''}{reason}{shown}"


def _clashes(overlays: Sequence[OverlayConf]) -> Iterator[str]:
    """What no two overlays of a node may share."""
    for number, one in enumerate(overlays):
        for other in overlays[:number]:
            for key, mine, theirs in (
                ("name", one.name, other.name),
                ("subnetFile", one.subnetFile, other.subnetFile),
                ("etcd.prefix", _keys_of(one), _keys_of(other)),
                ("vni", _number_of(one), _number_of(other)),
            ):
                if mine and mine == theirs:
                    shown = mine if isinstance(mine, str) else mine[0]
                    yield f"overlay {one.name}: {key}: {shown} is taken by the overlay {other.name}: give each its own"


def _keys_of(one: OverlayConf) -> tuple[str, frozenset[str]] | None:
    return (one.etcd.prefix.rstrip("/"), frozenset(one.etcd.endpoints)) if one.etcd else None


def _number_of(one: OverlayConf) -> tuple[int, int] | None:
    known = one.store != "etcd" and not one.kubernetes.netConf and one.backend == "vxlan"
    return (one.vni, one.port) if known else None
