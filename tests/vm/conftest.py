"""Fixtures of the tests in the emulated machine: the same as those of the end-to-end tests."""

from __future__ import annotations

from tests.e2e.fixtures import nothing_left, plugins

__all__ = ["nothing_left", "plugins"]
