"""Token buckets on links, as resources see them: made, compared, and in nobody else's way."""

from __future__ import annotations

from cni_plugins.kernel import shaping
from cni_plugins.kernel.rtnl import NetlinkError
from cni_plugins.protocol.errors import Conflict, KernelRefused, NotReady

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from cni_plugins.kernel.netlink import Link
    from cni_plugins.kernel.shaping import Bucket
    from cni_plugins.plan.world import World


def has_limit(world: World, link: Link, handle: int) -> bool:
    """Whether what a link sends is limited by a token bucket with this handle."""
    found = shaping.qdisc(world.host, link.index, shaping.ROOT)
    return found is not None and (found.kind, found.handle) == ("tbf", handle)


def limit(world: World, link: Link, bucket: Bucket, *, handle: int, below: str) -> None:
    """Limit what a link sends; `below` names the discipline that sorts what waits, empty for none. Raises KernelRefused."""
    try:
        shaping.add_bucket(world.host, link.index, bucket, handle=handle, below=below)
    except NetlinkError as error:
        hint = "the node's kernel must have sch_tbf" + (f" and sch_{below}" if below else "")
        raise KernelRefused(f"{link.name} cannot be limited: {error}", hint) from None


def problems(world: World, link: Link, bucket: Bucket, below: str) -> Iterator[str]:
    """How the limit on a link differs from what it should be."""
    found = shaping.qdisc(world.host, link.index, shaping.ROOT)
    if found is None or found.bucket is None:
        yield f"{link.name} is not limited any more to {bucket}"
        return
    if not bucket.same_as(found.bucket):
        yield f"{link.name} is limited to {found.bucket}, not to {bucket}"
    if below:
        child = shaping.qdisc(world.host, link.index, found.handle | 1)
        if child is None or child.kind != below:
            yield f"{link.name} has lost the {below} below its limit"


def refuse_other(world: World, host: Link, parent: int) -> None:
    """Raise Conflict when somebody else has a discipline at `parent` of the link."""
    other = shaping.qdisc(world.host, host.index, parent)
    if other is not None:
        side = "what it sends" if parent == shaping.ROOT else "what it receives"
        raise Conflict(f"{host.name} has a queueing discipline on {side} already: {other.kind} {other.handle >> 16:x}:", "see tc(8)")


def module_of(below: str) -> tuple[str, ...]:
    """The kernel module of the discipline below a limit, none for none."""
    return (f"sch_{below}",) if below else ()


def require(*modules: str) -> None:
    """Raise NotReady when the kernel is known to lack one of these modules."""
    missing = shaping.missing_module(*modules)
    if missing is not None:
        raise NotReady(f"the node's kernel has no {missing}, which limits need")
