"""The reports in docs/conformance are what their results say, and leave no deviation without a word on it."""

from __future__ import annotations

from pathlib import Path

import pytest

from conformance import results
from conformance.report import markdown, remarks
from tests.lab import conformance_reports
from tests.lab.conformance_reports import HOME, Publisher
from tests.unit.conformance.runs import FAILED, PASSED, run

PUBLISHED = {str(path.relative_to(HOME).with_suffix("")): path for path in sorted(HOME.glob("*/*.json"))}
REMARK = '[[remark]]\nplugin = "ours/*"\ncase = "{case}"\nwhose = "a matter of opinion"\ntext = "As it should be."\n'


def test_every_published_report_is_made_from_its_results() -> None:
    known = remarks.load(HOME / "remarks.toml")
    for label, path in PUBLISHED.items():
        wanted = markdown.report(results.load(path), label=label, remarks=known)
        assert path.with_suffix(".md").read_text() == wanted, f"{label}: run python -m tests.lab.conformance_reports --render"


def test_every_published_deviation_has_a_remark() -> None:
    known = remarks.load(HOME / "remarks.toml")
    runs = [(label, results.load(path)) for label, path in PUBLISHED.items()]
    assert remarks.missing(known, runs) == []
    assert remarks.stale(known, runs) == []


def test_no_published_report_tells_of_the_machine_it_was_made_on() -> None:
    for path in HOME.glob("*/*"):
        text = path.read_text()
        assert not [place for place in ("/root/", "/home/", "/work/") if place in text], path


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A directory of reports with the results of one plugin, and with those of one that is gone."""
    monkeypatch.setattr(conformance_reports, "HOME", tmp_path)
    for label in ("ours/bridge", "ours/gone"):
        file = tmp_path / f"{label}.json"
        file.parent.mkdir(exist_ok=True)
        results.save(run(PASSED, FAILED), file)
    return tmp_path


def test_reports_and_index_are_written_and_old_reports_go(home: Path) -> None:
    (home / "remarks.toml").write_text(REMARK.format(case="DEL-02"))
    assert conformance_reports.render(["ours/bridge", "ours/static"]) == []
    assert sorted(path.name for path in home.glob("*/*")) == ["bridge.json", "bridge.md"]
    assert "As it should be." in (home / "ours" / "bridge.md").read_text()
    assert "[ours/bridge](ours/bridge.md)" in (home / "README.md").read_text()


def test_what_the_remarks_lack_and_have_too_much_is_told(home: Path) -> None:
    (home / "remarks.toml").write_text(REMARK.format(case="ADD-01"))
    assert conformance_reports.render(["ours/bridge"]) == [
        "no remark on ours/bridge DEL-02",
        "a remark on nothing that fails: ours/* ADD-01",
    ]


def test_every_plugin_with_a_profile_is_judged(tmp_path: Path) -> None:
    for name in ("bridge", "host-local", "cnitool"):
        (tmp_path / name).touch()
    found = conformance_reports.subjects([Publisher("ours", tmp_path, "v1")])
    assert [subject.label for subject in found] == ["ours/bridge", "ours/host-local"]


@pytest.mark.parametrize(("module", "version"), [("plugins", "v1.9.1"), ("multus", "v4.3.0"), ("flannel", "v0.9.1")])
def test_reports_name_the_version_that_was_built(module: str, version: str) -> None:
    assert conformance_reports._pinned(module) == version
