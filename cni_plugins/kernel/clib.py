"""Functions of the host's shared libraries, without the `ctypes` package.

`ctypes` is a Python face on the extension module `_ctypes`; importing it takes longer than all that we do with it. Of that
face we need little: load a library, find a function, call it with integers, byte strings and opaque pointers.
"""

from __future__ import annotations

from _ctypes import FUNCFLAG_CDECL, FUNCFLAG_USE_ERRNO, CFuncPtr, _SimpleCData, dlopen, dlsym, get_errno, set_errno
from posix import RTLD_NOW, strerror

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    Number = _SimpleCData[int]
    Text = _SimpleCData[bytes]
    Address = _SimpleCData[int | None]
else:
    Number = Text = Address = _SimpleCData


class Int(Number):
    """A C int."""

    _type_ = "i"


class String(Text):
    """A C string: bytes that end with a zero."""

    _type_ = "z"


class Pointer(Address):
    """A pointer into the library's memory, of which we know no more."""

    _type_ = "P"


class Byte(Number):
    """An unsigned C char."""

    _type_ = "B"


class Function(CFuncPtr):
    """A C function that returns an int unless told otherwise; errno is kept for us across the call."""

    _flags_ = FUNCFLAG_CDECL | FUNCFLAG_USE_ERRNO
    _restype_ = Int


class Library:
    """A loaded shared library. Raises OSError, with the loader's reason, when it cannot be loaded (`name`: its soname)."""

    __slots__ = ("_functions", "_handle", "name")

    def __init__(self, name: str | None) -> None:
        self.name = name
        self._handle = dlopen(name, RTLD_NOW)  # type: ignore[arg-type]  # None is this process itself
        self._functions: dict[str, Any] = {}

    def _find(self, function: str, result: type | None) -> Any:
        found = self._functions.get(function)
        if found is None:
            found = self._functions[function] = Function(dlsym(self._handle, function))
            found.restype = result
        return found

    def call_raw(self, function: str, *arguments: Number | Text | Address | int | bytes | None) -> int:
        """Call a function that returns an int, and return that."""
        status: int = self._find(function, Int)(*arguments)
        return status

    def call(self, function: str, *arguments: Number | Text | Address | int | bytes | None) -> int:
        """Call a function that returns -1 and sets errno on failure; raises OSError then."""
        set_errno(0)
        status = self.call_raw(function, *arguments)
        if status == -1:
            raise OSError(get_errno(), f"{function}: {strerror(get_errno())}")
        return status

    def pointer(self, function: str, *arguments: Number | Text | Address | int | bytes | None) -> Pointer:
        """Call a function that returns a pointer; raises MemoryError if that is null, which is how libraries say it."""
        address: int | None = self._find(function, Pointer)(*arguments)
        if not address:
            raise MemoryError(f"{function} gave nothing")
        return Pointer(address)

    def string(self, function: str, *arguments: Number | Text | Address | int | bytes | None) -> bytes:
        """Call a function that returns a string (null counts as empty)."""
        text: bytes | None = self._find(function, String)(*arguments)
        return text or b""

    def invoke(self, function: str, *arguments: Number | Text | Address | int | bytes | None) -> None:
        """Call a function that returns nothing."""
        self._find(function, None)(*arguments)


def memory_of(data: bytearray) -> Any:
    """The memory of `data` as an argument of a function that writes there; `data` keeps its length as long as that is in use."""
    return (Byte * len(data)).from_buffer(data)


_loaded: dict[str, Library] = {}


def c_library() -> Library:
    """The C library of this process, loaded once."""
    if "" not in _loaded:
        _loaded[""] = Library(None)
    return _loaded[""]
