"""Plugins that answer as they should, and whose network does not do what they say."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

from tests.conformance.mutants.framework import Call, Mutant


def host_end(call: Call) -> str:
    """The name of the veth's end on the node, as the result tells it."""
    return next(str(link["name"]) for link in call.result["interfaces"] if link["name"].startswith("veth"))


def drops(rule: str) -> Callable[[Call], None]:
    """After ADD, a rule of nftables for what the bridge passes on."""

    def install(call: Call) -> None:
        call.host("nft add table bridge mutant; nft 'add chain bridge mutant forward { type filter hook forward priority 0; }'")
        call.host(f"nft add rule bridge mutant forward {rule}")

    return install


def gateway_moves(call: Call) -> None:
    """The bridge takes the hardware address of whatever container came last."""
    call.host(f"ip link set cni1 address {call.result['interfaces'][1]['mac']}")


def tentative(call: Call) -> None:
    """Give the IPv6 address anew, with duplicate address detection."""
    address = next(ip["address"] for ip in call.result["ips"] if ":" in ip["address"])
    call.inside("sysctl -qw net.ipv6.conf.eth0.accept_dad=1 net.ipv6.conf.eth0.dad_transmits=5")
    call.inside(f"ip address del {address} dev eth0; ip address add {address} dev eth0")


def masquerades_all(call: Call) -> None:
    """Masquerade what goes from container to container, too."""
    call.host("sysctl -qw net.bridge.bridge-nf-call-iptables=1 net.bridge.bridge-nf-call-ip6tables=1; nft add table inet mutant")
    call.host("nft 'add chain inet mutant after { type nat hook postrouting priority 90; }'; nft add rule inet mutant after masquerade")


def one_bridge_for_all(conf: dict[str, Any]) -> None:
    """All networks are on one bridge."""
    conf.update(bridge="cni1")


def without_udp(conf: dict[str, Any]) -> None:
    """Map the first port only."""
    conf["runtimeConfig"]["portMappings"] = conf["runtimeConfig"]["portMappings"][:1]


def twice_as_fast(conf: dict[str, Any]) -> None:
    """Take bits for half of what they are, out of the container."""
    limits = conf["runtimeConfig"]["bandwidth"]
    conf["runtimeConfig"]["bandwidth"] = {**limits, "egressRate": 2 * limits["egressRate"]}


def keeps_old_owner(call: Call) -> None:
    """Send what comes for the port to the container that had it first."""
    if call.first("owner"):
        call.remember("address", json.dumps(call.result["ips"][0]["address"].partition("/")[0]))
    else:
        address = json.loads(call.recall("address") or "")
        call.host("nft add table ip mutant; nft 'add chain ip mutant before { type nat hook prerouting priority -150; }'")
        call.host(f"nft add rule ip mutant before udp dport 8053 dnat to {address}:53")


MUTANTS = {
    "DP-01": Mutant(verbs={"ADD"}, after=lambda call: call.host("ip link set cni1 down")),
    "DP-02": Mutant(verbs={"ADD"}, after=drops("ether type ip udp dport 7000 drop")),
    "DP-03": Mutant(verbs={"ADD"}, after=tentative),
    "DP-04": Mutant(verbs={"ADD"}, after=lambda call: call.host(f"bridge link set dev {host_end(call)} hairpin off")),
    "DP-05": Mutant(profile="portmap", verbs={"ADD"}, before=lambda call: call.edit_conf(without_udp)),
    "DP-06": Mutant(verbs={"ADD"}, before=lambda call: call.edit_conf(lambda conf: conf.update(ipMasq=False))),
    "DP-07": Mutant(profile="bandwidth", verbs={"ADD"}, before=lambda call: call.edit_conf(twice_as_fast)),
    "DP-08": Mutant(verbs={"ADD"}, after=lambda call: call.host(f"ip link set {host_end(call)} mtu 1400")),
    "DP-09": Mutant(verbs={"ADD"}, before=lambda call: call.edit_conf(one_bridge_for_all)),
    "DP-10": Mutant(verbs={"ADD"}, after=masquerades_all),
    "DP-11": Mutant(verbs={"ADD"}, after=gateway_moves),
    "DP-12": Mutant(profile="portmap", verbs={"ADD"}, after=keeps_old_owner),
}
