"""Configurations for tests, generated from a class's table of keys: mostly of the right kind, now and then anything."""

from __future__ import annotations

from typing import Any

from hypothesis import strategies as st

addresses = st.sampled_from(["10.1.0.1", "10.1.0.9", "10.2.0.1", "fd00::1", "::ffff:10.1.0.3", "", "10.1.0", "10.1.0.01", "fe80::1%eth0"])
networks = st.sampled_from(
    ["10.1.0.0/16", "10.2.0.0/24", "10.3.0.0/31", "10.1.0.1/16", "fd00::/64", "::/0", "10.1.0.0", "10.0.0.0/33", "/8"]
)
macs = st.sampled_from(
    ["02:00:5e:10:00:01", "02-00-5E-10-00-01", "0200.5e10.0001", "01:00:5e:00:00:01", "00:00:00:00:00:00", "2:0:5e:1:0:1", ""]
)
numbers = st.sampled_from([-5, 0, 1, 67, 68, 254, 256, 1500, 4094, 4095, 65535, 65536, 2**32 - 1, 2**32, 2**80])
words = st.one_of(st.sampled_from(["cni0", "a/b", "x" * 16, "..", "nftables", "host-local", "../x", "1.0.0", "0.2.0"]), st.text(max_size=5))
junk = st.one_of(st.none(), st.booleans(), numbers, words, st.floats(allow_nan=False), st.just([]), st.just({}), st.just([None]))
kinds = st.sampled_from(["static", "host-local", "dhcp", "dhcp", "", "../x", 5, None])
delegate = st.fixed_dictionaries({"type": kinds}, optional={"Type": kinds, "ranges": junk})
free = st.dictionaries(st.sampled_from(["ips", "Ips", "dns"]), junk, max_size=2)
LIKELY: dict[str, st.SearchStrategy[Any]] = {
    **dict.fromkeys(("rangestart", "rangeend", "gateway", "gw", "node", "ipv6node"), addresses),
    **dict.fromkeys(("subnet", "dst", "address", "ipv6network", "ipv6subnet"), networks),
    **dict.fromkeys(("mtu", "vlan", "minid", "maxid", "id", "advmss", "priority", "table", "scope", "vni", "port"), numbers),
    **dict.fromkeys(("nameservers", "search", "options"), st.lists(words, max_size=2)),
    **dict.fromkeys(("name", "type", "cniversion", "bridge", "ipmasqbackend", "domain", "containerid", "ifname"), words),
    **dict.fromkeys(("datadir", "resolvconf", "loglevel", "logfile", "peersfile", "backend"), words),
    **dict.fromkeys(("clusternetwork", "kubeconfig", "confdir", "cnidir", "bindir", "multusnamespace", "globalnamespaces"), words),
    **dict.fromkeys(("maxsize", "maxage", "maxbackups", "apitimeout"), numbers),
    "mac": macs,
    "network": st.sampled_from(["10.0.0.0/8", "0.0.0.0/0", "0.0.0.0/0"]),
    "underlay": st.sampled_from(["eth0", "eth0", "a/b"]),
    "ips": st.lists(st.one_of(networks, addresses), max_size=2),
    "prevresult": free,
    "ipam": delegate,
    "capabilities": st.dictionaries(words, st.booleans(), max_size=2),
}
DEEPER = {"addresses", "routes", "vlantrunk", "peers", "cni.dev/valid-attachments", "cni.dev/attachments"}


def values_of(key: str, below: dict[str, Any] | None) -> st.SearchStrategy[Any]:
    """Values for a key: mostly of the right kind, now and then anything."""
    if below is None:
        likely = LIKELY.get(key, st.booleans())
    elif key in ("ranges", "ipranges"):
        likely = st.lists(st.lists(objects(below), max_size=2), max_size=2)
    else:
        likely = st.lists(objects(below), max_size=2) if key in DEEPER else objects(below)
    return st.integers(0, 19).flatmap(lambda chance: likely if chance else junk)


def objects(keys: dict[str, Any]) -> st.SearchStrategy[dict[str, Any]]:
    """Objects of a class, from its table of keys."""
    needed = {"name", "subnet", "dst", "address", "network", "underlay", "clusternetwork"} | (set() if "underlay" in keys else {"ipam"})
    must = {name: values_of(low, below) for low, (name, below) in keys.items() if low in needed}
    may = {name: values_of(low, below) for low, (name, below) in keys.items() if name not in must}
    some = st.lists(st.sampled_from(sorted(may)), unique=True, max_size=5) if may else st.just([])
    return some.flatmap(lambda chosen: st.fixed_dictionaries({**must, **{name: may[name] for name in chosen}}))
