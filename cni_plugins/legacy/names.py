"""How the reference plugins make names of what they are for."""

from __future__ import annotations

from sys import version_info


def sha512_hex(text: str) -> str:
    """SHA-512 in hexadecimal, of which the reference's names are beginnings. Not from hashlib, which would load OpenSSL."""
    if version_info >= (3, 12):
        from _sha2 import sha512
    else:
        from _sha512 import sha512  # type: ignore[import-not-found]
    return str(sha512(text.encode("utf-8", "surrogateescape")).hexdigest())
