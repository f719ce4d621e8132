"""Fixtures of the lab's own tests."""

from __future__ import annotations

from tests.e2e.fixtures import plugins

__all__ = ["plugins"]
