"""An overlay whose files were cut off goes nevertheless: what is left of it bears its mark."""

from __future__ import annotations

import pytest

from conformance import ledger
from tests.netns.plugins.networks import RECORDS
from tests.netns.vxlan.overlay import Member
from tests.netns.vxlan.test_removal import BACKENDS, USERS, nothing_left


def cut_off(member: Member) -> None:
    """Leave empty files."""
    for file in (*RECORDS.glob("*.vxlan"), *USERS.iterdir()):
        file.write_bytes(b"")


@pytest.mark.parametrize("backend", list(BACKENDS))
@pytest.mark.parametrize("verb", ["DEL", "GC"])
def test_nothing_is_left_of_an_overlay_whose_files_were_cut_off(member: Member, backend: str, verb: str) -> None:
    member.keys = BACKENDS[backend]
    before = member.node.ledger()
    pod = member.pod()
    cut_off(member)
    if verb == "DEL":
        assert member.call("DEL", pod, prevResult=member.results["pod"]).result is None
    else:
        member.plugins.good("vxlan", "GC", member.conf() | {"cni.dev/valid-attachments": []})
    nothing_left(before, member)


def test_what_others_still_use_stays(member: Member) -> None:
    first = member.pod("first")
    shared = member.node.ledger()
    second = member.pod("second")
    cut_off(member)
    assert member.call("DEL", second, prevResult=member.results["second"]).result is None
    assert member.check(first) == ""
    lost = [line for line in ledger.diff(shared, member.node.ledger()) if line.startswith("-")]
    assert lost == []
