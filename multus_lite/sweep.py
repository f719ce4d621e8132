"""GC of all networks that a node has, not of the default one alone.

The runtime knows of one interface for each of its attachments. A container that it keeps has more of them, which the state files
tell: they are added to the list that every network gets.
"""

from __future__ import annotations

from cni_plugins.model.base import folded
from cni_plugins.model.frozen import dump_json
from cni_plugins.plan import records
from cni_plugins.plan.kinds import network as single
from cni_plugins.plan.kinds.network import NetworkConf
from cni_plugins.plan.removal import Failures
from cni_plugins.plan.world import World
from cni_plugins.protocol.attachment import Attachment
from cni_plugins.protocol.errors import DecodeFailure
from cni_plugins.protocol.request import Request
from cni_plugins.protocol.versions import at_least
from multus_lite import state
from multus_lite.choice import likely

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from cni_plugins.plan.resource import Valid
    from multus_lite.networks import Network

    Object = dict[str, Any]

_HAS_GC = "1.1.0"
_LIST = "cni.dev/valid-attachments"


def collect(world: World, valid: Valid) -> None:
    """Call GC of every plugin of every network that is configured, or that any container has. All are tried. Raises CniError."""
    found = likely(world, Attachment(world.conf.name, "", "eth0"))
    keep = None if valid is None else set(valid)
    failures = Failures()
    for att in state.attachments(world.conf, world.conf.name):
        kept, problem = state.stored(world.conf, att)
        found += kept
        if keep is not None and valid is not None and (att.container_id, att.ifname) in valid:
            keep |= {(att.container_id, one.ifname) for one in kept} | _recorded(world, att)
            if problem:
                failures.attempt(None, _refuse, f"{problem}: what this container has is not known for sure")
    failures.finish()
    lists: Object = {} if keep is None else {_LIST: [{"containerID": one, "ifname": ifname} for one, ifname in sorted(keep)]}
    for network in _distinct(found):
        for index in range(len(network.plugins)):
            failures.attempt(None, _collect, world, network, index, lists)
    failures.finish()


def _collect(world: World, network: Network, index: int, lists: Object) -> None:
    environ = {**world.request.environ, "CNI_PATH": ":".join([world.conf.binDir, *world.request.path])}
    seen = World(world.handles, Request(world.request.plugin, environ, dump_json(lists)), world.conf)
    single.collect(seen, NetworkConf(network.stdin(index)))


def _distinct(found: list[Network]) -> list[Network]:
    """Each network once, as it was configured last or first: GC looks at no key that differs from container to container."""
    distinct = {(one.name, *(str(folded(plugin, "type")) for plugin in one.plugins)): one for one in reversed(found)}
    return [one for one in reversed(distinct.values()) if at_least(one.version, _HAS_GC) and not one.source.disable_gc]


def _recorded(world: World, att: Attachment) -> set[tuple[str, str]]:
    """The interfaces that the attachment's record tells of."""
    record = records.load(world.run_dir, "multus-lite", att)
    return {(item["attachment"][0], item["attachment"][1]) for item in record.items if item.get("kind") == "delegates"}


def _refuse(text: str) -> None:
    raise DecodeFailure(text, "delete that container's attachment, then GC again")
