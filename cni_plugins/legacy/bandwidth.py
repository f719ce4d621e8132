"""The intermediate device of the reference's bandwidth plugin, v1.9.1 (plugins/meta/bandwidth): an ifb that is named after the
container and the network, but not after the interface, and carries no mark.

So a second interface of the container on the same network has the same name for another device, and which of the two the device
serves is seen only from who redirects to it. It goes with the first DEL of either, in the reference; not here.
"""

from __future__ import annotations

from sys import version_info

TYPE_CHECKING = False
if TYPE_CHECKING:
    from cni_plugins.kernel.netlink import Netlink
    from cni_plugins.protocol.attachment import Attachment

HANDLE = 1 << 16
"""The token buckets that it makes are all `1:`."""
_NAME_MAX = 15


def ifb_name(network: str, container_id: str) -> str:
    """The name that it gives to a container's device on a network."""
    # Not from hashlib, which would load OpenSSL.
    if version_info >= (3, 12):
        from _sha2 import sha512
    else:
        from _sha512 import sha512  # type: ignore[import-not-found]
    digest: str = sha512(f"{network}{container_id}".encode("utf-8", "surrogateescape")).hexdigest()
    return f"bwp{digest}"[:_NAME_MAX]


def serves_another(host: Netlink, inside: Netlink, att: Attachment, *, ifb: int) -> bool:
    """Whether an interface of the container other than the attachment's hands what it sends to the device `ifb`. Raises NetlinkError."""
    from cni_plugins.kernel import shaping

    for link in inside.links(kind="veth"):
        if link.name != att.ifname and link.peer_index and ifb in shaping.redirects(host, link.peer_index):
            return True
    return False
