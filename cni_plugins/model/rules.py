"""What single values must be like: each function takes a value, returns what the configuration holds, or raises ValueError.

Pydantic-core calls them at run time, so this module imports nothing heavy. Messages start with the value and say what is wanted;
the loader puts the key's path before them.
"""

from __future__ import annotations

from cni_plugins.model.base import Broken
from cni_plugins.protocol.ip import Cidr, parse_address, parse_cidr, parse_either

MTU_MIN = 68
MTU_MAX = 65535
IFNAME_MAX = 15
_HEX = frozenset("0123456789abcdef")


def address(text: str) -> Cidr | None:
    """An IP address without prefix. Empty counts as absent, as Go's net.IP reads it."""
    return parse_address(text) if text else None


def address_with_prefix(text: str) -> Cidr:
    """`address/prefix`; host bits may be set. IPv4 in IPv6 notation is refused: no network can be written that way."""
    cidr = parse_cidr(text)
    if ":" in text and cidr.family == 4:
        raise ValueError(f"{text!r} is IPv4 in IPv6 notation: write it as IPv4")
    return cidr


def either(text: str) -> Cidr:
    """An IP address with or without a prefix."""
    return parse_either(text)


def mac(text: str) -> str:
    """A 48-bit hardware address in any usual notation, returned as aa:bb:cc:dd:ee:ff. Empty counts as absent."""
    if not text:
        return ""
    digits = _mac_digits(text.lower())
    if digits is None:
        raise ValueError(f"{text!r} is not a MAC address, such as 02:00:5e:10:00:01")
    if int(digits[1], 16) & 1:
        raise ValueError(f"{text!r} is a multicast address, which no interface can have")
    if digits == "0" * 12:
        raise ValueError(f"{text!r} is no address: all zeros")
    return ":".join(digits[at : at + 2] for at in range(0, 12, 2))


def _mac_digits(text: str) -> str | None:
    """The twelve digits of aa:bb:cc:dd:ee:ff, aa-bb-cc-dd-ee-ff or aabb.ccdd.eeff; None for anything else."""
    for separator, width in ((":", 2), ("-", 2), (".", 4)):
        groups = text.split(separator)
        if len(groups) == 12 // width and all(len(group) == width and _HEX.issuperset(group) for group in groups):
            return "".join(groups)
    return None


def ifname(text: str) -> str:
    """A name that Linux accepts for an interface."""
    size = len(text.encode("utf-8", "surrogateescape"))
    if not 0 < size <= IFNAME_MAX:
        raise ValueError(f"{text!r} is not an interface name: 1 to {IFNAME_MAX} bytes, this has {size}")
    bad = next((char for char in text if char in "/:\0" or char.isspace()), None)
    if bad is not None or text in (".", ".."):
        raise ValueError(f"{text!r} is not an interface name" + (f": it holds {bad!r}" if bad is not None else ""))
    return text


def mtu(value: int) -> int:
    """Size in bytes of the largest packet; 0 leaves it to the kernel."""
    if value and not MTU_MIN <= value <= MTU_MAX:
        raise ValueError(f"{value} is not an MTU: {MTU_MIN} to {MTU_MAX}, or 0 to leave it to the kernel")
    return value


def path(text: str) -> str:
    """A file name that the kernel can be given."""
    if "\0" in text:
        raise ValueError(f"{text!r} is not a path: it holds a NUL character")
    return text


def ipam(value: dict[str, object]) -> dict[str, object]:
    """The delegate's object, unchanged: its `type` must be the name of an executable, never a path out of CNI_PATH."""
    for key, kind in value.items():
        if key.lower() != "type" or kind is None:
            continue
        if not isinstance(kind, str):
            raise Broken(("type", f"{kind!r} is not a string"))
        if "/" in kind or "\0" in kind or kind in (".", ".."):
            raise Broken(("type", f"{kind!r} is not the name of a plugin"))
    return value
