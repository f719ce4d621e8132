"""A network that another interface plugin makes: its ADD is our apply, its DEL our drop (SPEC section 4, "Plugin Delegation").

What a delegate gets is kept as the exact bytes: its DEL gets what its ADD got, whatever the configuration says by then. All of the
environment is passed on, CNI_ARGS included: the delegate makes the interface in our place.

A plugin that delegates has a kind of its own, made from `NetworkKind`, which knows where else than in our records such
configurations are kept.
"""

from __future__ import annotations

from cni_plugins.kernel import process
from cni_plugins.model.base import folded
from cni_plugins.model.frozen import dump_json, parse_json
from cni_plugins.plan.kinds import delegate
from cni_plugins.plan.kinds.delegate import Delegated
from cni_plugins.plan.resource import Drift, Kind, Owned
from cni_plugins.protocol.errors import CniError, Conflict, DecodeFailure, InvalidEnvironment, UnknownContainer
from cni_plugins.protocol.result import Result
from cni_plugins.protocol.versions import OLDEST, SUPPORTED, at_least

TYPE_CHECKING = False
if TYPE_CHECKING:
    from cni_plugins.kernel.process import Work
    from cni_plugins.plan.resource import Item
    from cni_plugins.plan.world import World
    from cni_plugins.protocol.attachment import Attachment

_FIELD = "delegate.type"
_HAS_CHECK = "0.4.0"
"""The version that brought CHECK, and prevResult for it and for DEL."""
_NEWER = ("STATUS", "GC")
_LISTS = ("cni.dev/valid-attachments", "cni.dev/attachments")


class NetworkConf:
    """What a delegate gets: the exact bytes `stdin`, and what they say: the plugin's `type`, the network's `name`, the `version`.

    Raises DecodeFailure when the bytes are no configuration. A version that is not ours counts as the oldest.
    """

    __slots__ = ("name", "stdin", "type", "version")

    def __init__(self, stdin: bytes) -> None:
        data = parse_json(stdin)
        if not isinstance(data, dict):
            raise DecodeFailure(f"a delegate's configuration is an object, not {data!r}")
        kind, name, version = (folded(data, key) for key in ("type", "name", "cniversion"))
        if not (kind and isinstance(kind, str)):
            raise DecodeFailure(f"a delegate's configuration names a plugin in `type`, not {kind!r}")
        self.stdin = stdin
        self.type = kind
        self.name = name
        self.version = version if isinstance(version, str) and version in SUPPORTED else OLDEST


class NetworkKind(Kind):
    """Networks by their delegate's DEL, with the configuration that its ADD got, and the prevResult that came with our own DEL."""

    name = "network"

    def drop(self, world: World, owned: list[Owned]) -> None:
        """Call the delegate's DEL for each."""
        for one in owned:
            process.complete(self.dropping(world, one), world.handles.heed)

    def dropping(self, world: World, one: Owned) -> Work[None]:
        """`drop` of one, for who does other things meanwhile."""
        container_id, ifname, netns = one.item["attachment"]
        conf = NetworkConf(one.item["conf"].encode("utf-8", "surrogatepass"))
        stdin = _with_prev_result(world, conf)
        yield from _calling(world, conf, "DEL", stdin, CNI_CONTAINERID=container_id, CNI_IFNAME=ifname, CNI_NETNS=netns)

    def alive(self, world: World, item: Item) -> bool:
        """Whether the interface is still in the container."""
        _, ifname, netns = item["attachment"]
        return _is_there(world, netns, ifname)


class Network(Delegated):
    """The network that the plugin named in `conf` makes: the fact is its result."""

    __slots__ = ("atomic", "conf")

    def __init__(self, conf: NetworkConf) -> None:
        self.conf = conf
        self.atomic = False

    def refuse(self, world: World, att: Attachment) -> None:
        """The delegate must be there. A foreign one is not asked for an interface that exists: undoing its refusal would remove it."""
        found = delegate.find(world, self.conf.type, field=_FIELD)
        self.atomic = found.own
        if not found.own and _is_there(world, att.netns, att.ifname):
            raise Conflict(f"CNI_IFNAME: {att.ifname} is in the container already", "DEL it first, or use another CNI_IFNAME")

    def predict(self, world: World, att: Attachment) -> Result:
        """Ask a delegate of our own what it would make; a foreign one cannot be asked, and STATUS has no container to ask for."""
        if world.request.command == "STATUS" or not delegate.find(world, self.conf.type, field=_FIELD).own:
            return Result()
        return _call(world, self.conf, "PREDICT", self.conf.stdin) or Result()

    def applying(self, world: World, att: Attachment) -> Work[Result]:
        """The delegate's ADD. One of our own undoes its own failure; a foreign one is sent a DEL by the undo (SPEC section 4)."""
        self.atomic = delegate.find(world, self.conf.type, field=_FIELD).own
        return (yield from _calling(world, self.conf, "ADD", self.conf.stdin)) or Result()

    def verify(self, world: World, att: Attachment) -> Result:
        """The delegate's CHECK, where its version has one; the fact is what prevResult says, drift or not."""
        prev = world.prev or Result()
        if at_least(self.conf.version, _HAS_CHECK):
            try:
                _call(world, self.conf, "CHECK", _with_prev_result(world, self.conf))
            except CniError as error:
                raise Drift(error.msg, prev) from None
        return prev

    def ready(self, world: World) -> None:
        """The delegate's STATUS; one too old to know it is taken for ready."""
        _call(world, self.conf, "STATUS", self.conf.stdin)

    def record(self, world: World, att: Attachment) -> Item:
        """The exact bytes that the delegate gets, and for whom."""
        return item(self.conf, att)


def item(conf: NetworkConf, att: Attachment) -> Item:
    """What `NetworkKind.drop` needs."""
    return {"conf": conf.stdin.decode("utf-8", "surrogatepass"), "attachment": [att.container_id, att.ifname, att.netns]}


def collect(world: World, conf: NetworkConf) -> None:
    """Hand the runtime's list on to the delegate; one too old to know GC has nothing to collect. Raises CniError."""
    lists = {key: value for key, value in parse_json(world.request.stdin).items() if key in _LISTS}
    _call(world, conf, "GC", dump_json({**parse_json(conf.stdin), **lists}))


def _call(world: World, conf: NetworkConf, command: str, stdin: bytes) -> Result | None:
    """Run a verb of the delegate, and wait for its end."""
    return process.complete(_calling(world, conf, command, stdin), world.handles.heed)


def _calling(world: World, conf: NetworkConf, command: str, stdin: bytes, **variables: str) -> Work[Result | None]:
    """A verb of the delegate; its errors start with its name, whether it is ours or not."""
    found = delegate.find(world, conf.type, field=_FIELD)
    request = world.request.for_delegate(conf.type, stdin, without=(), CNI_COMMAND=command, **variables)
    try:
        if command in _NEWER:
            found.call_newer(world, request)
            return None
        return (yield from found.calling(world, request))
    except CniError as error:
        if found.own:
            error.msg = f"{conf.type}: {error.msg}"
        raise


def _with_prev_result(world: World, conf: NetworkConf) -> bytes:
    """The bytes as they are, or with the result that the runtime passed with this call, in the delegate's version."""
    prev = world.conf.prevResult
    if prev is None or not at_least(conf.version, _HAS_CHECK):
        return conf.stdin
    if world.prev is not None and conf.version != world.conf.cniVersion:
        prev = world.prev.to_json(conf.version)
    return delegate.with_prev_result(conf.stdin, prev)


def _is_there(world: World, netns: str, ifname: str) -> bool:
    try:
        return bool(netns) and world.sandbox(netns).netlink().link(name=ifname) is not None
    except (UnknownContainer, InvalidEnvironment):
        return False
