"""Numbers about the calls, as Prometheus reads them, and as `cni-agent --status` shows them."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter, Gauge, ProcessCollector, Summary, generate_latest
from prometheus_client.core import GaugeMetricFamily

from cni_plugins.protocol.versions import VERBS
from cni_plugins.registry import PLUGINS

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    Free = Callable[[], Iterable[tuple[str, int]]]


OTHER = "other"
"""In place of a plugin or a verb that there is not: numbers are kept for each name, and callers may send any."""


class Metrics:
    """What is counted. `busy` tells how many calls are being served, `free` how many addresses are left, network by network."""

    def __init__(self, *, busy: Callable[[], int], free: Free) -> None:
        self._registry = CollectorRegistry()
        self._calls = Counter("cni_calls", "Calls that were served.", ["plugin", "verb"], registry=self._registry)
        self._failures = Counter("cni_call_failures", "Calls that ended in an error.", ["plugin", "verb"], registry=self._registry)
        self._phases = Summary(
            "cni_call_phase_milliseconds",
            "Time that calls took: reading the request, working, delivering the answer.",
            ["verb", "phase"],
            registry=self._registry,
        )
        self._refused = Counter("cni_refused_peers", "Connections of processes that may not speak to the agent.", registry=self._registry)
        self._restored = Counter("cni_restored_attachments", "Attachments whose firewall elements were put back.", registry=self._registry)
        self._repairs = Counter(
            "cni_overlay_repairs", "Times that an overlay was mended on this node.", ["overlay"], registry=self._registry
        )
        self._lookups = Counter(
            "cni_kubernetes_lookups",
            "Pods and definitions that calls wanted, by who answered: what the agent has heard, or the Kubernetes API.",
            ["answered_by"],
            registry=self._registry,
        )
        Gauge("cni_calls_in_progress", "Calls that are being served now.", registry=self._registry).set_function(busy)
        self._registry.register(_Free(free))
        ProcessCollector(registry=self._registry)

    def served(self, plugin: str, verb: str, *, status: int, phases: Mapping[str, float]) -> None:
        """Count one call: its exit status, and the seconds that its phases took. What we do not know by name is counted as `other`."""
        plugin, verb = plugin if plugin in PLUGINS else OTHER, verb if verb in VERBS else OTHER
        self._calls.labels(plugin, verb).inc()
        if status:
            self._failures.labels(plugin, verb).inc()
        for phase, seconds in phases.items():
            self._phases.labels(verb, phase).observe(seconds * 1000)

    def refused(self) -> None:
        """Count a connection from somebody who may not speak."""
        self._refused.inc()

    def restored(self, attachments: int) -> None:
        """Count attachments whose elements were put back."""
        self._restored.inc(attachments)

    def repaired(self, overlay: str) -> None:
        """Count that something of an overlay was put back as it should be."""
        self._repairs.labels(overlay).inc()

    def looked_up(self, known: bool) -> None:
        """Count a question about Kubernetes that memory answered, or did not."""
        self._lookups.labels("memory" if known else "api").inc()

    def text(self) -> bytes:
        """All of it in Prometheus' text format."""
        return generate_latest(self._registry)


class _Free:
    """How many addresses are free, found out when somebody asks."""

    def __init__(self, free: Free) -> None:
        self._free = free

    def collect(self) -> Iterable[GaugeMetricFamily]:
        family = GaugeMetricFamily("cni_ipam_leases_free", "Addresses that host-local can still give out.", labels=["network"])
        for network, count in self._free():
            family.add_metric([network], count)
        yield family
