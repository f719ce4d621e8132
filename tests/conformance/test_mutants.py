"""Every case of the suite can fail: it passes with a good plugin, and fails with one that is wrong in the way that the case looks for."""

from __future__ import annotations

import importlib
import pkgutil
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from conformance.case import cases
from conformance.profile import load, merged
from conformance.results import CaseResult
from conformance.runner import Job, run
from tests.conformance import mutants
from tests.conformance.fakes import TIMEOUT
from tests.conformance.mutants.framework import BROKE, Mutant
from tests.support.paths import REPO

WORKERS = 4
"""Cases side by side: many wait for what doesn't come."""
LIMIT = 600
"""Seconds that a case may take: the test is about its verdict, on a busy machine too."""
Tables = dict[str, dict[str, Mutant]]
MODULES = [
    importlib.import_module(f"{mutants.__name__}.{found.name}")
    for found in pkgutil.iter_modules(mutants.__path__)
    if found.name != "framework"
]
TABLES: Tables = {module.__name__: module.MUTANTS for module in MODULES}
MENDED: Tables = {module.__name__: getattr(module, "MENDED", {}) for module in MODULES}
PLACES: dict[str, str] = {case: module for module, table in TABLES.items() for case in table}
CASES = [case.id for case in cases()]


class Runs:
    """What comes of cases on a good plugin and on their mutants. All begin at once, ahead of the tests that ask for them."""

    def __init__(self, ids: list[str], *, ours: Path, reference: Path, directory: Path) -> None:
        self._ours, self._reference, self._directory = ours, reference, directory
        self._found: dict[tuple[str, str], CaseResult] = {}
        self._running = run([job for case in ids for job in self._jobs(case)], workers=WORKERS)

    def of(self, case: str) -> tuple[CaseResult, CaseResult]:
        """Wait for a case, and return its result on the good plugin and on the mutant."""
        while len(wanted := [self._found[case, tag] for tag in ("good", "mutant") if (case, tag) in self._found]) < 2:
            job, result = next(self._running)
            self._found[job.case, job.tag] = result
        return wanted[0], wanted[1]

    def broke(self, case: str) -> str:
        """Return what went wrong in the mutant's own hooks, empty if nothing did."""
        return "".join(path.read_text(encoding="utf-8") for path in (self._directory / case).glob(f"*/{BROKE}"))

    def close(self) -> None:
        """End what is still under way."""
        self._running.close()

    def _jobs(self, case: str) -> list[Job]:
        mutant = TABLES[PLACES[case]][case]
        profile = load(mutant.profile)
        profile = profile.model_copy(update={"conf": merged(profile.conf, mutant.changes)})
        sources = (self._reference, self._ours) if mutant.reference else (self._ours, self._reference)
        name = mutant.plugin or profile.plugin
        good = next((path for path in (source / name for source in sources) if path.exists()), sources[0] / name)
        if case in MENDED[PLACES[case]]:
            good = self._wrapped(good, case, MENDED)
        wrong = self._wrapped(good, case, TABLES)
        return [
            Job(case, profile, path.parent, sources, tag, timeout=TIMEOUT, limit=LIMIT) for tag, path in (("good", good), ("mutant", wrong))
        ]

    def _wrapped(self, good: Path, case: str, tables: Tables) -> Path:
        """Put a plugin into the wrapper that a table has for the case."""
        table = "MENDED" if tables is MENDED else "MUTANTS"
        place = self._directory / case / table
        place.mkdir(parents=True)
        return tables[PLACES[case]][case].write(place, module=PLACES[case], case=case, good=good, table=table)


@pytest.fixture(scope="session")
def directory() -> Iterator[Path]:
    """An empty directory that a node shows as the machine has it, as it does not with /tmp."""
    build = REPO / "build"
    build.mkdir(exist_ok=True)
    path = Path(tempfile.mkdtemp(prefix="mutants-", dir=build))
    yield path
    shutil.rmtree(path)


@pytest.fixture(scope="session")
def runs(request: pytest.FixtureRequest, *, root: None, directory: Path, plugin_dir: Path, reference_bin: Path) -> Iterator[Runs]:
    """The runs of all cases that this session's tests ask for."""
    asked = [item.callspec.params["case"] for item in request.session.items if isinstance(item, pytest.Function) and _is_of_case(item)]
    runs = Runs([case for case in asked if case in PLACES], ours=plugin_dir, reference=reference_bin, directory=directory)
    yield runs
    runs.close()


def _is_of_case(item: pytest.Function) -> bool:
    return item.originalname == test_case_passes_a_good_plugin_and_fails_its_mutant.__name__


@pytest.mark.parametrize("case", CASES)
def test_case_passes_a_good_plugin_and_fails_its_mutant(case: str, runs: Runs) -> None:
    assert case in PLACES, f"no table in tests/conformance/mutants has a plugin that {case} must fail"
    good, mutant = runs.of(case)
    assert good.verdict == "pass", f"the good plugin: {shown(good)}"
    assert not runs.broke(case), f"the mutant itself broke: {runs.broke(case)}"
    assert mutant.verdict == "fail", f"the mutant: {shown(mutant)}"
    assert "the case itself broke" not in mutant.observed, f"the mutant: {shown(mutant)}"


def test_no_mutant_is_left_without_its_case() -> None:
    assert {*PLACES} <= {*CASES}, "mutants of cases that are gone"
    assert len(PLACES) == sum(map(len, TABLES.values())), "two tables have a mutant of one case"


def test_wrapper_without_a_fault_is_as_good_as_its_plugin(root: None, directory: Path, plugin_dir: Path, reference_bin: Path) -> None:
    place = directory / "none"
    place.mkdir()
    mutant = Mutant()
    mutant.write(place, module=f"{mutants.__name__}.framework", case="none", good=plugin_dir / "bridge")
    jobs = [Job(case, load(mutant.profile), place, (plugin_dir, reference_bin), timeout=TIMEOUT) for case in ("DEL-01", "DEL-04", "VER-06")]
    assert {job.case: result.verdict for job, result in run(jobs)} == {job.case: "pass" for job in jobs}


def shown(result: CaseResult) -> str:
    """A result, as a person reads it who looks for a fault."""
    told = f"{result.verdict}: expected {result.expected}; observed {result.observed}"
    return "\n".join([told, *result.evidence.ledger, *result.evidence.calls])
