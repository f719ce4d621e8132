"""IP addresses and networks as small values.

The standard library's `ipaddress` says the same and more, but importing it takes longer than everything that a call does with
addresses; parsing and printing are left to the C library (inet_pton, inet_ntop), so that text is read and written as the
kernel's own tools do it (RFC 4291 and 5952 for IPv6).
"""

from __future__ import annotations

from _socket import AF_INET, AF_INET6, inet_ntop, inet_pton

BITS = {4: 32, 6: 128}
_AF = {4: AF_INET, 6: AF_INET6}


class Cidr:
    """An address together with the length of its network's prefix, such as 10.1.2.3/16.

    `family` is 4 or 6, `value` the address as an integer, `prefix` the length in bits. Host bits are kept. Compares and
    hashes by these three; prints as `10.1.2.3/16`.
    """

    __slots__ = ("family", "prefix", "value")

    def __init__(self, family: int, value: int, prefix: int) -> None:
        self.family = family
        self.value = value
        self.prefix = prefix

    @property
    def address(self) -> str:
        """The address alone, as text."""
        return format_address(self.family, self.value)

    @property
    def packed(self) -> bytes:
        """The address as 4 or 16 bytes in network order."""
        return self.value.to_bytes(BITS[self.family] // 8, "big")

    @property
    def first(self) -> int:
        """The network's lowest address: all host bits zero."""
        return self.value >> self._host_bits << self._host_bits

    @property
    def last(self) -> int:
        """The network's highest address: all host bits one (the broadcast address of an IPv4 network)."""
        return self.first | (1 << self._host_bits) - 1

    @property
    def network(self) -> Cidr:
        """The same prefix with the host bits cleared."""
        return Cidr(self.family, self.first, self.prefix)

    @property
    def host(self) -> Cidr:
        """The same address with a full-length prefix (/32 or /128)."""
        return Cidr(self.family, self.value, BITS[self.family])

    @property
    def _host_bits(self) -> int:
        return BITS[self.family] - self.prefix

    def contains(self, other: Cidr) -> bool:
        """Whether `other` lies in this network entirely."""
        return self.family == other.family and self.prefix <= other.prefix and self.first == self._cut(other)

    def _cut(self, other: Cidr) -> int:
        return other.value >> self._host_bits << self._host_bits

    def overlaps(self, other: Cidr) -> bool:
        """Whether any address lies in both networks."""
        return self.contains(other) or other.contains(self)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Cidr):
            return NotImplemented
        return (self.family, self.value, self.prefix) == (other.family, other.value, other.prefix)

    def __hash__(self) -> int:
        return hash((self.family, self.value, self.prefix))

    def __str__(self) -> str:
        return f"{self.address}/{self.prefix}"

    def __repr__(self) -> str:
        return f"Cidr({str(self)!r})"


def parse_address(text: str) -> Cidr:
    """Read an address without a prefix; IPv4 in IPv6 notation (::ffff:10.0.0.1) is read as IPv4, as the runtimes write it.

    Returns it with a full-length prefix. Raises ValueError, naming the text, for anything else.
    """
    family = 6 if ":" in text else 4
    try:
        packed = inet_pton(_AF[family], text)
    except (OSError, ValueError):
        raise ValueError(f"{text!r} is not an IP address") from None
    if packed[:12] == b"\0" * 10 + b"\xff\xff":
        return Cidr(4, int.from_bytes(packed[12:], "big"), 32)
    return Cidr(family, int.from_bytes(packed, "big"), BITS[family])


def parse_cidr(text: str) -> Cidr:
    """Read `address/prefix`, keeping the host bits. Raises ValueError, naming the text, for anything else."""
    address, slash, length = text.partition("/")
    try:
        cidr = parse_address(address)
    except ValueError:
        raise ValueError(f"{text!r} is not an address with a prefix length, such as 10.1.0.0/16") from None
    if not (slash and length.isascii() and length.isdigit() and len(length) <= 3 and int(length) <= BITS[cidr.family]):
        raise ValueError(f"{text!r} is not an address with a prefix length, such as 10.1.0.0/16")
    return Cidr(cidr.family, cidr.value, int(length))


def parse_either(text: str) -> Cidr:
    """Read an address with or without a prefix; without one it counts as a single host. Raises ValueError."""
    return parse_cidr(text) if "/" in text else parse_address(text)


def format_address(family: int, value: int) -> str:
    """Print an address in canonical form: dotted IPv4, compressed lower-case IPv6 (RFC 5952)."""
    return inet_ntop(_AF[family], value.to_bytes(BITS[family] // 8, "big"))
