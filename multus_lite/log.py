"""Warnings for people: to standard error and to the log file, which is put aside when it has grown large.

The line for each call is the handler's (cni_plugins.calllog), into the same file.
"""

from __future__ import annotations

import time

from cni_plugins.kernel import calls, files
from cni_plugins.protocol.errors import CniError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from cni_plugins.plan.world import World
    from multus_lite.conf import MultusReleaseConf

_SILENT = ("panic", "error")
_DAY = 86400
_MIB = 1 << 20


def warn(world: World, text: str) -> None:
    """Say what went on although something was wrong. A log that cannot be written fails nothing."""
    conf = world.conf
    if conf.logLevel.lower() in _SILENT:
        return
    line = f"{time.strftime('%Y-%m-%dT%H:%M:%SZ', time.gmtime())} [warning] {world.request.plugin}: {text}\n".replace("\0", "")
    data = line.encode("utf-8", "backslashreplace")
    try:
        if conf.logToStderr:
            calls.write(world.handles.stderr, data)
        if conf.logFile:
            files.append(conf.logFile, data)
    except (CniError, OSError, ValueError):
        pass


def rotate(conf: MultusReleaseConf) -> None:
    """Put the log file aside when it has reached its size: `NAME-TIME`, compressed if wanted; and delete what is too old, or too much."""
    options = conf.logOptions
    if not (conf.logFile and options.maxSize):
        return
    try:
        if calls.stat(conf.logFile).st_size >= options.maxSize * _MIB:
            aside = f"{conf.logFile}-{time.strftime('%Y-%m-%dT%H-%M-%S', time.gmtime())}"
            calls.rename(conf.logFile, aside)
            if options.compress:
                _compress(aside)
            _thin_out(conf)
    except (CniError, OSError, ValueError):
        pass  # it goes on growing; a log must not fail a call


def _compress(path: str) -> None:
    import zlib

    data = files.read(path, limit=1 << 31)
    if data is not None:
        packer = zlib.compressobj(wbits=31)
        files.write_atomic(f"{path}.gz", packer.compress(data) + packer.flush())
        files.remove(path)


def _thin_out(conf: MultusReleaseConf) -> None:
    directory, _, name = conf.logFile.rpartition("/")
    kept = sorted((one for one in files.names(directory) if one.startswith(f"{name}-")), reverse=True)
    options = conf.logOptions
    for index, one in enumerate(kept):
        path = f"{directory}/{one}"
        old = options.maxAge and time.time() - calls.stat(path).st_mtime > options.maxAge * _DAY
        if old or (options.maxBackups and index >= options.maxBackups):
            files.remove(path)
