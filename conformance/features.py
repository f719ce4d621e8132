"""Features: what a plugin, by its profile, and the machine must have for a case to be run.

ADD, DEL, CHECK, STATUS, GC, VERSION    the plugin implements the operation
interface, ipam, chained, meta          its kind
creates                                 ADD makes the interface CNI_IFNAME
many                                    one configuration serves many containers at once (a device of the node serves one)
addresses, ipv6, l2, l3                 what it gives to containers
delegates, direct                       it delegates to an IPAM plugin; by itself, not through another plugin
pool, ranges, dual_stack, second_conf, requested_ip, out_of_range, wrong_type, beside    the profile has such
capability:NAME                         it takes the capability
version:1.1.0                           it supports that version of the specification
link:KIND                               the kernel can make links of the kind (macvlan, vlan, …)
tool:NAME                               the machine has the command
device:PATH                             /dev/PATH exists, as net/tun does
sysctl:PATH                             /proc/sys/PATH exists, as net/bridge does with br_netfilter
"""

from __future__ import annotations

import os
import shutil
import subprocess

from conformance.profile import Profile

_OPTIONAL = ("pool", "ranges", "dual_stack", "second_conf", "out_of_range", "wrong_type")
_LINKS = {"macvlan": ["link", "{under}"], "ipvlan": ["link", "{under}"], "vlan": ["link", "{under}"]}
_WORDS = {"vlan": ["id", "5"], "vxlan": ["id", "5", "dstport", "4789"]}
_MACHINE = ("link", "tool", "device", "sysctl")
_PLAIN = ("creates", "addresses", "ipv6", "beside")
KINDS = frozenset({"version", "capability", *_MACHINE})
"""What stands before the colon in features that have one."""
NAMES = frozenset({
    "ADD", "DEL", "CHECK", "STATUS", "GC", "VERSION", "interface", "ipam", "chained", "meta", "l2", "l3",
    "delegates", "direct", "many", "requested_ip", *_OPTIONAL, *_PLAIN,
})  # fmt: skip
"""All other features."""


def of(profile: Profile) -> frozenset[str]:
    """Return the features that a profile gives."""
    found: set[str] = {*profile.verbs, profile.kind, profile.layer}
    found |= {f"version:{version}" for version in profile.versions}
    found |= {f"capability:{name}" for name in profile.capabilities}
    found |= {name for name in _OPTIONAL if getattr(profile, name) is not None}
    found |= {name for name in _PLAIN if getattr(profile, name)}
    found |= {"delegates"} if profile.delegate else set()
    found |= {"direct"} if profile.direct else set()
    found |= {"many"} if not profile.another else set()
    found |= {"requested_ip"} if profile.requested_ip != "no" else set()
    return frozenset(found)


def lacks(need: str, features: frozenset[str]) -> str:
    """Return why a need is not met, empty if it is. "a|b" asks for one of them.

    Those of the machine are tried in the calling thread's network namespace, where a link may come and go.
    """
    reasons = [_lacks(one, features) for one in need.split("|")]
    return "" if "" in reasons else " and ".join(reasons)


def _lacks(need: str, features: frozenset[str]) -> str:
    kind, _, name = need.partition(":")
    if kind not in _MACHINE:
        return "" if need in features else f"the plugin's profile is without {need}"
    if kind == "tool":
        return "" if shutil.which(name) else f"the machine is without the command {name}"
    if kind == "device":
        return "" if os.path.exists(f"/dev/{name}") else f"the machine is without /dev/{name}"
    if kind == "sysctl":
        return "" if os.path.exists(f"/proc/sys/{name}") else f"the kernel is without /proc/sys/{name}"
    return "" if _can_link(name) else f"the kernel is without links of kind {name}"


def _can_link(kind: str) -> bool:
    def ip(*words: str) -> bool:
        return subprocess.run(["ip", "link", *words], capture_output=True, check=False).returncode == 0

    under, name = "probe0", "probe1"
    ip("add", under, "type", "veth", "peer", "name", "probe2")
    try:
        place = [word.format(under=under) for word in _LINKS.get(kind, [])]
        return ip("add", *place, "name", name, "type", kind, *_WORDS.get(kind, []))
    finally:
        ip("delete", name)
        ip("delete", under)
