"""What a CNI plugin answered, as a runtime sees it."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Outcome:
    """Exit status, standard output and standard error of one call of a plugin."""

    code: int
    stdout: str
    stderr: str

    @property
    def json(self) -> Any:
        """Standard output as JSON. Raises AssertionError, showing everything, when it isn't."""
        try:
            return json.loads(self.stdout)
        except ValueError:
            raise AssertionError(f"the plugin did not print JSON: {self}") from None

    @property
    def result(self) -> Any:
        """The answer of a call that must have succeeded; None when the verb has none. Raises AssertionError."""
        assert self.code == 0, f"the plugin failed: {self}"
        return self.json if self.stdout else None

    @property
    def error(self) -> Any:
        """The error object of a call that must have failed (SPEC 1.1.0, "Error"). Raises AssertionError."""
        assert self.code != 0, f"the plugin should have failed: {self}"
        error = self.json
        assert isinstance(error, dict), f"not a CNI error: {self}"
        assert isinstance(error.get("code"), int), f"an error without a code: {self}"
        assert error.get("msg"), f"an error without a message: {self}"
        return error

    def __str__(self) -> str:
        return f"exit status {self.code}\nstdout: {self.stdout}\nstderr: {self.stderr}"
