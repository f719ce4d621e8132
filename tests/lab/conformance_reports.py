"""The reports that we publish in docs/conformance: the reference plugins, multus, flannel's and ours, judged by all profiles that fit.

    python -m tests.lab.conformance_reports [GLOB…]         judges what fits ("ours/*"; default: all), and writes all reports anew
    python -m tests.lab.conformance_reports --render        judges nothing: for when a remark was written

For each plugin there are LABEL.json, the results without the calls, and LABEL.md, made from it and from `remarks.toml`. Exit status 1
when a deviation has no remark, or a remark no deviation; 2 when something could not be run.
"""

from __future__ import annotations

import argparse
import re
import subprocess
import sys
import tempfile
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase
from pathlib import Path

from cni_plugins import VERSION
from conformance import profile, results
from conformance.report import markdown, remarks
from conformance.results import Evidence, RunResult
from tests.lab import peers
from tests.support.paths import PLUGIN_DIR, REPO

HOME = REPO / "docs" / "conformance"
SEEN_AT = Path("/mnt/cni")
"""Where the plugins are while they are judged, each publisher's in a directory, so that no report tells of the machine it was made on."""
INTRODUCTION = """\
# Conformance reports

What the suite in `conformance/` found, by `make conformance-reports`: the reference plugins, multus, flannel's plugin and the plugins of
this project. The columns of a level say how many cases passed, of those that could be run. MUST, SHOULD and MAY are the specification's;
BEST is a bar of our own, which no plugin need reach to conform. Where every case is skipped (dummy, ipvlan, vlan, vrf), the kernel that the
reports were made on has no such links: nothing is known of these plugins. Each report says of each deviation whether it is the plugin's, or
a matter of opinion ([remarks.toml](remarks.toml)).

To have your own plugin judged: [certify-your-plugin.md](certify-your-plugin.md). To add a case: [writing-a-case.md](writing-a-case.md).
"""
_ELSEWHERE = """\
mount -t tmpfs reports /mnt
while [ "$1" != -- ]; do mkdir -p "$2"; mount --bind "$1" "$2"; shift 2; done
shift
exec "$@"
"""


@dataclass(frozen=True, slots=True)
class Publisher:
    """Whoever's plugins are judged: where they are, what version they are, and whose plugins they may call."""

    name: str
    directory: Path
    version: str
    helper: str = ""


@dataclass(frozen=True, slots=True)
class Subject:
    """A plugin to be judged, by the profile of that name."""

    publisher: Publisher
    profile: str

    @property
    def label(self) -> str:
        """The name of its report: ours/bridge."""
        return f"{self.publisher.name}/{self.profile}"


class ReportsError(Exception):
    """Something could not be judged; the text says what."""


def publishers() -> list[Publisher]:
    """Return all publishers, their plugins built."""
    return [
        Publisher("reference", peers.build("cni"), _pinned("plugins")),
        Publisher("multus", peers.build("multus"), _pinned("multus"), helper="reference"),
        Publisher("flannel", peers.build("flannel"), _pinned("flannel"), helper="reference"),
        Publisher("ours", PLUGIN_DIR, f"v{VERSION}", helper="reference"),
    ]


def subjects(all_of_them: list[Publisher]) -> list[Subject]:
    """Return every plugin that there is a profile for, in the order of the index."""
    plugins = {name: profile.load(name).plugin for name in profile.shipped()}
    return [Subject(one, name) for one in all_of_them for name, plugin in plugins.items() if (one.directory / plugin).is_file()]


def judge(subject: Subject, all_of_them: list[Publisher]) -> RunResult:
    """Run the suite on a plugin, with the publishers' plugins mounted where reports may name them. Raises ReportsError."""
    mounts = [str(word) for one in all_of_them for word in (one.directory, SEEN_AT / one.name)]
    helper = subject.publisher.helper
    with tempfile.TemporaryDirectory() as work:
        file = Path(work, "run.json")
        line = [sys.executable, "-m", "conformance.cli", "run", "--plugin-dir", str(SEEN_AT / subject.publisher.name)]
        line += ["--profile", subject.profile, "--json", str(file), *(["--helpers", str(SEEN_AT / helper)] if helper else [])]
        elsewhere = ["unshare", "--mount", "--propagation", "private", "sh", "-ec", _ELSEWHERE, "sh", *mounts, "--", *line]
        done = subprocess.run(elsewhere, cwd=REPO, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True, check=False)
        if not file.exists():  # where this machine cannot check a single case, the report says why
            raise ReportsError(f"{subject.label}: the suite could not run (exit status {done.returncode})\n{done.stdout}")
        run = results.load(file)
    cases = tuple(replace(case, evidence=Evidence(case.evidence.ledger)) for case in run.cases)
    return replace(run, cases=cases, plugin_version=subject.publisher.version)


def render(labels: list[str]) -> list[str]:
    """Write the reports and the index from the results; returns what is wrong with the remarks, in lines."""
    runs = [(label, results.load(HOME / f"{label}.json")) for label in labels if (HOME / f"{label}.json").exists()]
    known = remarks.load(HOME / "remarks.toml")
    for label, run in runs:
        (HOME / f"{label}.md").write_text(markdown.report(run, label=label, remarks=known), encoding="utf-8")
    (HOME / "README.md").write_text(markdown.index(runs, introduction=INTRODUCTION), encoding="utf-8")
    _forget({HOME / f"{label}{suffix}" for label, _ in runs for suffix in (".json", ".md")})
    missing = [f"no remark on {one}" for one in remarks.missing(known, runs)]
    return missing + [f"a remark on nothing that fails: {one.plugin} {one.case}" for one in remarks.stale(known, runs)]


def _forget(kept: set[Path]) -> None:
    """Remove the reports of plugins that are no longer judged."""
    for path in HOME.glob("*/*"):
        if path not in kept:
            path.unlink()


def _pinned(module: str) -> str:
    """The version of a peer, as its go.mod pins it."""
    text = (peers.MODULES / module / "go.mod").read_text()
    tool = re.findall(r"^(?:tool )?\s*(\S+/\S+)$", text, re.MULTILINE)[0]
    pins: list[tuple[str, str]] = re.findall(r"^(?:require )?\s*(\S+) (v\S+)", text, re.MULTILINE)
    return next(version for name, version in pins if tool.startswith(name))


def main() -> int:
    """Judge what fits the globs of the command line, and write all reports."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("globs", nargs="*", metavar="GLOB", help="labels of plugins to judge")
    parser.add_argument("--render", action="store_true", help="judge nothing")
    options = parser.parse_args()
    try:
        known = publishers()
        planned = subjects(known)
        for subject in planned:
            if not options.render and any(fnmatchcase(subject.label, glob) for glob in options.globs or ["*"]):
                print(f"judging {subject.label}", flush=True)
                file = HOME / f"{subject.label}.json"
                file.parent.mkdir(parents=True, exist_ok=True)
                results.save(judge(subject, known), file)
        wrong = render([subject.label for subject in planned])
    except (ReportsError, peers.PeerError, results.ResultsError, remarks.RemarksError) as error:
        print(f"conformance-reports: {error}", file=sys.stderr)
        return 2
    for line in wrong:
        print(line, file=sys.stderr)
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
