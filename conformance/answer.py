"""What a plugin answered, and what a case expects of it: every expectation that fails raises `Failed`."""

from __future__ import annotations

import json
import signal
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from conformance.case import Failed
from conformance.execute import Execution
from conformance.transcript import shown


@dataclass(frozen=True, slots=True)
class Answer:
    """The answer to one call; `verb` is CNI_COMMAND."""

    verb: str
    execution: Execution

    @property
    def status(self) -> int:
        """The exit status; negative for a death by that signal."""
        return self.execution.status

    @property
    def stdout(self) -> str:
        """Standard output."""
        return self.execution.stdout

    @property
    def stderr(self) -> str:
        """Standard error."""
        return self.execution.stderr

    @property
    def seconds(self) -> float:
        """How long it took."""
        return self.execution.seconds

    def __str__(self) -> str:
        how = f"exit status {self.status}" if self.status >= 0 else f"death by {signal.Signals(-self.status).name}"
        streams = [f"{name} {shown(text)}" for name, text in (("stdout", self.stdout), ("stderr", self.stderr)) if text.strip()]
        return ", ".join([how, *streams])

    @property
    def json(self) -> Any:
        """Standard output as JSON. Raises Failed when it is not exactly one JSON value."""
        try:
            return json.loads(self.stdout)
        except (ValueError, RecursionError):
            raise Failed(f"{self.verb} prints one JSON value to stdout", str(self)) from None

    def succeeds(self) -> Any:
        """Expect exit status 0; returns the parsed result, or None when nothing was printed."""
        if self.status != 0:
            raise Failed(f"{self.verb} succeeds", str(self))
        return self.json if self.stdout.strip() else None

    def refuses(self) -> None:
        """Expect a failure, whatever is printed: the specification wants an error result by "should" only."""
        if self.status <= 0:
            raise Failed(f"{self.verb} fails by its own decision", str(self))

    def fails(self, *, code: int | None = None, codes: Iterable[int] = (), names: str = "") -> dict[str, Any]:
        """Expect a failure with an error result; returns that.

        `code`, or `codes` when several are right, is the error code that it must carry; `names` must be in its `msg` or `details`.
        """
        wanted = {code} if code is not None else set(codes)
        what = f"{self.verb} fails" + (f" with code {' or '.join(map(str, sorted(wanted)))}" if wanted else "")
        if self.status == 0:
            raise Failed(what, str(self))
        if self.status < 0:
            raise Failed(f"{what} by its own decision", str(self))
        error = self.error()
        if wanted and error.get("code") not in wanted:
            raise Failed(what, str(self))
        if names and names.lower() not in f"{error.get('msg')} {error.get('details')}".lower():
            raise Failed(f"{what} and names {names}", str(self))
        return error

    def error(self) -> dict[str, Any]:
        """Expect an error result on stdout (SPEC "Error"), whatever the exit status; returns it."""
        error = self.json
        if not isinstance(error, dict) or not isinstance(error.get("code"), int) or not error.get("msg"):
            raise Failed(f"{self.verb} prints an error with code and msg", str(self))
        return error
