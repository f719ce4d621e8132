"""The commands around a run: `init` makes a plugin's first profile, `compare` sets the results of several runs side by side."""

from __future__ import annotations

import argparse
import os
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console

from conformance import init, results
from conformance.report import compare, files

if TYPE_CHECKING:
    Commands = argparse._SubParsersAction[argparse.ArgumentParser]


def add_init(commands: Commands) -> None:
    """Add the command `init`."""
    parser = commands.add_parser("init", help="make a first profile of a plugin by asking it and looking")
    parser.add_argument("--plugin", type=Path, required=True, metavar="FILE", help="the plugin's executable")
    parser.add_argument(
        "--helpers",
        type=Path,
        action="append",
        default=[],
        metavar="DIR",
        help="where plugins are that it calls or follows; repeatable",
    )
    parser.add_argument("--output", type=Path, metavar="FILE", help="the profile to write (default: the plugin's name with .toml)")
    parser.set_defaults(command=_init)


def _init(options: argparse.Namespace) -> int:
    plugin = options.plugin.absolute()
    output = options.output or Path(f"{plugin.name}.toml")
    if os.geteuid() != 0:
        raise init.InitError("init makes network namespaces and needs root: run it with sudo")
    if not os.access(plugin, os.X_OK) or plugin.is_dir():
        raise init.InitError(f"there is no executable {options.plugin}")
    if output.exists():
        raise init.InitError(f"{output} exists already: name another file with --output")
    files.put(output, init.first_profile(plugin, helpers=[helper.resolve() for helper in options.helpers]))
    print(f"{output} is a first profile of {plugin.name}: read it through, then")
    helpers = "".join(f" --helpers {helper}" for helper in options.helpers)
    print(f"  cni-conformance run --plugin-dir {plugin.parent}{helpers} --profile {output}")
    return 0


def add_compare(commands: Commands) -> None:
    """Add the command `compare`."""
    parser = commands.add_parser("compare", help="set the results of several runs side by side")
    parser.add_argument("runs", type=Path, nargs="+", metavar="RESULTS.json", help="what `run --json` wrote")
    parser.add_argument("--all", action="store_true", help="show the cases too on which all agree")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the comparison as JSON")
    parser.add_argument("--html", type=Path, metavar="FILE", help="write it as one page")
    parser.set_defaults(command=_compare)


def _compare(options: argparse.Namespace) -> int:
    comparison = compare.compare([results.load(path) for path in options.runs])
    if options.json:
        files.put(options.json, compare.as_json(comparison))
    if options.html:
        files.put(options.html, compare.page(comparison))
    compare.show(comparison, Console(highlight=False), everything=options.all)
    return 0
