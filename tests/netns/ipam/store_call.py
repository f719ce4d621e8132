"""One call of the store in a process of its own: store_call.py DATA_DIR VERB CONTAINER_ID; prints the addresses, one a line."""

from __future__ import annotations

import sys

from cni_plugins.ipam.pools import Range, RangeSet
from cni_plugins.ipam.store import Store
from cni_plugins.protocol.ip import parse_cidr

NETWORK = "net"
SUBNETS = ("10.7.0.0/24", "2001:db8:7::/64")
POOLS = [RangeSet([Range(parse_cidr(subnet))]) for subnet in SUBNETS]
IFNAME = "eth0"


def main() -> None:
    data_dir, verb, container_id = sys.argv[1:]
    store = Store(data_dir, NETWORK)
    owner = (container_id, IFNAME)
    found = [lease.address for lease in store.allocate(owner, POOLS)] if verb == "ADD" else store.release(owner)
    print(*(address.address for address in found), sep="\n")


if __name__ == "__main__":
    main()
