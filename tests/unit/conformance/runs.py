"""Runs made up for the tests of reports: one with all verdicts, and whatever a plugin or a careless file could hold."""

from __future__ import annotations

from hypothesis import strategies as st

from conformance.results import LEVELS, VERDICTS, CaseResult, Evidence, RunResult, Spec

CLAUSE = Spec("Plugins must accept multiple DEL calls.", "https://example.org/SPEC.md#del")
FAILED = CaseResult(
    "DEL-02",
    "DEL twice succeeds",
    "MUST",
    "fail",
    expected="DEL succeeds",
    observed='exit status 1, stdout {"code": 999}',
    reproduce="unshare --net sh <<'AGAIN'\nbridge\nAGAIN\n",
    seconds=0.25,
    spec=CLAUSE,
    evidence=Evidence(
        ("+ node link cni0: mtu 1500", "- pod link eth0", "~ node sysctl net/ipv4/ip_forward: value 0 -> 1"), ("CNI_COMMAND=DEL bridge",)
    ),
)
PASSED = CaseResult("ADD-01", "The interface exists", "MUST", "pass", seconds=0.5)
SKIPPED = CaseResult("DP-01", "A container reaches its gateway", "SHOULD", "skip", observed="kernel without 802.1q")
OWN_BAR = CaseResult("ERR-10", "The message names the field", "BEST", "fail", expected="mtu", observed="netplugin failed")


def run(*cases: CaseResult, plugin: str = "bridge", version: str = "CNI bridge plugin v1.9.1") -> RunResult:
    """Return a run with these cases, or with one of each verdict."""
    return RunResult(
        plugin,
        "bridge",
        "1.1.0",
        cases or (PASSED, FAILED, SKIPPED, OWN_BAR),
        plugin_path="/opt/cni/bin/bridge",
        plugin_version=version,
        kernel="6.12.0",
        started="2026-11-25T00:10:00+00:00",
        seconds=73.2,
    )


# All of Unicode, halves of surrogate pairs included, and more often what is mark-up somewhere.
TEXTS = st.text(st.one_of(st.characters(), st.sampled_from("<>&\"'`|\\[]*_$\x00\x1b\r\n\u202e]]>\ud800")), max_size=30)
_RESULTS = st.builds(
    CaseResult,
    id=TEXTS,
    title=TEXTS,
    level=st.sampled_from(LEVELS),
    verdict=st.sampled_from(VERDICTS),
    expected=TEXTS,
    observed=TEXTS,
    reproduce=TEXTS,
    seconds=st.floats(0, 1e6),
    spec=st.builds(Spec, TEXTS, st.one_of(TEXTS, TEXTS.map("https://{}".format), TEXTS.map("javascript:{}".format))),
    evidence=st.builds(Evidence, st.lists(TEXTS, max_size=3).map(tuple), st.lists(TEXTS, max_size=3).map(tuple)),
)
RUNS = st.builds(
    RunResult,
    plugin=TEXTS,
    profile=TEXTS,
    spec_version=TEXTS,
    cases=st.lists(_RESULTS, max_size=4).map(tuple),
    plugin_path=TEXTS,
    plugin_version=TEXTS,
    kernel=TEXTS,
    started=TEXTS,
    seconds=st.floats(0, 1e6),
)
