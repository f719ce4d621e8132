"""What the kernel remembers of UDP flows (conntrack): one that began before a mapping of its port changed goes on as it began.

The kernel is asked for the flows to a port, which it can pick out from Linux 5.8 on; before, it lists all and they are picked out
here. A kernel without connection tracking remembers nothing.
"""

from __future__ import annotations

from _socket import AF_INET, AF_INET6
from _struct import pack
from errno import EINVAL, ENOENT

from cni_plugins.kernel.attributes import attribute, nested, parse
from cni_plugins.kernel.nfnetlink import Nfnetlink, attributes_of, message
from cni_plugins.kernel.rtnl import NLM_F_ACK, NLM_F_DUMP
from cni_plugins.protocol.ip import format_address

TYPE_CHECKING = False
if TYPE_CHECKING:
    from cni_plugins.kernel.rtnl import Request

UDP = 17

_CTNETLINK = 1
_GET, _DELETE = 1, 2
_ORIGINAL, _ANSWER, _ID, _ZONE, _FILTER = 1, 2, 12, 18, 25
_IP, _PROTO = 1, 2
_SOURCE = {4: 1, 6: 3}
_DESTINATION = {4: 2, 6: 4}
_PROTOCOL, _DESTINATION_PORT = 1, 3
_ORIGINAL_FLAGS = 1
_BY_PROTOCOL, _BY_DESTINATION_PORT = 1 << 3, 1 << 5
_AF = {4: AF_INET, 6: AF_INET6}
_FEW = 4
_LIST = NLM_F_ACK | NLM_F_DUMP


class Flow:
    """A UDP flow: the address and `port` that its first packet was sent `to`, and the address that answers it; both as text."""

    __slots__ = ("answerer", "family", "identity", "port", "to")

    def __init__(self, family: int, *, to: str, port: int, answerer: str, identity: bytes) -> None:
        self.family = family
        self.to = to
        self.port = port
        self.answerer = answerer
        self.identity = identity


def flows(netfilter: Nfnetlink, family: int, ports: set[int]) -> list[Flow]:
    """The UDP flows of an address family (4, 6) that were begun to one of `ports`, whatever the address. Raises NetlinkError.

    The kernel goes through all of its table for each list, whatever is asked for: a few ports are asked for one by one, many at once.
    """
    lists = [_flags(_BY_PROTOCOL | _BY_DESTINATION_PORT, port) for port in ports] if len(ports) <= _FEW else [_flags(_BY_PROTOCOL, 0)]
    found = []
    for wanted in lists:
        request = message(_CTNETLINK, _GET, "list UDP flows", family=_AF[family], attributes=wanted, flags=_LIST, tolerated=(EINVAL,))
        found += [_flow(family, attributes_of(answer)) for answer in netfilter.dump(request)]
    return [flow for flow in found if flow and flow.port in ports]


def _flags(flags: int, port: int) -> bytes:
    proto = nested(_PROTO, attribute(_PROTOCOL, bytes([UDP])), attribute(_DESTINATION_PORT, pack(">H", port)))
    return nested(_ORIGINAL, proto) + nested(_FILTER, attribute(_ORIGINAL_FLAGS, pack("I", flags)))


def forget(netfilter: Nfnetlink, forgotten: list[Flow]) -> None:
    """Make the kernel treat the next packet of each flow as the first of a new one. Raises NetlinkError."""
    netfilter.ask(*(_deletion(flow) for flow in forgotten))


def _deletion(flow: Flow) -> Request:
    return message(_CTNETLINK, _DELETE, "forget a UDP flow", family=_AF[flow.family], attributes=flow.identity, tolerated=(ENOENT,))


def _flow(family: int, found: dict[int, bytes]) -> Flow | None:
    """Read one entry of the list; None for what is no UDP flow, which kernels before 5.8 list as well."""
    original, reply = parse(found[_ORIGINAL]), parse(found[_ANSWER])
    proto = parse(original[_PROTO])
    if proto[_PROTOCOL] != bytes([UDP]):
        return None
    identity = nested(_ORIGINAL, found[_ORIGINAL]) + b"".join(attribute(kind, found[kind]) for kind in (_ID, _ZONE) if kind in found)
    return Flow(
        family,
        to=_text(family, parse(original[_IP])[_DESTINATION[family]]),
        port=int.from_bytes(proto[_DESTINATION_PORT], "big"),
        answerer=_text(family, parse(reply[_IP])[_SOURCE[family]]),
        identity=identity,
    )


def _text(family: int, packed: bytes) -> str:
    return format_address(family, int.from_bytes(packed, "big"))
