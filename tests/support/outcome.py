"""What a plugin answered; see `conformance.outcome`."""

from __future__ import annotations

from conformance.outcome import Outcome

__all__ = ["Outcome"]
