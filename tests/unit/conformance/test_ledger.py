"""Nothing that a plugin leaves behind escapes the ledger, and nothing that it did not do is held against it."""

from __future__ import annotations

import re
from collections.abc import Callable

import pytest

from conformance import ledger
from conformance.ledger import firewall
from tests.support.node import Node

NFT = """table inet t {
    set s { type ipv4_addr; elements = { 10.0.0.1 comment "a, b", 10.0.0.2 }; }
    map m { type ipv4_addr : verdict; elements = { 10.0.0.1 : accept }; }
    chain c { type nat hook postrouting priority 101; policy accept; ip saddr @s counter masquerade; tcp dport { 80, 443 } accept; }
}"""


def sh(script: str) -> Callable[[Node], object]:
    return lambda node: node.run(["sh", "-ec", script])


def in_pod(script: str) -> Callable[[Node], object]:
    return lambda node: node.containers["pod"].run(["sh", "-ec", script])


def nft(script: str) -> Callable[[Node], object]:
    return lambda node: node.run(["nft", "-f", "-"], input=script)


DIFFERENCES: dict[str, tuple[Callable[[Node], object], str]] = {
    "a link": (sh("ip link add br1 type bridge"), r"\+ node link br1: kind bridge, mac ..:..:..:..:..:.., mtu 1500, txqlen 1000"),
    "a link in a container": (in_pod("ip link add br1 type bridge"), r"\+ pod link br1: kind bridge.*"),
    "a link gone": (sh("ip link del old"), r"- node link old: kind bridge.*"),
    "an mtu": (sh("ip link set old mtu 1400"), r"~ node link old: mtu 1500 -> 1400"),
    "a mac": (sh("ip link set old address 02:00:00:00:00:07"), r"~ node link old: mac .* -> 02:00:00:00:00:07"),
    "a link's state": (in_pod("ip link set lo up"), r"~ pod link lo: flags \(none\) -> up"),
    "promiscuity": (sh("ip link set old promisc on"), r"~ node link old: flags up -> up promisc"),
    "an alias": (sh("ip link set old alias me"), r"~ node link old: alias \(none\) -> me"),
    "a master": (sh("ip link set port master old"), r"~ node link port: master \(none\) -> old"),
    "a port's mode": (
        sh("ip link set port master old; bridge link set dev port hairpin on"),
        r"~ node link port: .*port \(none\) -> hairpin",
    ),
    "an address": (sh("ip address add 10.9.0.1/16 dev old"), r"\+ node address 10\.9\.0\.1/16 dev old: scope global"),
    "an IPv6 address": (sh("ip address add fd00::1/64 dev old nodad"), r"\+ node address fd00::1/64 dev old: scope global, flags nodad"),
    "a route": (
        sh("ip route add 10.8.0.0/16 via 192.0.2.9 table 77"),
        r"\+ node route 10\.8\.0\.0/16 via 192\.0\.2\.9 dev old table 77 .*",
    ),
    "a route of several hops": (
        sh("ip route add 10.8.0.0/16 nexthop via 192.0.2.9 dev old nexthop via 192.0.2.8 dev old"),
        r"\+ node route 10\.8\.0\.0/16 nexthop via 192\.0\.2\.9 dev old nexthop via 192\.0\.2\.8 dev old table main .*",
    ),
    "a blackhole": (sh("ip route add blackhole 10.7.0.0/16"), r"\+ node route blackhole 10\.7\.0\.0/16 table main .*"),
    "a rule": (
        sh("ip rule add from 10.1.0.0/16 fwmark 0x2000/0x2000 lookup 100"),
        r"\+ node rule ipv4 32765: from 10\.1\.0\.0/16 fwmark 0x2000/0x2000 lookup 100",
    ),
    "a neighbour": (
        sh("ip neigh add 192.0.2.7 lladdr 02:00:00:00:00:01 dev old"),
        r"\+ node neighbour 192\.0\.2\.7 dev old: mac 02:00:00:00:00:01",
    ),
    "a neighbour answered for": (sh("ip neigh add proxy 192.0.2.6 dev old"), r"\+ node neighbour 192\.0\.2\.6 dev old: proxy yes"),
    "a queueing discipline": (
        sh("tc qdisc add dev old root tbf rate 1mbit burst 10k limit 10k"),
        r"\+ node qdisc tbf \w+: dev old parent ffffffff: .*",
    ),
    "an nftables table": (nft("table inet u {}"), r"\+ node nftables table inet u"),
    "an nftables rule": (
        nft("add rule inet t c ip daddr 10.0.0.9 drop"),
        r"\+ node nftables table inet t / chain c / ip daddr 10\.0\.0\.9 drop",
    ),
    "an nftables rule twice": (
        nft("add rule inet t c tcp dport { 80, 443 } accept"),
        r"~ node nftables .* tcp dport { 80, 443 } accept: times \(none\) -> 2",
    ),
    "an element of a set": (nft("add element inet t s { 10.0.0.3 }"), r"\+ node nftables table inet t / set s / 10\.0\.0\.3"),
    "an element gone": (nft("delete element inet t s { 10.0.0.1 }"), r'- node nftables table inet t / set s / 10\.0\.0\.1 comment "a, b"'),
    "an element of a map": (nft("add element inet t m { 10.0.0.2 : drop }"), r"\+ node nftables table inet t / map m / 10\.0\.0\.2 : drop"),
    "an iptables rule": (
        sh("iptables -t nat -A POSTROUTING -s 10.0.0.1 -j MASQUERADE"),
        r"\+ node iptables iptables-save nat -A POSTROUTING -s 10\.0\.0\.1/32 .*",
    ),
    "an ip6tables chain": (sh("ip6tables -t nat -N CNI-1"), r"\+ node iptables ip6tables-save nat :CNI-1 -"),
    "forwarding": (sh("echo 1 > /proc/sys/net/ipv4/ip_forward"), r"~ node sysctl net/ipv4/ip_forward: value 0 -> 1"),
    "a sysctl of a link": (
        sh("echo 0 > /proc/sys/net/ipv6/conf/old/accept_dad"),
        r"~ node sysctl net/ipv6/conf/old/accept_dad: value \d -> 0",
    ),
    "a named namespace": (sh("ip netns add left"), r"\+ node netns left"),
    "a file": (
        sh("mkdir /var/lib/cni/n; printf pod > /var/lib/cni/n/10.1.0.2"),
        r"\+ node file /var/lib/cni/n/10\.1\.0\.2: kind file, mode 0644, content 'pod'",
    ),
    "a file's contents": (sh("echo new > /run/state"), r"~ node file /run/state: content 'old\\n' -> 'new\\n'"),
    "a file's mode": (sh("chmod 600 /run/state"), r"~ node file /run/state: mode 0644 -> 0600"),
    "a big file": (sh("seq 1000 > /run/state"), r"~ node file /run/state: content 'old\\n' -> 3893 bytes [0-9a-f]{16}"),
    "a symbolic link": (sh("ln -s /nowhere /run/link"), r"\+ node file /run/link: kind link, mode 0777, to /nowhere"),
    "a process": (lambda node: node.popen(["sleep", "987"]), r"\+ node process \d+ sleep 987"),
    "a process in a container": (lambda node: node.containers["pod"].popen(["sleep", "988"]), r"\+ pod process \d+ sleep 988"),
}  # fmt: skip


@pytest.fixture
def furnished(node: Node) -> Node:
    node.container("pod")
    node.run(["sh", "-ec", """
        ip link add old type bridge; ip link set old addrgenmode none up; ip address add 192.0.2.1/24 dev old
        ip link add port type veth peer name other
        echo old > /run/state; chmod 644 /run/state
    """])  # fmt: skip
    node.run(["nft", "-f", "-"], input=NFT)
    return node


@pytest.mark.parametrize("what", DIFFERENCES)
def test_what_was_left_behind_is_named(furnished: Node, what: str) -> None:
    change, expected = DIFFERENCES[what]
    before = furnished.ledger()
    change(furnished)
    lines = ledger.diff(before, furnished.ledger())
    assert any(re.fullmatch(expected, line) for line in lines), "\n".join(lines)


def test_an_idle_node_does_not_change(furnished: Node) -> None:
    assert ledger.diff(furnished.ledger(), furnished.ledger()) == []


def test_counters_are_no_difference(furnished: Node) -> None:
    furnished.run(["iptables", "-A", "OUTPUT", "-j", "ACCEPT"])
    before = furnished.ledger()
    furnished.run(["ping", "-c1", "127.0.0.1"])
    assert ledger.diff(before, furnished.ledger()) == []


def test_what_is_ignored_is_left_out_and_nothing_else(furnished: Node) -> None:
    before = furnished.ledger()
    furnished.run(["sh", "-ec", "ip link add cni0 up type bridge; ip address add 10.1.0.1/16 dev cni0; touch /run/lock/x"])
    lines = ledger.diff(before, furnished.ledger(), ignore=[ledger.about_link("cni0")])
    assert lines == ["+ node file /run/lock/x: kind file, mode 0644, content ''"]


def test_a_link_that_came_is_reported_without_its_sysctls(furnished: Node) -> None:
    before = furnished.ledger()
    furnished.run(["ip", "link", "add", "br1", "type", "bridge"])
    assert [line[:18] for line in ledger.diff(before, furnished.ledger())] == ["+ node link br1: k"]


def test_taking_a_snapshot_changes_nothing(furnished: Node) -> None:
    look = ["sh", "-ec", "ip link; ip address; nft list ruleset; cat /proc/net/ip_tables_names; ls /run /var/lib/cni"]
    before = furnished.run(look).stdout
    furnished.ledger()
    assert furnished.run(look).stdout == before


def test_a_container_that_vanished_counts_as_empty(furnished: Node) -> None:
    paths = {"pod": furnished.containers["pod"].path}
    before = ledger.take(paths)
    furnished.containers["pod"].delete()
    assert "- pod link lo: mac 00:00:00:00:00:00, mtu 65536, txqlen 1000" in ledger.diff(before, ledger.take(paths))


def test_a_machine_without_nftables_has_a_ledger(node: Node, monkeypatch: pytest.MonkeyPatch) -> None:
    def missing() -> str:
        raise OSError("nft: no such command")

    monkeypatch.setattr(firewall, "_listing", missing)
    assert ledger.take()[ledger.Item("node", "nftables", "(unreadable)")] == {"reason": "nft: no such command"}
