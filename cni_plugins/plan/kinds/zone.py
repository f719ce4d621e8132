"""Letting a pod through where firewalld runs: its addresses become sources of a zone, as the reference plugin makes them.

firewalld keeps such sources for as long as it runs and does not reload; nothing of them is on disk.
"""

from __future__ import annotations

from cni_plugins.kernel.dbus import Bus, BusError, text, texts, truth
from cni_plugins.plan.resource import Drift, Kind, Owned, Resource
from cni_plugins.protocol.errors import KernelRefused, NotReady
from cni_plugins.protocol.ip import parse_address

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

    from cni_plugins.plan.resource import Item, Recorded
    from cni_plugins.plan.world import World
    from cni_plugins.protocol.attachment import Attachment

_NAME, _PATH, _ZONE = "org.fedoraproject.FirewallD1", "/org/fedoraproject/FirewallD1", "org.fedoraproject.FirewallD1.zone"
SIGNALS = (
    f"type='signal',path='{_PATH}',interface='{_NAME}',member='Reloaded'",
    f"type='signal',sender='org.freedesktop.DBus',member='NameOwnerChanged',arg0='{_NAME}'",
)
"""What firewalld and the bus announce when it has forgotten all sources, as rules to listen by."""
_THERE = ("ZONE_ALREADY_SET", "ALREADY_ENABLED")
_NOT_THERE = ("UNKNOWN_SOURCE", "NOT_ENABLED", "ZONE_CONFLICT", "INVALID_ZONE")


class ZoneKind(Kind):
    """Sources by the zone that was written down, or else by the zone that firewalld says they are in."""

    name = "zone"

    def drop(self, world: World, owned: list[Owned]) -> None:
        """Take the sources out; a firewalld that does not run has none."""
        bus = _firewalld()
        if bus is None:
            return
        with bus:
            for one in owned:
                for source in one.item["sources"]:
                    zone = one.item.get("zone") or _zone_of(bus, source)
                    if zone:
                        _ask(bus, "removeSource", [zone, source], harmless=_NOT_THERE)

    def find(self, world: World, att: Attachment) -> list[Item]:
        """The addresses that the attachment is known to have, as far as they are in any zone."""
        bus = _firewalld()
        if bus is None:
            return []
        from cni_plugins.plan.addresses import known

        with bus:
            sources = [source for source in map(_source, known(world, att)) if _zone_of(bus, source)]
        return [{"sources": sources}] if sources else []

    def restore(self, world: World, recorded: Recorded) -> set[bytes]:
        """The sources that the records have; a firewalld that does not run lets everything through."""
        bus = _firewalld()
        if bus is None:
            return set()
        with bus:
            return {att.key for att, item in recorded if _add(bus, item["zone"], item["sources"])}


KIND = ZoneKind()


class Backend(Resource["bool"]):
    """Whether it is firewalld that lets pods through: `asked` for by name, or running while nothing is asked for."""

    __slots__ = ("asked",)

    def __init__(self, asked: str) -> None:
        self.asked = asked

    def refuse(self, world: World, att: Attachment) -> None:
        """What `ready` says."""
        self.ready(world)

    def predict(self, world: World, att: Attachment) -> bool:
        """Ask who answers to firewalld's name."""
        return self.asked == "firewalld" or (not self.asked and _runs())

    def apply(self, world: World, att: Attachment) -> bool:
        """As predicted."""
        return self.predict(world, att)

    def verify(self, world: World, att: Attachment) -> bool:
        """As predicted."""
        return self.predict(world, att)

    def ready(self, world: World) -> None:
        """Who asks for firewalld must have it running."""
        if self.asked == "firewalld" and not _runs():
            raise NotReady("backend: 'firewalld' was asked for, but it does not run", "start it, or leave backend out")


class Zone(Resource["None"]):
    """`addresses` are sources of a zone of firewalld."""

    __slots__ = ("sources", "zone")
    kind = KIND

    def __init__(self, zone: str, addresses: Iterable[str]) -> None:
        self.zone = zone
        self.sources = list(map(_source, addresses))

    def record(self, world: World, att: Attachment) -> Item:
        """Zone and sources."""
        return {"zone": self.zone, "sources": self.sources}

    def predict(self, world: World, att: Attachment) -> None:
        """Nothing to tell."""

    def apply(self, world: World, att: Attachment) -> None:
        """Make the addresses sources of the zone; those that are already stay."""
        bus = _firewalld()
        if bus is None:
            raise KernelRefused("firewalld does not run any more")
        with bus:
            _add(bus, self.zone, self.sources)

    def verify(self, world: World, att: Attachment) -> None:
        """firewalld says that each address is a source of the zone."""
        bus = _firewalld()
        if bus is None:
            raise Drift("firewalld does not run")
        with bus:
            lost = [source for source in self.sources if not truth(_ask(bus, "querySource", [self.zone, source], harmless=_NOT_THERE))]
        if lost:
            raise Drift(f"{', '.join(lost)} is not a source of firewalld's zone {self.zone}")


def has_forgotten(signal: str, body: bytes) -> bool:
    """Whether one of SIGNALS says that firewalld is there, and has forgotten its sources."""
    return signal == "Reloaded" or (signal == "NameOwnerChanged" and bool(texts(body)[2]))


def _source(address: str) -> str:
    return str(parse_address(address))


def _firewalld() -> Bus | None:
    """A connection to the bus on which firewalld answers; None when it does not run."""
    bus = Bus.connect()
    if bus is None:
        return None
    try:
        if bus.has(_NAME):
            return bus
    except BaseException:
        bus.close()
        raise
    bus.close()
    return None


def _runs() -> bool:
    bus = _firewalld()
    if bus is None:
        return False
    bus.close()
    return True


def _add(bus: Bus, zone: str, sources: Iterable[str]) -> bool:
    """Have sources in a zone; whether any was not."""
    answers = [_ask(bus, "addSource", [zone, source], harmless=_THERE) for source in sources]
    return any(text(answer) for answer in answers)  # the zone's name


def _zone_of(bus: Bus, source: str) -> str:
    """The zone that a source is in, empty if in none."""
    return text(_ask(bus, "getZoneOfSource", [source], harmless=_NOT_THERE))


def _ask(bus: Bus, method: str, arguments: list[str], *, harmless: tuple[str, ...]) -> bytes:
    """Call a method of firewalld's zones. Zeros answer for a refusal that names one of `harmless`. Raises KernelRefused."""
    try:
        return bus.call(_NAME, _PATH, f"{_ZONE}.{method}", arguments)
    except BusError as error:
        if any(word in error.msg for word in harmless):
            return bytes(8)
        raise KernelRefused(f"firewalld: {method} {' '.join(arguments)}: {error.msg}") from None
