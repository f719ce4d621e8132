"""Cases: what each checks, how strict the specification is about it, and what a plugin needs for it to apply.

@case("DEL-02", title="DEL twice succeeds", level=MUST, spec=clause("DEL", "Plugins MUST accept multiple DEL calls …"), needs={"DEL"})
def delete_twice(lab: Lab) -> None:
    pod = lab.attached()
    lab.delete(pod).succeeds()
    lab.delete(pod).succeeds()
"""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from conformance.results import LevelName, Spec

if TYPE_CHECKING:
    from conformance.lab import Lab

Body = Callable[["Lab"], None]

MUST: Final = "MUST"
SHOULD: Final = "SHOULD"
MAY: Final = "MAY"
BEST: Final = "BEST"

GROUPS = ("PRO", "VER", "ADD", "DEL", "CHK", "STA", "GC", "ERR", "IPM", "CHN", "CON", "CRS", "DP")
"""The parts of ids before the hyphen, in the order in which cases are run and told."""


class Failed(Exception):
    """The plugin broke the clause: what was expected, what was observed, and lines of the ledger's difference, if that tells it."""

    def __init__(self, expected: str, observed: str, *, ledger: Iterable[str] = ()) -> None:
        super().__init__(f"expected {expected}; observed {observed}")
        self.expected = expected
        self.observed = observed
        self.ledger = tuple(ledger)


class Skipped(Exception):
    """The case cannot be run here; the text says why."""


@dataclass(frozen=True, slots=True)
class Case:
    """One case. `needs` are features (`conformance.features`) that the plugin must have; "a|b" asks for one of them.

    `seconds` is how long it may take before it is ended and counts as failed.
    """

    id: str
    title: str
    level: LevelName
    spec: Spec
    needs: frozenset[str]
    seconds: float
    body: Body

    @property
    def order(self) -> tuple[int, str]:
        """Where it comes in a run."""
        return GROUPS.index(self.id.partition("-")[0]), self.id


_registry: dict[str, Case] = {}


def case(
    id: str,  # noqa: A002 - the field's name
    *,
    title: str,
    level: LevelName,
    spec: Spec,
    needs: Iterable[str] = (),
    seconds: float = 60,
) -> Callable[[Body], Body]:
    """Register the decorated function as the body of a case; see `Case`. Raises ValueError when the id is taken or of no group."""

    def register(body: Body) -> Body:
        if id in _registry or id.partition("-")[0] not in GROUPS:
            raise ValueError(f"{id}: there is such a case already, or no such group")
        _registry[id] = Case(id, title, level, spec, frozenset(needs), seconds, body)
        return body

    return register


def cases() -> list[Case]:
    """Return all cases of the suite, in order."""
    package = importlib.import_module("conformance.cases")
    for module in pkgutil.iter_modules(package.__path__):
        importlib.import_module(f"conformance.cases.{module.name}")
    return sorted(_registry.values(), key=lambda one: one.order)
