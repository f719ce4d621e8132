"""The network namespaces around a node; see `conformance.netns`."""

from __future__ import annotations

from conformance.netns import Container, Netns, Outside

__all__ = ["Container", "Netns", "Outside"]
