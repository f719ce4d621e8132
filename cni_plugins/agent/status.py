"""`cni-agent --status`: a running agent's numbers, for people."""

from __future__ import annotations

import socket
from pathlib import Path

from prometheus_client.parser import text_string_to_metric_families

_SECONDS = 5.0


class StatusError(Exception):
    """There is no agent to ask; the text says why."""


def show(path: Path) -> str:
    """What the agent that listens on `path` has done, as a text of several lines. Raises StatusError."""
    samples = {}
    for family in text_string_to_metric_families(_fetch(path).decode()):
        for sample in family.samples:
            samples[sample.name, tuple(sorted(sample.labels.items()))] = sample.value
    return "\n".join([*_process(path, samples), "", *_calls(samples), *_leases(samples)])


def _fetch(path: Path) -> bytes:
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as channel:
        channel.settimeout(_SECONDS)
        try:
            channel.connect(str(path))
            channel.sendall(b"GET /metrics HTTP/1.0\r\n\r\n")
            answer = b"".join(iter(lambda: channel.recv(1 << 16), b""))
        except FileNotFoundError:
            raise StatusError(f"no agent of this build is running: there is no {path}") from None
        except OSError as error:
            raise StatusError(f"the agent on {path} does not answer: {error.strerror or error}") from None
    head, _, body = answer.partition(b"\r\n\r\n")
    if b" 200 " not in head.partition(b"\r\n")[0]:
        raise StatusError(f"the agent on {path} does not answer this process: it must be root, in the agent's own namespaces")
    return body


_Samples = dict[tuple[str, tuple[tuple[str, str], ...]], float]


def _process(path: Path, samples: _Samples) -> list[str]:
    def one(name: str) -> float:
        return samples.get((name, ()), 0.0)

    return [
        f"agent of build {path.stem.removeprefix('agent-')} on {path}",
        f"memory {one('process_resident_memory_bytes') / 1e6:.1f} MB, {one('process_open_fds'):.0f} descriptors",
        f"{one('process_cpu_seconds_total'):.1f} s of processor time, {one('cni_calls_in_progress'):.0f} calls in progress",
        f"{one('cni_refused_peers_total'):.0f} refused peers, {one('cni_restored_attachments_total'):.0f} attachments restored",
    ]


def _calls(samples: _Samples) -> list[str]:
    lines = [f"{'plugin':<14}{'verb':<8}{'calls':>8}{'failed':>8}"]
    for (name, labels), value in sorted(samples.items()):
        if name == "cni_calls_total":
            plugin, verb = dict(labels)["plugin"], dict(labels)["verb"]
            failed = samples.get(("cni_call_failures_total", labels), 0.0)
            lines.append(f"{plugin:<14}{verb:<8}{value:>8.0f}{failed:>8.0f}")
    lines += ["", f"{'verb':<8}{'phase':<10}{'mean ms':>8}"]
    for (name, labels), value in sorted(samples.items()):
        if name == "cni_call_phase_milliseconds_count" and value:
            total = samples["cni_call_phase_milliseconds_sum", labels]
            lines.append(f"{dict(labels)['verb']:<8}{dict(labels)['phase']:<10}{total / value:>8.2f}")
    return lines


def _leases(samples: _Samples) -> list[str]:
    free = [(dict(labels)["network"], value) for (name, labels), value in sorted(samples.items()) if name == "cni_ipam_leases_free"]
    return ["", f"{'network':<24}{'free addresses':>15}", *(f"{name:<24}{value:>15.0f}" for name, value in free)] if free else []
