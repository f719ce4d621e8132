"""Reading our NAT chains out of a listing, and the commands that move them."""

from __future__ import annotations

from cni_plugins.cli.chains import parse

LISTING = """\
table inet cni_plugins {
\tmap ports {
\t\ttype inet_proto . inet_service : ipv4_addr . inet_service
\t\telements = { 6 . 80 comment "net/pod/eth0" : 10.1.0.2 . 8080 }
\t}

\tchain prerouting {
\t\ttype nat hook prerouting priority -101; policy accept;
\t\tdnat ip to meta l4proto . th dport map @ports
\t\tip daddr 10.0.0.1 accept comment "type nat hook output priority 5;"
\t}

\tchain to-10.1.0.0/16 {
\t\tmasquerade
\t}

\tchain forward {
\t\ttype filter hook forward priority -10; policy accept;
\t\taccept
\t}

\tchain postrouting {
\t\ttype nat hook postrouting priority 101; policy accept;
\t}
}
"""


def test_base_chains_of_type_nat_are_read_with_their_rules() -> None:
    found = [(chain.name, chain.hook, chain.priority, chain.rules) for chain in parse(LISTING)]
    rules = ["dnat ip to meta l4proto . th dport map @ports", 'ip daddr 10.0.0.1 accept comment "type nat hook output priority 5;"']
    assert found == [("prerouting", "prerouting", -101, rules), ("postrouting", "postrouting", 101, [])]


def test_a_chain_is_moved_with_its_rules_in_their_order() -> None:
    chain = next(parse(LISTING))
    assert chain.moved(-99).splitlines() == [
        "flush chain inet cni_plugins prerouting",
        "delete chain inet cni_plugins prerouting",
        "add chain inet cni_plugins prerouting { type nat hook prerouting priority -99; policy accept; }",
        "add rule inet cni_plugins prerouting dnat ip to meta l4proto . th dport map @ports",
        'add rule inet cni_plugins prerouting ip daddr 10.0.0.1 accept comment "type nat hook output priority 5;"',
    ]


def test_a_listing_without_chains_has_none() -> None:
    assert list(parse("table inet cni_plugins {\n}\n")) == []
