"""One line for each call, where the runtime or the configuration asks for it.

    CNI_LOG_LEVEL, CNI_LOG_FILE         from the environment (they win)
    logLevel, logFile                   from the network configuration

Levels: `error` logs failed calls, `info` (the default) every call, `debug` also the configuration and where a defect happened.
A line is appended with a single write, so that calls at the same time do not mix. A log that cannot be written never fails
the call.
"""

from __future__ import annotations

import time

from cni_plugins.kernel import files
from cni_plugins.protocol.errors import CniError, IoFailure
from cni_plugins.protocol.versions import NEWEST

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from cni_plugins.protocol.request import Request

_LEVELS = {"error": 1, "warning": 1, "info": 2, "debug": 3}


class CallLog:
    """What is known of one call while it is served; `version` is what an error is to be written in."""

    __slots__ = ("_begun", "_fault", "_file", "_level", "_outcome", "_request", "version")

    def __init__(self, request: Request) -> None:
        self._request = request
        self._begun = time.monotonic()
        self._file = request.environ.get("CNI_LOG_FILE", "")
        self._level = request.environ.get("CNI_LOG_LEVEL", "")
        self._outcome = "ok"
        self._fault: BaseException | None = None
        self.version = NEWEST

    def configure(self, conf: Any) -> None:
        """Take from the configuration what the environment did not say."""
        self._file = self._file or conf.logFile
        self._level = self._level or conf.logLevel

    def outcome(self, text: str, fault: BaseException | None = None) -> None:
        """Note how the call ended, and the exception if one did it."""
        self._outcome = text
        self._fault = fault

    def write(self) -> None:
        """Append the line, if anybody wants it."""
        level = _LEVELS.get(self._level.lower(), 2)
        if not self._file or (self._fault is None and level < 2):
            return
        lines = [self._line()]
        if level >= 3:
            lines.append("  configuration: " + self._request.stdin.decode("utf-8", "replace").replace("\n", " "))
        if self._fault is not None and (level >= 3 or not isinstance(self._fault, CniError)):
            lines += _where(self._fault)
        self._append("\n".join(lines) + "\n")

    def _append(self, text: str) -> None:
        try:
            files.append(self._file, text.encode("utf-8", "backslashreplace"))
        except (IoFailure, ValueError):  # ValueError: what is no path at all
            return  # a log that cannot be written must not fail a call that succeeded

    def _line(self) -> str:
        request = self._request
        fields = [
            time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
            f"{request.plugin} {request.command}",
            f"container={request.container_id}",
            f"interface={request.ifname}",
            f"ms={(time.monotonic() - self._begun) * 1000:.1f}",
        ]
        trace = request.environ.get("TRACEPARENT")
        if trace:
            fields.append(f"traceparent={trace}")
        fields.append(self._outcome)
        return " ".join(fields).replace("\n", " ")


def _where(fault: BaseException) -> list[str]:
    """The frames of a fault, innermost last, without the traceback module (which reads source files that are not there)."""
    lines, trace = [f"  {type(fault).__name__}: {fault}"], fault.__traceback__
    while trace is not None:
        code = trace.tb_frame.f_code
        lines.append(f"  at {code.co_filename}:{trace.tb_lineno} {code.co_qualname}")
        trace = trace.tb_next
    return lines
