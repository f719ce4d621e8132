"""A configuration that is read again while the agent runs: what differs in it is in force at once, and the rest goes on."""

from __future__ import annotations

import re
import signal
from types import TracebackType
from typing import Self

from tests.netns.overlay.keeping import Lines, Listed, Place

VTEP = "10.5.2.0"


class Pinging:
    """Asks a host again and again, from entering the context to leaving it; then every question must have been answered."""

    def __init__(self, place: Place, target: str) -> None:
        self._place = place
        self._target = target

    def __enter__(self) -> Self:
        self._process = self._place.node.popen(["ping", "-n", "-i0.01", self._target])
        assert self._process.stdout
        while "bytes from" not in self._process.stdout.readline():
            pass
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._process.send_signal(signal.SIGINT)
        said = self._process.communicate()[0]
        if kind is None:
            (sent, received) = map(int, re.findall(r"(\d+) packets transmitted, (\d+) received", said)[0])
            assert received >= sent - 1, said  # the last one may still be on its way


def devices(place: Place) -> dict[str, int]:
    """The VXLAN devices of a node, and their indexes."""
    return {link["ifname"]: link["ifindex"] for link in place.ip("link", "show", "type", "vxlan")}


def test_overlays_come_and_go_while_another_loses_no_packet(pair: list[Place], listed: Listed, other: Listed, lines: Lines) -> None:
    index = devices(pair[0])["vxlan.100"]
    lines.forget()
    before = len(lines.said)
    with Pinging(pair[0], VTEP):
        for place in pair:
            place.start(listed.table(), other.table())
            lines.wait_for_all("net6: brought about: .*entries put in", "net6.env has")
        assert pair[0].reaches("10.6.2.0")
        for place in pair:
            place.start(listed.table())
            lines.wait_for("removed an overlay that is not configured any more")
    assert devices(pair[0]) == {"vxlan.100": index}
    assert not [line for line in lines.said[before:] if line.startswith("net5")], "nobody looked at it"
    assert "10.6." not in pair[0].sh("nft list table inet cni_plugins")
    assert pair[0].sh("ls /run/net6.env /run/cni-plugins/overlay-state/net6.json 2>&- || true") == ""


def test_one_that_is_configured_otherwise_goes_on_by_the_new_configuration(pair: list[Place], listed: Listed, lines: Lines) -> None:
    index = devices(pair[0])["vxlan.100"]
    with Pinging(pair[0], VTEP):
        pair[0].start(listed.table(ipMasq=False))
        lines.wait_for("net5.env has")
    assert "FLANNEL_IPMASQ=false\n" in pair[0].sh("cat /run/net5.env")
    assert devices(pair[0]) == {"vxlan.100": index}


def test_what_is_knocked_over_is_repaired_after_a_reload_as_before(pair: list[Place], listed: Listed, other: Listed, lines: Lines) -> None:
    pair[0].start(listed.table(), other.table())
    lines.wait_for_all("net6: brought about: .*entries put in", "net6.env has")
    for name in ("net5", "net6"):
        pair[0].sh(f"ip link delete vxlan.{100 if name == 'net5' else 101}")
        lines.wait_for(f"{name}: repaired: VXLAN device .* is gone")
    assert pair[0].reaches(VTEP)
