"""The command `cnictl`: what the plugins have on this node, whose it is, what is stale, and its removal.

    cnictl attachments            every attachment, live or stale
    cnictl leases [NETWORK]       host-local's leases, and how many addresses are free
    cnictl gc NETWORK             remove what is not in use of one network
    cnictl sweep                  remove what is stale of any network
    cnictl handover [--undo]      give the node back to the reference plugins
    cnictl overlay status         the overlays that the agent keeps, and what differs from what should be there
    cnictl overlay check NODE     whether another node is reached, and why not

One module a command: its `add` makes the command's arguments and names the function that runs it. Exit status 0: done. 1: something
failed, and standard error says what in a sentence. 2: wrong usage.
"""

from __future__ import annotations

import argparse
import os
import sys
from typing import TYPE_CHECKING

from cni_plugins import VERSION
from cni_plugins.cli import attachments, gc, handover, leases, overlay, sweep
from cni_plugins.cli.context import Context
from cni_plugins.ipam.conf import DATA_DIR
from cni_plugins.networks import CONF_DIR
from cni_plugins.protocol.errors import CniError

if TYPE_CHECKING:
    from collections.abc import Sequence

DONE, FAILED = 0, 1


def main(argv: Sequence[str], *, build: str = "", executable: tuple[int, int] | None = None) -> int:
    """Run the command; returns its exit status, with everything printed.

    `build` names the executable's build; `executable` is the file (device, inode) that our plugins are, the running program's if None.
    """
    try:
        options = _parser(build).parse_args(argv)
        if os.geteuid() != 0:
            return _fail("it must be run as root: it looks into the containers' network namespaces")
        status = _run(options, executable)
        sys.stdout.flush()
        return status
    except SystemExit as ended:  # argparse has said what is wrong, or what there is
        return int(ended.code or DONE)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # nobody reads on: what is left is not to be complained about
        return DONE
    except KeyboardInterrupt:
        return _fail("interrupted: the same command goes on from there")
    except CniError as error:
        return _fail(f"{error.msg} ({error.details})" if error.details else error.msg)
    except OSError as error:
        return _fail(str(error))


def _run(options: argparse.Namespace, executable: tuple[int, int] | None) -> int:
    context = Context(options, executable)
    try:
        return int(options.command(context, options))
    finally:
        context.handles.close()


def _parser(build: str) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="cnictl",
        description="What the CNI plugins have on this node, whose it is, and what is stale.",
        epilog="Exit status 0: done. 1: something failed, and standard error says what. 2: wrong usage.",
    )
    parser.add_argument("--version", action="version", version=f"cnictl {build or VERSION}")
    places = argparse.ArgumentParser(add_help=False)
    places.add_argument("--conf-dir", default=CONF_DIR, metavar="DIR", help=f"directory of network configurations (default {CONF_DIR})")
    places.add_argument(
        "--data-dir",
        action="append",
        metavar="DIR",
        help=f"directory of host-local's leases; repeatable (default {DATA_DIR}, and those that configurations name)",
    )
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    for module in (attachments, leases, gc, sweep, handover, overlay):
        module.add(commands, places)
    return parser


def _fail(text: str) -> int:
    print(f"cnictl: {text}", file=sys.stderr)
    return FAILED
