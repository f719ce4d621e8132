"""The command `cni-conformance`: judge a plugin, list the cases, look at what a command leaves behind.

    cni-conformance run --plugin-dir /opt/cni/bin --profile bridge
    cni-conformance list --level MUST
    cni-conformance ledger -- ip link add br0 type bridge

Exit status 0: no MUST and no SHOULD failed. 1: one did. 2: the suite itself could not run.
"""

from __future__ import annotations

import argparse
import fnmatch
import os
import platform
import subprocess
import sys
import time
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

from rich.console import Console

from conformance import about, commands, ledger, spec
from conformance.case import Case, cases
from conformance.execute import TIMEOUT
from conformance.init import InitError
from conformance.profile import Profile, ProfileError, load, shipped
from conformance.report import files, terminal
from conformance.results import LEVELS, ResultsError, RunResult
from conformance.runner import BrokenRun, Job, in_order, run


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; returns its exit status."""
    options = _parser().parse_args(arguments)
    try:
        return int(options.command(options))
    except (ProfileError, BrokenRun, InitError, ResultsError) as error:
        print(f"cni-conformance: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        return 2


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="cni-conformance", description="Judge CNI plugins by the specification.")
    subparsers = parser.add_subparsers(required=True)

    judged = subparsers.add_parser("run", help="judge a plugin")
    judged.add_argument("--plugin-dir", type=Path, required=True, metavar="DIR", help="directory of the plugin's executable")
    judged.add_argument(
        "--helpers", type=Path, action="append", default=[], metavar="DIR", help="where plugins are that it calls or follows"
    )
    judged.add_argument("--profile", required=True, metavar="NAME|FILE", help=f"one of {', '.join(shipped())}, or a TOML file")
    judged.add_argument(
        "-j", dest="workers", type=_count, default=os.cpu_count() or 1, metavar="N", help="cases at once (default: processors)"
    )
    judged.add_argument("--timeout", type=float, default=TIMEOUT, metavar="S", help=f"seconds that a call may take (default {TIMEOUT:g})")
    files.add_arguments(judged)
    judged.set_defaults(command=_run)

    listed = subparsers.add_parser("list", help="list the cases")
    listed.set_defaults(command=_list)
    for one in (judged, listed):
        one.add_argument("--only", action="append", default=[], metavar="GLOB", help="only cases with such an id, as 'DEL-*'; repeatable")
        one.add_argument("--skip", action="append", default=[], metavar="GLOB", help="no cases with such an id; repeatable")
        one.add_argument("--level", action="append", default=[], choices=LEVELS, help="only cases of this level; repeatable")

    looked = subparsers.add_parser("ledger", help="show what a command leaves behind on this machine")
    looked.add_argument("line", nargs="+", metavar="COMMAND", help="the command and its arguments, after --")
    looked.add_argument("--directory", action="append", default=[], metavar="DIR", help="look at the files in it too")
    looked.set_defaults(command=_ledger)
    commands.add_init(subparsers)
    commands.add_compare(subparsers)
    return parser


def _count(text: str) -> int:
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError("at least 1")
    return number


def chosen(options: argparse.Namespace) -> list[Case]:
    """Return the cases that `--only`, `--skip` and `--level` leave, in order. Raises BrokenRun when there are none."""
    found = [
        case
        for case in cases()
        if (not options.only or any(fnmatch.fnmatch(case.id, glob) for glob in options.only))
        and not any(fnmatch.fnmatch(case.id, glob) for glob in options.skip)
        and (not options.level or case.level in options.level)
    ]
    if not found:
        raise BrokenRun("there is no such case: `cni-conformance list` shows all")
    return found


def _run(options: argparse.Namespace) -> int:
    profile = load(options.profile)
    plugin = executable(options.plugin_dir, profile)
    files.check(options)
    wanted = chosen(options)
    helpers = tuple(helper.resolve() for helper in options.helpers)
    jobs = [Job(case.id, profile, plugin.parent, helpers, timeout=options.timeout) for case in wanted]
    console = Console(highlight=False)
    started, began = datetime.now(UTC), time.monotonic()
    results = []
    with terminal.progress(len(jobs), console) as shown:
        for _, result in run(jobs, workers=options.workers):
            shown.finished(result)
            results.append(result)
    outcome = RunResult(
        plugin=profile.plugin,
        profile=profile.name,
        spec_version=spec.VERSION,
        cases=tuple(in_order(results)),
        plugin_path=str(plugin),
        plugin_version=about.line(plugin),
        kernel=platform.release(),
        started=started.isoformat(timespec="seconds"),
        seconds=round(time.monotonic() - began, 1),
    )
    files.write(outcome, options)
    terminal.summarize(outcome, console)
    if outcome.count("skip") == len(outcome.cases):
        raise BrokenRun("every case was skipped, so that nothing is known about the plugin")
    return 0 if outcome.conforms else 1


def executable(directory: Path, profile: Profile) -> Path:
    """Return the path of the plugin under test. Raises BrokenRun when there is none."""
    path = directory.resolve() / profile.plugin
    if not path.is_file() or not os.access(path, os.X_OK):
        raise BrokenRun(f"there is no plugin {profile.plugin} in {directory}")
    return path


def _list(options: argparse.Namespace) -> int:
    for case in chosen(options):
        needs = f"  (needs {', '.join(sorted(case.needs))})" if case.needs else ""
        print(f"{case.id}  {case.level:<6}  {case.title}{needs}")
    return 0


def _ledger(options: argparse.Namespace) -> int:
    directories = [*ledger.DIRECTORIES, *options.directory]
    try:
        before = ledger.take(directories=directories)
        status = subprocess.run(options.line, check=False).returncode
    except OSError as error:
        raise BrokenRun(f"{options.line[0]}: {error.strerror}") from error
    for line in ledger.diff(before, ledger.take(directories=directories)):
        print(line)
    return status


if __name__ == "__main__":
    sys.exit(main())
