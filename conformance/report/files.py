"""The files that a run is written to, each in its own form."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path

from conformance.report import badge, html, junit
from conformance.results import ResultsError, RunResult, encode

FORMS: dict[str, tuple[Callable[[RunResult], str], str]] = {
    "json": (encode, "the results as JSON"),
    "junit": (junit.junit, "JUnit XML, for build servers"),
    "html": (html.page, "one page for people"),
    "badge": (badge.badge, "a small SVG picture for a README"),
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add an option for each form: `--json FILE` and so on."""
    for form, (_, what) in FORMS.items():
        parser.add_argument(f"--{form}", type=Path, metavar="FILE", help=f"write {what}")


def check(options: argparse.Namespace) -> None:
    """Raise ResultsError if a file could not be written: better told before a run than after it."""
    for path in _wanted(options).values():
        if not path.parent.is_dir() or path.is_dir():
            raise ResultsError(f"{path} cannot be written: there is no directory {path.parent}, or the name is a directory's")


def write(run: RunResult, options: argparse.Namespace) -> None:
    """Write the run in each form that was asked for; raises ResultsError."""
    for form, path in _wanted(options).items():
        put(path, FORMS[form][0](run))


def put(path: Path, text: str) -> None:
    """Write a file; raises ResultsError."""
    try:
        path.write_text(text, encoding="utf-8")
    except OSError as error:
        raise ResultsError(f"{path} cannot be written: {error.strerror}") from error


def _wanted(options: argparse.Namespace) -> dict[str, Path]:
    return {form: path for form in FORMS if (path := getattr(options, form))}
