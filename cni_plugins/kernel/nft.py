"""nftables in process, through the host's libnftables: commands are the text that nft(8) takes, each `run` one transaction.

    nft = Nft()                                    # speaks to the network namespace of the thread, from the first run on
    nft.run("create element inet cni masquerade { 10.1.0.2 }")

A failed transaction has changed nothing. NftError tells its kinds apart, which callers decide by: `missing`, `exists`, `busy`.
Listings are read as text, since not every distribution builds the library with JSON.
"""

from __future__ import annotations

from errno import EAFNOSUPPORT, EAGAIN, EBUSY, EEXIST, EINTR, EINVAL, ENOENT, ENOTSUP, EPERM, EPROTONOSUPPORT
from posix import strerror

from cni_plugins.kernel import calls, files

TYPE_CHECKING = False
if TYPE_CHECKING:
    from cni_plugins.kernel.clib import Library, Pointer
    from cni_plugins.kernel.nfnetlink import Nfnetlink
    from cni_plugins.kernel.rtnl import Request

_LIBRARY = "libnftables.so.1"
_NUMERIC = 1 << 7 | 1 << 8 | 1 << 9
"""NFT_CTX_OUTPUT_NUMERIC_PROTO, _PRIO and _SYMBOL: print numbers, whatever this host's /etc calls them."""
_HANDLES = 1 << 3
"""NFT_CTX_OUTPUT_HANDLE: print `# handle N` after everything that has one."""
_REASONS = {strerror(number): number for number in (ENOENT, EEXIST, EBUSY, EPERM, ENOTSUP, EINVAL, EAGAIN, EINTR)}


class NftError(OSError):
    """nftables refused commands, or cannot be used. `said` is its own report, `reasons` the error numbers in it; `errno` is the first."""

    def __init__(self, said: str) -> None:
        self.said = said.strip()
        lines = [line for line in self.said.split("\n") if "Error: " in line]
        self.reasons = tuple(number for line in lines for text, number in _REASONS.items() if text in line)
        super().__init__(self.reasons[0] if self.reasons else EINVAL, lines[0] if lines else self.said)

    @property
    def missing(self) -> bool:
        """Something that the commands name does not exist."""
        return ENOENT in self.reasons

    @property
    def exists(self) -> bool:
        """Something that the commands create is there already."""
        return EEXIST in self.reasons

    @property
    def busy(self) -> bool:
        """Something that the commands delete is still in use."""
        return EBUSY in self.reasons

    def __str__(self) -> str:
        return f"nftables: {self.strerror}"


class NftAbsent(NftError):
    """This node has no nftables: its kernel has none, or libnftables is not installed. What is not installed holds nothing of ours."""


class Element:
    """An element of a set or a map: the parts of its `key`, the parts of what a map says of it (`data`), its `comment`."""

    __slots__ = ("comment", "data", "key")

    def __init__(self, key: tuple[str, ...], data: tuple[str, ...], comment: str) -> None:
        self.key = key
        self.data = data
        self.comment = comment

    def __repr__(self) -> str:
        return f"Element({self.key}, {self.data}, {self.comment!r})"


class Beside:
    """The socket of netfilter that is kept open beside libnftables."""

    netfilter: Nfnetlink | None = None


class Nft:
    """libnftables for one thread, in the network namespace in which it runs its first commands."""

    __slots__ = ("_asked", "_beside", "_context", "_library")

    def __init__(self) -> None:
        self._library: Library | None = None
        self._context: Pointer | None = None
        self._beside = Beside()
        self._asked = -1

    @property
    def netfilter(self) -> Nfnetlink:
        """A socket of netfilter for what libnftables has no answer to; another one when it is broken. Raises NetlinkError.

        Kept until all is closed, as is the one that `_open` asks with: who closes one waits until the kernel is done with what anybody
        deleted.
        """
        beside = self._beside
        if beside.netfilter is not None and beside.netfilter.broken:
            beside.netfilter.close()
            beside.netfilter = None
        if beside.netfilter is None:
            from cni_plugins.kernel.nfnetlink import Nfnetlink

            beside.netfilter = Nfnetlink()
        return beside.netfilter

    def available(self) -> str | None:
        """Say why nftables cannot be used here, or None if it can."""
        try:
            self._open()
        except NftError as error:
            return str(error)
        return None

    def installed(self) -> bool:
        """Whether there is nftables on this node, where else nothing can be in it. Raises NftError when that cannot be told."""
        try:
            self._open()
        except NftAbsent:
            return False
        return True

    def _open(self) -> tuple[Library, Pointer]:
        if self._library is None or self._context is None:
            fd = -1
            try:
                # The library ends the whole process if the kernel has no nftables: so it is asked here first.
                fd = calls.netfilter_socket()
                library = calls.library(_LIBRARY)
            except OSError as error:
                if fd >= 0:
                    files.let_go(fd)
                reason = f"it cannot be used here ({error.strerror or error})"
                raise (NftAbsent(f"{reason}; install the package nftables") if _is_absent(error) else NftError(reason)) from error
            self._asked = fd
            context = library.pointer("nft_ctx_new", 0)
            library.call_raw("nft_ctx_buffer_output", context)
            library.call_raw("nft_ctx_buffer_error", context)
            library.invoke("nft_ctx_output_set_flags", context, _NUMERIC)
            self._library, self._context = library, context
        return self._library, self._context

    def run(self, commands: str, *, handles: bool = False) -> str:
        """Execute commands as one transaction and return what they print, on request with `# handle N` after chains and rules.

        Raises NftError.
        """
        library, context = self._open()
        if handles:
            library.invoke("nft_ctx_output_set_flags", context, _NUMERIC | _HANDLES)
        try:
            status = calls.nft_run(library, context, commands.encode())
        finally:
            if handles:
                library.invoke("nft_ctx_output_set_flags", context, _NUMERIC)
        printed = library.string("nft_ctx_get_output_buffer", context)
        said = library.string("nft_ctx_get_error_buffer", context)
        if status:
            raise NftError(said.decode(errors="replace"))
        return printed.decode(errors="replace")

    def change(self, *requests: Request) -> None:
        """Put elements in and take some out (see elements.py), all or none, without libnftables. Raises NftError."""
        try:
            refused = self.netfilter.transact(*requests)
        except OSError as error:
            raise NftError(f"Error: {error}") from error
        if refused:
            raise NftError("\n".join(f"Error: {one}" for one in refused))

    def elements(self, kind: str, name: str) -> list[Element]:
        """List the elements of a `kind` ("set" or "map") called `name` ("inet cni owners"). Raises NftError."""
        return parse_elements(self.run(f"list {kind} {name}"))

    def has_chain(self, name: str) -> bool:
        """Whether there is a chain called `name` ("inet cni_plugins postrouting"). Raises NftError when the kernel does not say."""
        try:
            self.run(f"list chain {name}")
        except NftError as error:
            if not error.missing:
                raise
            return False
        return True

    def close(self) -> None:
        """Let go of the context and its socket; the kernel may take its time over what was deleted through it."""
        if self._library and self._context:
            self._library.invoke("nft_ctx_free", self._context)
        self._library = self._context = None
        if self._asked >= 0:
            files.let_go(self._asked)
            self._asked = -1
        if self._beside.netfilter is not None:
            self._beside.netfilter.close()
            self._beside.netfilter = None


def _is_absent(error: OSError) -> bool:
    """Whether that is what a kernel says that has no netfilter, or the loader of a library that is not there: it has but words for it."""
    if error.errno in (EPROTONOSUPPORT, EAFNOSUPPORT):
        return True
    return error.errno is None and _LIBRARY in str(error) and strerror(ENOENT) in str(error)


def parse_elements(listing: str) -> list[Element]:
    """Read the elements out of what `list set` or `list map` prints: `elements = { KEY [comment "…"] [: DATA], … }`."""
    start = listing.find("elements = {")
    if start < 0:
        return []
    # The list is the last thing in a set, which is all that is in the table as it is printed: `… } } }`.
    body = listing[start + len("elements = {") :].rstrip().rstrip("}\n\t ")
    found: list[Element] = []
    text, comment = "", ""
    for place, piece in enumerate(body.split('"')):
        if place % 2:
            if text.endswith(" comment "):
                text, comment = text.removesuffix(" comment "), piece
            else:
                text += piece  # names of interfaces are printed in quotes, too
            continue
        first, *others = piece.split(",")
        text += first
        for other in others:
            found.append(_element(text, comment))
            text, comment = other, ""
    found.append(_element(text, comment))
    return found


def _element(text: str, comment: str) -> Element:
    key, colon, data = text.partition(" : ")
    return Element(_parts(key), _parts(data) if colon else (), comment)


def _parts(text: str) -> tuple[str, ...]:
    return tuple(part.strip() for part in text.split(" . "))
