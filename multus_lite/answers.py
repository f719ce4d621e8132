"""What each network answered, in the files in which libcni keeps it: `results/<network>-<container>-<interface>`.

CHECK and DEL need it as prevResult (SPEC section 4). Multus finds our answers there, and we find its own.
"""

from __future__ import annotations

from cni_plugins.kernel import files
from cni_plugins.model.frozen import dump_json, parse_json
from cni_plugins.plan.resource import Drift, Resource
from cni_plugins.protocol.errors import CniError, DecodeFailure, InvalidConfig
from cni_plugins.protocol.result import Result, from_json
from multus_lite import encoding
from multus_lite.encoding import whose
from multus_lite.networks import Network

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any

    from cni_plugins.plan.world import World
    from cni_plugins.protocol.attachment import Attachment
    from multus_lite.conf import MultusReleaseConf

    Object = dict[str, Any]

RESULTS = "results"
_CACHE = "cniCacheV1"


class Answer(Resource["None"]):
    """What a network's plugins answered, kept for CHECK and DEL (SPEC section 4); it goes with the state."""

    __slots__ = ("conf", "network", "result")

    def __init__(self, conf: MultusReleaseConf, network: Network, result: Result) -> None:
        self.conf = conf
        self.network = network
        self.result = result

    def predict(self, world: World, att: Attachment) -> None:
        """Nothing to tell."""

    def apply(self, world: World, att: Attachment) -> None:
        """Write it as libcni does."""
        network = self.network
        data: Object = {
            "kind": _CACHE,
            "containerId": att.container_id,
            "config": encoding.whole(network),
            "ifName": network.ifname,
            "networkName": network.name,
            "netns": att.netns,
            "cniArgs": [["IgnoreUnknown", "true"], *(list(pair) for pair in att.args.items() if pair[0] != "IgnoreUnknown")],
            "of": whose(att),
        }
        found = result_json(self.result, network)
        if found is not None:
            data["result"] = found
        files.write_atomic(path_of(self.conf, network, att), dump_json(data))

    def verify(self, world: World, att: Attachment) -> None:
        """It is there."""
        if not files.exists(path_of(self.conf, self.network, att)):
            raise Drift(f"{path_of(self.conf, self.network, att)}: what network {self.network.title} answered is gone")


def result_json(made: Result, network: Network) -> Object | None:
    """A result in the network's version; None where that version cannot say it."""
    try:
        return made.to_json(network.version)
    except InvalidConfig:
        return None


def path_of(conf: MultusReleaseConf, network: Network, att: Attachment) -> str:
    """Where a network's answer is kept."""
    return f"{conf.cniDir}/{RESULTS}/{network.name}-{att.container_id}-{network.ifname}"


def result(path: str) -> Object | None:
    """The result in a file of libcni's; None when there is none that can be read."""
    found = (_cached(path) or {}).get("result")
    return found if isinstance(found, dict) else None


def of_network(conf: MultusReleaseConf, network: Network, att: Attachment) -> Result | None:
    """What a network answered; None when there is no answer of it that can be read. Raises DecodeFailure."""
    path = path_of(conf, network, att)
    cached = _cached(path)
    if cached is None:
        return None
    found = cached.get("result")
    return from_json(found, where=path, version=network.version) if found else Result()


def of_attachment(conf: MultusReleaseConf, att: Attachment) -> Iterator[tuple[str, Object]]:
    """Files of answers that speak of this attachment, or of its container without saying of which attachment."""
    for path, data in every(conf, att.container_id):
        if data.get("containerId") == att.container_id and data.get("of", whose(att)) == whose(att):
            yield path, data


def every(conf: MultusReleaseConf, container_id: str = "") -> Iterator[tuple[str, Object]]:
    """Every file of an answer that can be read; only those of one container, by their names, if it is given."""
    directory = f"{conf.cniDir}/{RESULTS}"
    for name in sorted(files.names(directory)):
        if not files.name_of_draft(name) and (not container_id or f"-{container_id}-" in name):
            data = _cached(f"{directory}/{name}")
            if data is not None:
                yield f"{directory}/{name}", data


def unreadable(conf: MultusReleaseConf, container_id: str) -> list[str]:
    """Files of a container's answers that say nothing, by their names: a crash may have cut them off."""
    directory = f"{conf.cniDir}/{RESULTS}"
    paths = [f"{directory}/{name}" for name in files.names(directory) if f"-{container_id}-" in name and not files.name_of_draft(name)]
    return [path for path in paths if _cached(path) is None]


def network_of(cached: Object, att: Attachment) -> Network | None:
    """The network by the file of its answer; None when that does not tell it."""
    try:
        source = encoding.unpacked(cached["config"])
        ifname = str(cached["ifName"])
    except (CniError, KeyError, TypeError, ValueError):
        return None
    return Network(source, title=source.name, ifname=ifname, master=ifname == att.ifname)


def capabilities(path: str) -> Object | None:
    """The values for capabilities that the network got; None where the file does not have them."""
    found = (_cached(path) or {}).get("capabilityArgs")
    return found if isinstance(found, dict) else None


def _cached(path: str) -> Object | None:
    data = files.read(path)
    try:
        value = parse_json(data) if data is not None else None
    except DecodeFailure:
        return None
    return value if isinstance(value, dict) and value.get("kind") == _CACHE else None
