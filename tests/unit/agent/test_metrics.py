"""The agent's numbers stay few, and can be read, whatever callers call themselves."""

from __future__ import annotations

import pytest

from cni_plugins.agent.metrics import Metrics


@pytest.fixture
def metrics() -> Metrics:
    """Of an agent that has served nothing."""
    return Metrics(busy=lambda: 0, free=lambda: ())


def test_numbers_do_not_grow_with_names_that_callers_make_up(metrics: Metrics) -> None:
    metrics.served("nonsense", "NONSENSE", status=1, phases={"work": 0.1})
    before = metrics.text().count(b"\n")
    for number in range(50):
        metrics.served(f"plugin{number}", f"VERB{number}", status=1, phases={"work": 0.1})
    assert metrics.text().count(b"\n") == before
    assert b'cni_calls_total{plugin="other",verb="other"} 51.0' in metrics.text()


def test_a_name_that_is_no_text_does_not_keep_the_numbers_from_being_read(metrics: Metrics) -> None:
    metrics.served("bridge\udcff", "ADD\udcff", status=1, phases={"work": 0.1})
    assert b'cni_calls_total{plugin="other",verb="other"} 1.0' in metrics.text()


def test_known_names_are_told_apart(metrics: Metrics) -> None:
    metrics.served("bridge", "ADD", status=0, phases={"work": 0.1})
    metrics.served("ptp", "DEL", status=1, phases={"work": 0.1})
    assert b'cni_calls_total{plugin="bridge",verb="ADD"} 1.0' in metrics.text()
    assert b'cni_call_failures_total{plugin="ptp",verb="DEL"} 1.0' in metrics.text()


def test_lookups_are_counted_by_who_answered(metrics: Metrics) -> None:
    for known in (True, False, True):
        metrics.looked_up(known)
    assert b'cni_kubernetes_lookups_total{answered_by="memory"} 2.0' in metrics.text()
    assert b'cni_kubernetes_lookups_total{answered_by="api"} 1.0' in metrics.text()
