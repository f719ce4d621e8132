"""What a command's module needs to add itself."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    import argparse
    from collections.abc import Sequence


class Commands(Protocol):
    """Where commands are added: what `add_subparsers` returns."""

    def add_parser(self, name: str, *, parents: Sequence[argparse.ArgumentParser], help: str) -> argparse.ArgumentParser:  # noqa: A002 - argparse's
        """The parser of a further command."""
