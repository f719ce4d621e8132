"""One plugin of one network: its ADD is our apply, its DEL our drop (SPEC section 4, "Plugin Delegation").

Each sees the call as a runtime would make it for that network alone: its interface, its prevResult, the plugins' directories of our
configuration; the arguments that name an address or a MAC address only where it makes the default network.
"""

from __future__ import annotations

from cni_plugins.kernel import process
from cni_plugins.model.frozen import dump_json
from cni_plugins.model.netconf import NetConf
from cni_plugins.plan import records
from cni_plugins.plan.kinds import delegate
from cni_plugins.plan.kinds import network as single
from cni_plugins.plan.kinds.delegate import Delegated
from cni_plugins.plan.kinds.network import NetworkConf, NetworkKind
from cni_plugins.plan.removal import Failures
from cni_plugins.plan.resource import Drift, Owned
from cni_plugins.plan.world import World
from cni_plugins.protocol.attachment import Attachment, key_of_mark
from cni_plugins.protocol.errors import CniError
from cni_plugins.protocol.request import Request
from cni_plugins.protocol.result import Result, from_json
from cni_plugins.protocol.versions import OLDEST, at_least
from multus_lite import answers, log, sharing, state
from multus_lite.choice import likely
from multus_lite.status import Telling

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Container, Iterable
    from typing import Any

    from cni_plugins.kernel.process import Work
    from cni_plugins.plan.resource import Item, Valid
    from multus_lite.choice import Choice
    from multus_lite.networks import Network

_HAS_STATUS = "1.1.0"
_MASTERS = ("IP", "MAC")
"""Arguments of a runtime that mean the default network."""


class DelegatesKind(NetworkKind):
    """Networks by their plugins' DEL, each with the bytes that its ADD got and the result that its network had."""

    name = "delegates"
    bulk = True  # not cheaper, but so that the last is the first

    def drop(self, world: World, owned: list[Owned]) -> None:
        """In reverse order, independent networks at once. All are tried; one CniError has what failed."""
        try:
            _drop_links(world, owned)
        except (CniError, OSError):
            pass  # each plugin tries by itself, and says what is wrong
        failures = Failures()
        for networks in reversed(sharing.separate(owned, world.conf)):
            failures.sift(process.together([self._leaving(world, one) for one in reversed(networks)], world.handles.heed))
        failures.finish()

    def _leaving(self, world: World, plugins: list[Owned]) -> Work[None]:
        """One network's plugins, the last first."""
        failures = Failures()
        for one in reversed(plugins):
            try:
                yield from self.dropping(world, one)
            except (CniError, OSError) as error:
                failures.note(error)
        failures.finish()

    def dropping(self, world: World, one: Owned) -> Work[None]:
        """The plugin's DEL."""
        item = one.item
        prev = answers.result(item["answer"]) or item.get("prev") or _given(world, item["version"], master=item["master"])
        seen = _seen(world, version=item["version"], ifname=item["attachment"][1], master=item["master"], prev=prev)
        try:
            yield from super().dropping(seen, one)
        except CniError as error:
            error.msg = f"network {item['title']}: {error.msg}"
            raise

    def find(self, world: World, att: Attachment) -> list[Item]:
        """By the state files, or what is left of them; and what the configuration tells where they leave something open."""
        kept, problem = state.stored(world.conf, att)
        if problem:
            log.warn(world, f"{problem}; {len(kept)} networks of it are known all the same")
        if problem or not kept:
            known = {one.ifname for one in kept}
            kept += [one for one in likely(world, att) if one.ifname not in known]
        return items(world, kept, att)

    def marked(self, world: World, network: str) -> Iterable[Owned]:
        """Every network of the attachments that have state files."""
        for att in state.attachments(world.conf, network):
            kept, problem = state.stored(world.conf, att)
            if problem:
                log.warn(world, f"{problem}; {len(kept)} networks of it are known all the same")
            for item in items(world, kept, att):
                yield Owned(att.key, {"kind": self.name, **item})

    def collect(self, world: World, valid: Valid) -> None:
        """Hand the runtime's list on to all networks, with the interfaces that it does not know of."""
        from multus_lite import sweep

        sweep.collect(world, valid)


KIND = DelegatesKind()


class Delegate(Delegated):
    """Plugin number `index` of a network of `choice`, on what those before it made: the fact is its result."""

    __slots__ = ("_one", "atomic", "choice", "index", "network", "previous")
    kind = KIND

    def __init__(self, choice: Choice, network: Network, index: int, previous: Result) -> None:
        self.choice = choice
        self.network = network
        self.index = index
        self.previous = previous
        self.atomic = False
        prev = answers.result_json(previous, network) if index else None
        conf = network.plugins[index]
        self._one = single.Network(NetworkConf(dump_json({**conf, "prevResult": prev} if prev else conf)))

    def refuse(self, world: World, att: Attachment) -> None:
        """The plugin must be there; the interface must not."""
        with _Naming(self.network):
            self._one.refuse(*self._as_seen(world, att))

    def predict(self, world: World, att: Attachment) -> Result:
        """What the first plugin foretells. Those after it cannot be asked: what they stand on is not there."""
        if self.index:
            return self.previous
        with _Naming(self.network):
            return self._one.predict(*self._as_seen(world, att))

    def applying(self, world: World, att: Attachment) -> Work[Result]:
        """The plugin's ADD; a failure is told on the pod."""
        with Telling(world, self.choice.api, self.choice.pod), _Naming(self.network):
            seen, theirs = self._as_seen(world, att)
            try:
                return (yield from self._one.applying(seen, theirs))
            except CniError:
                self.atomic = self._one.atomic and not _is_recorded(world, self._one.conf.type, theirs)
                raise

    def verify(self, world: World, att: Attachment) -> Result:
        """The plugin's CHECK in its own version, with its network's result: the default network's comes with the call."""
        network = self.network
        moved = {family for other in self.choice.networks if other is not network for family in other.families}
        given = _given(world, network.version, master=network.master, moved=moved)
        prev = given or answers.result(answers.path_of(world.conf, network, att))
        seen, theirs = self._as_seen(world, att, prev)
        if network.source.disable_check:
            return seen.prev or Result()
        plain = single.Network(NetworkConf(network.stdin(self.index)))
        try:
            return plain.verify(seen, theirs)
        except Drift as drift:
            raise Drift(f"network {named(network)}: {drift}", drift.fact) from None

    def ready(self, world: World) -> None:
        """The plugin's STATUS, where its version has one."""
        if at_least(self.network.version, _HAS_STATUS):
            with _Naming(self.network):
                self._one.ready(_seen(world, version=self.network.version, ifname="", master=self.network.master))

    def record(self, world: World, att: Attachment) -> Item:
        """The exact bytes, for whom, and where the network's result will be."""
        made = item(world, self.network, self.index, att)
        if self.index:
            made["prev"] = answers.result_json(self.previous, self.network)
        return made

    def _as_seen(self, world: World, att: Attachment, prev: Any = None) -> tuple[World, Attachment]:
        network = self.network
        seen = _seen(world, version=network.version, ifname=network.ifname, master=network.master, prev=prev)
        return seen, Attachment(network.name, att.container_id, network.ifname, att.netns, args=att.args)


def item(world: World, network: Network, index: int, att: Attachment) -> Item:
    """What a DEL of one plugin needs."""
    return {
        "conf": network.stdin(index).decode("utf-8", "surrogatepass"),
        "attachment": [att.container_id, network.ifname, att.netns],
        "answer": answers.path_of(world.conf, network, att),
        "title": network.title,
        "version": network.version,
        "master": network.master,
    }


def items(world: World, found: list[Network], att: Attachment) -> list[Item]:
    """What a DEL of all plugins of some networks needs, in the order in which they were added."""
    return [item(world, network, index, att) for network in found for index in range(len(network.plugins))]


def named(network: Network) -> str:
    """A network and its interface, for people; STATUS has no interface of the default network."""
    return f"{network.title} ({network.ifname})" if network.ifname else network.title


class _Naming:
    """In `with _Naming(network):` an error gets the network's name."""

    __slots__ = ("_network",)

    def __init__(self, network: Network) -> None:
        self._network = network

    def __enter__(self) -> None:
        pass

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: object) -> None:
        if isinstance(error, CniError):
            error.msg = f"network {named(self._network)}: {error.msg}"


def _drop_links(world: World, owned: list[Owned]) -> None:
    """Delete the pairs that our own plugins made for several networks, in the time that one takes; their DEL finds them gone.

    One that cannot be deleted so is left to its plugin. So are those of networks in which others take part, or whose first plugin has no
    whole record: then the link is what tells the rest.
    """
    found: dict[tuple[str, ...], bool] = {}
    for one in owned:
        conf = NetworkConf(sharing.stdin(one))
        container, ifname, _ = one.item["attachment"]
        key = (str(conf.name), container, ifname)
        if key not in found:
            record = records.load(world.run_dir, conf.type, Attachment(*key))
            found[key] = record.done and bool(record.items)
        found[key] = found[key] and _is_own(world, conf.type)
    attachments = [Attachment(*key) for key, ours in found.items() if ours]
    if len(attachments) < 2:
        return
    links = [(att, world.host.link(name=att.host_name)) for att in attachments]
    world.handles.delete_links([link.index for att, link in links if link is not None and key_of_mark(link.alias) == att.key])


def _is_recorded(world: World, plugin: str, att: Attachment) -> bool:
    """Whether a plugin of ours that failed could not undo all of what it did: it has kept its record for a DEL then."""
    try:
        return bool(records.load(world.run_dir, plugin, att).items)
    except CniError:
        return True


def _is_own(world: World, plugin: str) -> bool:
    try:
        return delegate.find(_seen(world, version=OLDEST, ifname="", master=False), plugin, field="delegates").own
    except CniError:
        return False


def _given(world: World, version: str, *, master: bool, moved: Container[int] = ()) -> Any:
    """What the runtime says that the default network's result was, in a version; None for other networks, or when it did not say it.

    It knows nothing of default routes of families that have `moved` to another network since.
    """
    prev = world.prev
    if not master or prev is None:
        return None
    routes = [route for route in prev.routes if route.dst.prefix or route.dst.family not in moved]
    try:
        return Result(prev.interfaces, ips=prev.ips, routes=routes, dns=prev.dns).to_json(version)
    except CniError:
        return None


def _seen(world: World, *, version: str, ifname: str, master: bool, prev: Any = None) -> World:
    """The call as one network's plugins see it; `prev` is the result of that network."""
    environ = {**world.request.environ, "CNI_PATH": ":".join([world.conf.binDir, *world.request.path])}
    if ifname:
        environ["CNI_IFNAME"] = ifname
    if environ.get("CNI_ARGS"):
        pairs = [pair for pair in environ["CNI_ARGS"].split(";") if master or pair.partition("=")[0] not in _MASTERS]
        if not any(pair.startswith("IgnoreUnknown=") for pair in pairs):
            pairs.insert(0, "IgnoreUnknown=true")
        environ["CNI_ARGS"] = ";".join(pairs)
    try:
        result = from_json(prev, where="prevResult", version=version) if prev else None
    except CniError:
        prev = result = None  # a plugin gets along without it on DEL; on CHECK it says that it needs it
    request = Request(world.request.plugin, environ, world.request.stdin)
    return World(world.handles, request, NetConf(cniVersion=version, prevResult=prev), result)
