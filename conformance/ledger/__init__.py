"""The ledger: what a network plugin can leave behind, written down before and after.

    before = ledger.take({"pod": "/run/netns/pod"})
    …
    for line in ledger.diff(before, ledger.take({"pod": "/run/netns/pod"})):
        print(line)                                   # + node address 10.1.0.1/16 dev cni0: scope 0

An entry is a thing that exists at a place ("node", or a container's name): a link, an address, a route, a rule, a permanent neighbour,
a queueing discipline, a line of nftables or iptables, a sysctl under net, a named network namespace, a file, a process.
Its fields are what can change about it. Counters, handles, indexes, ages and what the kernel learns by itself are left out, so that two
snapshots of an idle machine are equal. Taking one changes nothing.
"""

from __future__ import annotations

from conformance.ledger.difference import about_link, diff
from conformance.ledger.snapshot import DIRECTORIES, Item, Snapshot, take

__all__ = ["DIRECTORIES", "Item", "Snapshot", "about_link", "diff", "take"]
