"""Profiles: what the suite must know of a plugin to judge it, as a TOML file.

`docs/conformance/profile.schema.json` is made from these classes; profiles that come with the suite are in `conformance/profiles`.
"""

from __future__ import annotations

import json
import re
import tomllib
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

SHIPPED = Path(__file__).parent / "profiles"
Verb = Literal["ADD", "DEL", "CHECK", "STATUS", "GC", "VERSION"]
Json = dict[str, Any]


class ProfileError(Exception):
    """There is no such profile, or it is not a right one; the text says so in one sentence."""


class _Model(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, populate_by_name=True)


class Shared(_Model):
    """Something that stays by design when an attachment is gone, such as the bridge of a network."""

    pattern: Annotated[str, Field(description="regular expression that matches all of the ledger's PLACE KIND NAME")]
    reason: Annotated[str, Field(description="why it may stay, for the report")]


class Beside(_Model):
    """A process that must run beside the plugin, such as the daemon of `dhcp`."""

    command: Annotated[list[str], Field(description="its command line, with placeholders", min_length=1)]
    ready: Annotated[str, Field(description="path that exists as soon as it can be used")] = ""


class Pool(_Model):
    """A configuration with few addresses."""

    changes: Annotated[Json, Field(description="merged into conf")]
    size: Annotated[int, Field(description="how many containers get an address", ge=1)]


class Profile(_Model):
    """One plugin, as the suite sees it.

    Text in configurations may hold placeholders: {network} the network's name, {number} its number, {subnet4} {gateway4}
    {prefix4} {subnet6} {gateway6} {prefix6} its addresses (10.89.1.0/24, 10.89.1.1, 10.89.1, fd00:89:1::/64, fd00:89:1::1, fd00:89:1:),
    {master} a link of the node that leads to a host outside, which is the gateway, {state} an empty directory for the plugin's state.
    They have other values in a second network, `second_conf`.
    """

    name: Annotated[str, Field(description="name of the profile")]
    plugin: Annotated[str, Field(description="file name of the executable")]
    kind: Annotated[Literal["interface", "ipam", "chained", "meta"], Field(description="what the plugin does")]
    about: Annotated[str, Field(description="a sentence for the report")] = ""
    versions: Annotated[list[str], Field(description="versions of the specification that it supports")] = [
        "0.1.0", "0.2.0", "0.3.0", "0.3.1", "0.4.0", "1.0.0", "1.1.0",
    ]  # fmt: skip
    verbs: Annotated[list[Verb], Field(description="operations that it implements")] = ["ADD", "DEL", "CHECK", "STATUS", "GC", "VERSION"]
    layer: Annotated[Literal["l2", "l3", "none"], Field(description="whether containers share a link, or are routed to")] = "none"
    creates: Annotated[bool, Field(description="whether ADD makes the interface CNI_IFNAME")] = False
    ifname: Annotated[str, Field(description="CNI_IFNAME of calls")] = "eth0"
    addresses: Annotated[bool, Field(description="whether its result has addresses")] = True
    ipv6: Annotated[bool, Field(description="whether conf can give IPv6 addresses, by `dual_stack`")] = False
    capabilities: Annotated[Json, Field(description="capability to an example of its runtimeConfig value")] = {}
    state_dirs: Annotated[list[str], Field(description="directories where it keeps state, beside /run and /var/lib/cni")] = []
    shared: Annotated[list[Shared], Field(description="what stays by design")] = []
    beside: Annotated[list[Beside], Field(description="processes that run beside it")] = []
    before: Annotated[Json | None, Field(description="configuration of the plugin that a chained one comes after")] = None
    conf: Annotated[Json, Field(description="an example configuration of the plugin, without cniVersion and name")]
    second_conf: Annotated[Json | None, Field(description="changes that make conf that of another network beside it")] = None
    another: Annotated[Json | None, Field(description="changes to conf for a second container, where both cannot have the same")] = None
    dual_stack: Annotated[Json | None, Field(description="changes to conf for an IPv4 and an IPv6 address")] = None
    ranges: Annotated[Json | None, Field(description="changes to conf for addresses from two ranges of different size")] = None
    pool: Annotated[Pool | None, Field(description="changes to conf for a small pool")] = None
    requested_ip: Annotated[Literal["CNI_ARGS", "args", "runtimeConfig", "no"], Field(description="how an address is asked for")] = "no"
    out_of_range: Annotated[Json | None, Field(description="dotted path of a key to a value of the right type that cannot be")] = None
    wrong_type: Annotated[Json | None, Field(description="dotted path of a key to a value of a wrong type")] = None
    needs: Annotated[list[str], Field(description="features of the machine without which nothing can be run, such as link:macvlan")] = []

    @property
    def delegate(self) -> str:
        """The IPAM plugin that the example configuration names; empty if there is none."""
        ipam = self.conf.get("ipam")
        return str(ipam.get("type", "")) if isinstance(ipam, dict) and self.kind != "ipam" else ""

    @property
    def direct(self) -> bool:
        """Whether the plugin calls that one itself, and not through another plugin, for which it makes a configuration."""
        return bool(self.delegate) and "delegate" not in self.conf


def load(name: str) -> Profile:
    """Read a profile: a file's path, or the name of one that comes with the suite. Raises ProfileError."""
    path = Path(name) if name.endswith(".toml") else SHIPPED / f"{name}.toml"
    try:
        return Profile.model_validate(tomllib.loads(path.read_text(encoding="utf-8")))
    except OSError as error:
        raise ProfileError(f"profile {name} cannot be read ({error.strerror}); there are: {', '.join(shipped())}") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ProfileError(f"{path} is not TOML: {error}") from error
    except ValidationError as error:
        first = error.errors()[0]
        raise ProfileError(f"{path} is not a profile: {'.'.join(map(str, first['loc']))}: {first['msg']}") from error


def shipped() -> list[str]:
    """Return the names of the profiles that come with the suite."""
    return sorted(path.stem for path in SHIPPED.glob("*.toml"))


def filled(value: Any, places: dict[str, str]) -> Any:
    """Return a JSON value with the placeholders in its texts filled; unknown ones stay as they are."""
    if isinstance(value, dict):
        return {key: filled(inner, places) for key, inner in value.items()}
    if isinstance(value, list):
        return [filled(inner, places) for inner in value]
    if isinstance(value, str):
        return re.sub(r"\{(\w+)\}", lambda match: places.get(match[1], match[0]), value)
    return value


def merged(base: Json, changes: Json) -> Json:
    """Return `base` with `changes` merged in: objects key by key, anything else replaced; a key that is changed to None is removed."""
    result = dict(base)
    for key, value in changes.items():
        if value is None:
            result.pop(key, None)
        elif isinstance(value, dict) and isinstance(result.get(key), dict):
            result[key] = merged(result[key], value)
        else:
            result[key] = value
    return result


def at(path: str, value: Any) -> Json:
    """Return changes that put `value` at a dotted path: {"ipam": {"subnet": 5}} for "ipam.subnet"."""
    head, _, rest = path.partition(".")
    return {head: at(rest, value) if rest else value}


def schema() -> Json:
    """Return the JSON Schema of profiles, as docs/conformance/profile.schema.json has it."""
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **Profile.model_json_schema()}


if __name__ == "__main__":
    print(json.dumps(schema(), indent=2))
