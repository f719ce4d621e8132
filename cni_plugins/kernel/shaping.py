"""Limiting what a link sends: token buckets, and intermediate devices for the other direction (tc(8), rtnetlink RTM_*QDISC, RTM_*TFILTER).

Linux shapes what a link sends, and only that. What comes in is therefore handed to an intermediate functional block (ifb): a link
that sends it on to where it was going, and can be shaped meanwhile.

Functions and not a part of `Netlink`, which every plugin loads and one of them shapes with.
"""

from __future__ import annotations

from _struct import pack
from errno import EINVAL, ENODEV, ENOENT

from cni_plugins.kernel import files
from cni_plugins.kernel.layouts import ACTIONS
from cni_plugins.kernel.links import IFF_UP
from cni_plugins.kernel.rtnl import (
    NLM_F_CREATE,
    NLM_F_DUMP,
    NLM_F_EXCL,
    RTM_NEWLINK,
    NetlinkError,
    Request,
    decode,
    encode,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any

    from cni_plugins.kernel.codec import Message
    from cni_plugins.kernel.netlink import Link, Netlink

RTM_NEWQDISC, RTM_DELQDISC, RTM_GETQDISC = 36, 37, 38
RTM_NEWTFILTER, RTM_GETTFILTER = 44, 46
ROOT, INGRESS = 0xFFFFFFFF, 0xFFFFFFF1
"""Where a discipline stands: on what a link sends, or on what it receives."""
INGRESS_HANDLE = 0xFFFF0000

_ECHO = 0x8
"""NLM_F_ECHO: whoever asks for a single discipline hears of it only as a listener would."""
_MAX = 0xFFFFFFFF
_TICK_SHIFT = 6
"""A tick is 64 ns in every kernel since 2.6.31 (what /proc/net/psched says for the sake of older programs)."""
_ALL_PROTOCOLS, _FIRST = 0x0300, 1 << 16
"""ETH_P_ALL as the network has it, and the place before all other filters."""
_REDIRECT, _STOLEN = 1, 4
_EVERYTHING = pack("BBBxHHhhIIIii", 1, 0, 1, *[0] * 9)
"""struct tc_u32_sel, which ends the search where it fits, and its one key, which fits every packet."""
_PLACES = [f"TCA_ACT_PRIO_{place}" for place in range(1, ACTIONS + 1)]
_MODULES = "/lib/modules"


class Bucket:
    """A token bucket as the kernel has it.

    `rate` in bytes a second, `ticks` of 64 ns is how long the bucket's content lasts at that rate, `limit` the most bytes that wait.
    `wrapped` are the ticks that the reference makes of a burst whose ticks have more than 32 bits (on amd64: the lower ones).
    """

    __slots__ = ("limit", "rate", "ticks", "wrapped")

    def __init__(self, rate: int, ticks: int, limit: int, *, wrapped: int = 0) -> None:
        self.rate = rate
        self.ticks = ticks
        self.limit = limit
        self.wrapped = wrapped or ticks

    @classmethod
    def of_bits(cls, rate: int, burst: int) -> Bucket:
        """A bucket for `rate` bits a second that holds `burst` bits, and lets them and 25 ms of the rate wait, as the reference does.

        It rounds as the reference does too, but where the reference's numbers wrap around ours stop at the largest one.
        """
        rate, burst = rate // 8, burst // 8
        microseconds = burst * 1_000_000 // rate
        wrapped = _ticks(microseconds & _MAX) & _MAX
        return cls(rate, min(max(_ticks(microseconds), 1), _MAX), min(rate // 40 + burst, _MAX), wrapped=wrapped)

    def same_as(self, found: Bucket) -> bool:
        """Whether that is what became of this one in the kernel, or would have in the reference's hands."""
        return (self.rate, self.limit) == (found.rate, found.limit) and found.ticks in (self.ticks, self.wrapped)

    def __str__(self) -> str:
        return f"{self.rate * 8} bit/s with a burst of {(self.ticks << _TICK_SHIFT) * self.rate // 1_000_000_000} bytes"


def _ticks(microseconds: int) -> int:
    return microseconds * 1000 >> _TICK_SHIFT


class Qdisc:
    """A queueing discipline: its `kind` ("tbf", …), its `handle`, and its `bucket` when it is a token bucket."""

    __slots__ = ("bucket", "handle", "kind")

    def __init__(self, kind: str, handle: int, bucket: Bucket | None = None) -> None:
        self.kind = kind
        self.handle = handle
        self.bucket = bucket


def add_ifb(netlink: Netlink, name: str, *, mtu: int, mac: str, alias: str) -> Link:
    """Create an intermediate device, up, and return it. Raises NetlinkError (EEXIST) if a link has that name.

    It queues nothing by itself. The kernel takes no `alias` while it creates, so that is a second request.
    """
    info = {"attrs": [["IFLA_INFO_KIND", "ifb"]]}
    attrs: list[list[Any]] = [["IFLA_IFNAME", name], ["IFLA_ADDRESS", mac], ["IFLA_MTU", mtu], ["IFLA_TXQLEN", 0], ["IFLA_LINKINFO", info]]
    fields = {"flags": IFF_UP, "change": IFF_UP}
    netlink.ask(encode("ifinfmsg", RTM_NEWLINK, f"create ifb {name}", fields=fields, attrs=attrs, flags=NLM_F_CREATE | NLM_F_EXCL))
    link = netlink.link(name=name)
    if link is None:
        raise NetlinkError(ENODEV, f"create ifb {name}", "somebody deleted it at once")
    netlink.set_link(link.index, alias=alias)
    link.alias = alias
    return link


def add_bucket(netlink: Netlink, index: int, bucket: Bucket, *, handle: int, below: str = "") -> None:
    """Limit what link `index` sends. `handle` names the discipline, `below` one that sorts what waits ("fq_codel"). Raises NetlinkError."""
    parms = {"rate": min(bucket.rate, _MAX), "buffer": bucket.ticks, "limit": bucket.limit}
    attrs: list[list[Any]] = [["TCA_TBF_PARMS", parms]]
    if bucket.rate > _MAX:
        attrs.append(["TCA_TBF_RATE64", bucket.rate])
    requests = [_new_qdisc(index, "tbf", parent=ROOT, handle=handle, options={"attrs": attrs})]
    if below:
        requests.append(_new_qdisc(index, below, parent=handle | 1, handle=0))
    netlink.ask(*requests)


def add_redirect(netlink: Netlink, index: int, target: int) -> None:
    """Hand all that link `index` receives to link `target`, an ifb. Raises NetlinkError.

    In two steps: where somebody else's ingress discipline is in the way, nothing may be hung into that one.
    """
    netlink.ask(_new_qdisc(index, "ingress", parent=INGRESS, handle=INGRESS_HANDLE))
    parms = {"action": _STOLEN, "eaction": _REDIRECT, "ifindex": target}
    action = [["TCA_ACT_KIND", "mirred"], ["TCA_ACT_OPTIONS", {"attrs": [["TCA_MIRRED_PARMS", parms]]}]]
    options = [
        ["TCA_U32_CLASSID", 0x10001],
        ["TCA_U32_SEL", _EVERYTHING],
        ["TCA_U32_ACT", {"attrs": [["TCA_ACT_PRIO_1", {"attrs": action}]]}],
    ]
    fields = {"index": index, "parent": INGRESS_HANDLE, "info": _FIRST | _ALL_PROTOCOLS}
    attrs: list[list[Any]] = [["TCA_KIND", "u32"], ["TCA_OPTIONS", {"attrs": options}]]
    what = f"redirect link {index} to ifb {target}"
    netlink.ask(encode("tcmsg", RTM_NEWTFILTER, what, fields=fields, attrs=attrs, flags=NLM_F_CREATE | NLM_F_EXCL))


def qdisc(netlink: Netlink, index: int, parent: int) -> Qdisc | None:
    """The discipline at `parent` (ROOT, INGRESS, a bucket's class) of a link; None where there is none but the kernel's own."""
    what = f"look up the queueing discipline of link {index}"
    request = encode(
        "tcmsg", RTM_GETQDISC, what, fields={"index": index, "parent": parent}, flags=_ECHO, tolerated=(ENOENT, EINVAL, ENODEV)
    )
    answer = netlink.ask(request)[0]
    if not answer:
        return None
    decoded = decode("tcmsg", answer[0])
    kind = decoded.get_attr("TCA_KIND")
    return Qdisc(kind, decoded["handle"], _bucket(decoded) if kind == "tbf" else None) if decoded["handle"] else None


def _bucket(decoded: Message) -> Bucket:
    options = decoded.get_attr("TCA_OPTIONS")
    parms = options.get_attr("TCA_TBF_PARMS")
    return Bucket(options.get_attr("TCA_TBF_RATE64") or parms["rate"], parms["buffer"], parms["limit"])


def redirects(netlink: Netlink, index: int) -> list[int | None]:
    """Where a link's filters on what it receives hand that to: an index, 0 when that link is gone, None for a filter of any other kind."""
    fields = {"index": index, "parent": INGRESS_HANDLE}
    listed = netlink.dump(encode("tcmsg", RTM_GETTFILTER, "list filters", fields=fields, flags=NLM_F_DUMP, tolerated=(ENODEV, EINVAL)))
    return [target for message in listed for target in _targets(decode("tcmsg", message))]


def _targets(decoded: Message) -> Iterator[int | None]:
    if decoded.get_attr("TCA_KIND") != "u32":
        yield None
        return
    options = decoded.get_attr("TCA_OPTIONS")
    if options is None or options.get_attr("TCA_U32_SEL") is None:
        return  # the filter's table, and not what stands in it
    actions = options.get_attr("TCA_U32_ACT")
    for place in _PLACES if actions else ():
        action = actions.get_attr(place)
        if action is None:
            continue
        if action.get_attr("TCA_ACT_KIND") == "mirred":
            parms = action.get_attr("TCA_ACT_OPTIONS").get_attr("TCA_MIRRED_PARMS")
            yield parms["ifindex"] if parms["eaction"] == _REDIRECT else None
        else:
            yield None


def delete_qdisc(netlink: Netlink, index: int, kind: str, *, parent: int, handle: int) -> bool:
    """Delete a discipline, with all that stands below it. Returns False if there is none of this kind and handle. Raises NetlinkError."""
    what = f"delete {kind} of link {index}"
    fields = {"index": index, "parent": parent, "handle": handle}
    request = encode("tcmsg", RTM_DELQDISC, what, fields=fields, attrs=[["TCA_KIND", kind]], tolerated=(ENOENT, EINVAL, ENODEV))
    return netlink.tell(request)


def missing_module(*names: str) -> str | None:
    """The first of these kernel modules that this node has neither built in nor on its disk; None where that cannot be told."""
    release = (files.read("/proc/sys/kernel/osrelease") or b"").strip().decode()
    lists = [files.read(f"{_MODULES}/{release}/modules.{kind}", limit=1 << 24) for kind in ("builtin", "dep")]
    if None in lists:
        return None
    return next((name for name in names if not any(f"/{name}.ko".encode() in (text or b"") for text in lists)), None)


def _new_qdisc(index: int, kind: str, *, parent: int, handle: int, options: dict[str, Any] | None = None) -> Request:
    attrs: list[list[Any]] = [["TCA_KIND", kind]] + ([["TCA_OPTIONS", options]] if options else [])
    fields = {"index": index, "parent": parent, "handle": handle}
    return encode("tcmsg", RTM_NEWQDISC, f"add {kind} to link {index}", fields=fields, attrs=attrs, flags=NLM_F_CREATE | NLM_F_EXCL)
