"""`cni-agent`: keeps the plugins warm on a node.

cni-agent --foreground        serve until SIGTERM, and keep overlays; under systemd, on the socket that it hands over
cni-agent --status            what a running agent has done, for people
cni-agent --check-config      whether a configuration is one; on SIGHUP the running agent reads its own again
"""

from __future__ import annotations

import argparse
import gc
import logging
import os
import resource
import signal
import sys
from pathlib import Path

from cni_plugins import RUN_DIR, VERSION
from cni_plugins.agent.listener import Listener, ListenError
from cni_plugins.agent.server import Server
from cni_plugins.agent.status import StatusError, show
from cni_plugins.handover import socket_path
from cni_plugins.protocol.errors import CniError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from cni_plugins.agent.conf import AgentConf

CONFIG = Path("/etc/cni-plugins/agent.toml")
WORKERS = 64
BACKLOG = 128
_ENDING = (signal.SIGTERM, signal.SIGINT)
_DESCRIPTORS = 1 << 14
_M_ARENA_MAX = -8
_LEVELS = ("debug", "info", "warning", "error")

log = logging.getLogger("cni-agent")


def main(arguments: Sequence[str], *, build: str) -> int:
    """Run the command; the exit status is 0, 1 when it could not be done, 2 for a mistake in the arguments."""
    options = _parser().parse_args(arguments)
    path = Path(socket_path(str(options.run_dir), options.build or build))
    try:
        if options.status:
            print(show(path))
        elif options.check_config:
            _configured(options.config or CONFIG)
        else:
            _serve(options, path)
    except (CniError, ListenError, StatusError, OSError) as error:
        print(f"cni-agent: {error}", file=sys.stderr)
        return 1
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="cni-agent", description="Keeps the CNI plugins of this node warm.", allow_abbrev=False)
    parser.add_argument("--version", action="version", version=f"cni-agent {VERSION}")
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument("--foreground", action="store_true", help="serve until SIGTERM, logging to standard error")
    what.add_argument("--status", action="store_true", help="show what the running agent has done")
    what.add_argument("--check-config", action="store_true", help="say what is wrong with the configuration")
    parser.add_argument(
        "--run-dir", type=Path, default=Path(RUN_DIR), help="where records, locks and the socket are (default: %(default)s)"
    )
    parser.add_argument("--config", type=Path, help=f"the overlays that it keeps, in TOML (default: {CONFIG}, if it is there)")
    parser.add_argument("--build", default="", help="the build whose plugins are served (default: this executable's)")
    parser.add_argument("--workers", type=_count, default=WORKERS, help="calls that are served at a time (default: %(default)s)")
    parser.add_argument("--log-level", choices=_LEVELS, default="info", help="the least that is logged (default: %(default)s)")
    parser.add_argument("--enter", type=int, metavar="PID", default=0, help="serve in the mount and network namespace of this process")
    return parser


def _count(text: str) -> int:
    number = int(text)
    if not 0 < number <= 1024:
        raise argparse.ArgumentTypeError(f"{text} is not between 1 and 1024")
    return number


def _serve(options: argparse.Namespace, path: Path) -> None:
    logging.basicConfig(level=options.log_level.upper(), stream=sys.stderr, format="%(levelname)s %(message)s")
    logging.getLogger("httpx2").setLevel(logging.WARNING)  # it tells of every request
    if options.enter:
        _enter(options.enter)
    received = _catch(signal.SIGHUP, *_ENDING)
    file = options.config.absolute() if options.config else CONFIG
    overlays = _configured(file) if options.config or file.exists() else None
    os.chdir("/")
    _allow_descriptors()
    _share_memory()
    listener = Listener(path, backlog=BACKLOG)
    try:
        server = Server(listener.socket, run_dir=options.run_dir, workers=options.workers, conf=overlays)
        server.start()
        gc.enable()  # executables run without: a call ends before it could pay
        gc.freeze()
        log.info("serving the plugins of build %s on %s", path.stem.removeprefix("agent-"), path)
        while (number := os.read(received, 1)[0]) == signal.SIGHUP:
            _reload(server, file)
        for ending in _ENDING:
            signal.signal(ending, signal.SIG_DFL)  # a second one ends us at once; callers go on by themselves
        log.info("ending on signal %d", number)
    finally:
        listener.close()
    server.stop()


def _configured(file: Path) -> AgentConf:
    """The configuration of the overlays. Raises InvalidConfig, OSError."""
    from cni_plugins.agent import conf  # pydantic costs memory, which an agent without overlays does not need

    return conf.read(file)


def _reload(server: Server, file: Path) -> None:
    """Go by what the configuration says now; one that cannot be used changes nothing."""
    try:
        server.configure(_configured(file))
    except (CniError, OSError) as error:
        log.error("the configuration stays as it was: %s", error)
    else:
        log.info("the configuration is read again")


def _allow_descriptors() -> None:
    """Have as many descriptors as busy workers may need: a shell gives 1024, of which a GC alone may take some hundred."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft < _DESCRIPTORS:
        resource.setrlimit(resource.RLIMIT_NOFILE, (min(_DESCRIPTORS, hard), hard))


def _share_memory() -> None:
    """Have all threads share two heaps: by itself the C library makes one for each, and what is free in one is of no use to another."""
    from cni_plugins.kernel.clib import c_library

    c_library().call_raw("mallopt", _M_ARENA_MAX, 2)


def _catch(*numbers: int) -> int:
    """A descriptor from which the number of a signal can be read when one has come."""
    reader, writer = os.pipe()
    os.set_blocking(writer, False)
    signal.set_wakeup_fd(writer)
    for number in numbers:
        signal.signal(number, lambda number, frame: None)
    return reader


def _enter(pid: int) -> None:
    """Move into the namespaces of a process of the node: what a container that serves its node does first. Raises OSError."""
    from cni_plugins.kernel.clib import c_library

    descriptors = [os.open(f"/proc/{pid}/ns/{kind}", os.O_RDONLY | os.O_CLOEXEC) for kind in ("net", "mnt")]
    for descriptor in descriptors:
        c_library().call("setns", descriptor, 0)
        os.close(descriptor)
