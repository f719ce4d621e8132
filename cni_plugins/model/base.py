"""What a configuration class is.

    class TapConf(InterfaceConf):
        \"\"\"A tap device for the container.\"\"\"

        mtu: Mtu = 0
        \"\"\"Size in bytes of the largest packet.\"\"\"

        def check(self) -> Problems:
            if self.mtu and self.multiQueue:
                yield "mtu", "cannot be set together with multiQueue"

Attributes are named exactly as the JSON keys. The text below one is its description in the JSON Schema and in the key table of
the plugin's page; both texts are read by the freezer, at build time. Defaults are shared by all objects, so they must be
immutable: a list is a `Many[...]` and defaults to `()`.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from typing import ClassVar, Self, TypeAlias

    Problem: TypeAlias = tuple[str, str]
    Problems: TypeAlias = Iterable[Problem]


class Broken(ValueError):
    """Rules that several keys break together: pairs of a path below the object and what is wrong with it."""

    def __init__(self, *problems: Problem) -> None:
        super().__init__("; ".join(f"{path}: {text}" for path, text in problems))
        self.problems = problems


def folded(mapping: Mapping[str, object], key: str) -> object:
    """The value of a lower-case key written in any case, as Go reads keys: the last that is not null counts; else None."""
    found = None
    for name, value in mapping.items():
        if value is not None and name.lower() == key:
            found = value
    return found


class Model:
    """Base of all configuration classes. Objects are made by `frozen.validate`, or by hand with keyword arguments."""

    aliases: ClassVar[dict[str, str]] = {}
    """JSON keys that are not identifiers: attribute name to key."""

    def __init__(self, **values: object) -> None:
        self.__dict__.update(values)

    def check(self) -> Problems:
        """Rules between keys, asked when each value is right by itself: yields a key's path and what is wrong with it."""
        return ()

    @classmethod
    def from_values(cls, values: dict[str, object]) -> Self:
        """What pydantic-core calls with values that are right by themselves. Raises Broken."""
        self = cls(**values)
        problems = tuple(self.check())
        if problems:
            raise Broken(*problems)
        return self

    def __eq__(self, other: object) -> bool:
        return type(self) is type(other) and self.__dict__ == other.__dict__

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        return f"{type(self).__name__}({', '.join(f'{key}={value!r}' for key, value in self.__dict__.items())})"
