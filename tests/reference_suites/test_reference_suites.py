"""Whoever swaps the reference plugins for ours keeps what the reference's own tests promise."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from tests.reference_suites import suites

EXCEPTIONS = {
    # looks for the reference's own rules, two for each address: ours are elements of sets
    r"firewall .* installs the right iptables rules|firewall .*\[(0\.4|1\.0)\.0\] installs iptables rules": r"<bool>: false\nto be true\n",
    # looks for the reference's own rules: masquerade is one nftables table of ours
    r"bridge .* configures a bridge and ipMasq rules": r"to contain element|expected to find exactly one Rule|masq_checks",
    # looks for the reference's own rules: the MAC check is a table of ours
    r"bridge .* configures mac spoof-check": r"to have length [12]",
    # sets a hook inside of the reference's code: tests/netns fails every operation instead
    r"bridge .* checks ip release in case of error": r"Expected an error, got nil",
    # wants DEL to fail where ADD was refused: ours succeeds, as there is nothing to undo
    r"bridge .*\[0\.[12]\.0\] \(3\) configures and deconfigures a bridge and veth": r"Expected an error, got nil",
    # hands over a container ID that the protocol refuses before the plugin is asked (SPEC 1.1.0, CNI_CONTAINERID)
    r"host-local .* ignores whitespace in disk files": r"code 4: ",
}
"""Specs that the reference passes and ours need not: a pattern of their names, and of the only failure that they may have."""


@pytest.fixture(scope="session")
def baseline() -> dict[str, list[str]]:
    """For each suite the specs that the reference itself passes on a kernel without VLAN filtering."""
    return dict(json.loads(suites.BASELINE.read_text()))


@pytest.mark.parametrize("suite", suites.SUITES)
def test_the_suite_of_the_reference_passes(root: None, suite: str, plugin_dir: Path, baseline: dict[str, list[str]]) -> None:
    specs = suites.run(suites.build(suite, ours=True), plugins=plugin_dir, executable=plugin_dir / suite)
    failures = {spec.name: spec.failure for spec in specs if not spec.passed}
    missing = set(baseline[suite]) - {spec.name for spec in specs}
    assert not missing, f"these specs did not run: {sorted(missing)}"
    allowed = {name: failure for name in baseline[suite] for pattern, failure in EXCEPTIONS.items() if re.match(pattern, f"{suite} {name}")}
    excused = {name for name, failure in allowed.items() if re.search(failure, failures.get(name, ""))}
    broken = [name for name in baseline[suite] if name in failures and name not in excused]
    assert not broken, f"{len(broken)} specs fail that the reference passes:\n" + "\n".join(f"{n}\n    {failures[n]}" for n in broken)
    assert set(allowed) <= set(failures), f"these pass and need no exception: {sorted(set(allowed) - set(failures))}"
