"""The layouts of routing messages, as far as we send or read them (linux/if_link.h, if_addr.h, rtnetlink.h, if_bridge.h, pkt_sched.h, …).

What a link, a discipline or a filter of one kind has of its own lies in one attribute, where each kind begins to count anew. Names
tell the kinds apart, so each such attribute has one layout for all of them: whoever reads it has looked at the kind before.
"""

from __future__ import annotations

from cni_plugins.kernel.codec import ADDRESS, BYTES, MAC, PORT, TEXT, U8, U16, U32, U64, Layout, in_a_row

_LINK_FIELDS = ("family", "type", "index", "flags", "change")
_LINK = "BxHiII"

_PEER = Layout(
    _LINK,
    _LINK_FIELDS,
    {"IFLA_ADDRESS": (1, MAC), "IFLA_IFNAME": (3, TEXT), "IFLA_MTU": (4, U32), "IFLA_NET_NS_FD": (28, U32)},
)
_INFO_DATA = Layout(
    attributes={
        "VETH_INFO_PEER": (1, _PEER),
        "IFLA_BR_VLAN_FILTERING": (7, U8),
        "IFLA_BR_VLAN_DEFAULT_PVID": (39, U16),
        "IFLA_VXLAN_ID": (1, U32),
        "IFLA_VXLAN_LINK": (3, U32),
        "IFLA_VXLAN_LOCAL": (4, ADDRESS),
        "IFLA_VXLAN_LEARNING": (7, U8),
        "IFLA_VXLAN_PORT": (15, PORT),
        "IFLA_VXLAN_LOCAL6": (17, ADDRESS),
    }
)
_INFO_SLAVE_DATA = Layout(attributes={"IFLA_BRPORT_MODE": (4, U8), "IFLA_BRPORT_ISOLATED": (33, U8)})
_LINKINFO = Layout(
    attributes={
        "IFLA_INFO_KIND": (1, TEXT),
        "IFLA_INFO_DATA": (2, _INFO_DATA),
        "IFLA_INFO_SLAVE_KIND": (4, TEXT),
        "IFLA_INFO_SLAVE_DATA": (5, _INFO_SLAVE_DATA),
    }
)
_AF_SPEC = Layout(
    attributes={
        "IFLA_BRIDGE_FLAGS": (0, U16),
        "IFLA_BRIDGE_VLAN_INFO": (2, Layout("HH", ("flags", "vid"))),
        "AF_INET6": (10, Layout(attributes={"IFLA_INET6_ADDR_GEN_MODE": (8, U8)})),
    }
)
"""Of a message in the family of bridges the first two, of any other the last."""
_ifinfmsg = Layout(
    _LINK,
    _LINK_FIELDS,
    {
        "IFLA_ADDRESS": (1, MAC),
        "IFLA_IFNAME": (3, TEXT),
        "IFLA_MTU": (4, U32),
        "IFLA_MASTER": (10, U32),
        "IFLA_TXQLEN": (13, U32),
        "IFLA_LINKINFO": (18, _LINKINFO),
        "IFLA_IFALIAS": (20, TEXT),
        "IFLA_AF_SPEC": (26, _AF_SPEC),
        "IFLA_GROUP": (27, U32),
        "IFLA_NET_NS_FD": (28, U32),
        "IFLA_EXT_MASK": (29, U32),
    },
)

_ifaddrmsg = Layout(
    "BBBBI",
    ("family", "prefixlen", "flags", "scope", "index"),
    {"IFA_ADDRESS": (1, ADDRESS), "IFA_LOCAL": (2, ADDRESS), "IFA_BROADCAST": (4, ADDRESS), "IFA_FLAGS": (8, U32)},
)

_HOP = Layout("HBBi", ("length", "flags", "hops", "oif"), {"RTA_GATEWAY": (5, ADDRESS)})
_rtmsg = Layout(
    "BBBBBBBBI",
    ("family", "dst_len", "src_len", "tos", "table", "proto", "scope", "type", "flags"),
    {
        "RTA_DST": (1, ADDRESS),
        "RTA_OIF": (4, U32),
        "RTA_GATEWAY": (5, ADDRESS),
        "RTA_PRIORITY": (6, U32),
        "RTA_PREFSRC": (7, ADDRESS),
        "RTA_METRICS": (8, Layout(attributes={"RTAX_MTU": (2, U32), "RTAX_ADVMSS": (8, U32)})),
        "RTA_MULTIPATH": (9, in_a_row(_HOP)),
        "RTA_TABLE": (15, U32),
    },
)

_RATE = "BBHhHI"
_TBF_PARMS = Layout(
    _RATE * 2 + "III",
    (
        *("cell_log", "linklayer", "overhead", "cell_align", "mpu", "rate"),
        *("peak_cell_log", "peak_linklayer", "peak_overhead", "peak_cell_align", "peak_mpu", "peak_rate"),
        *("limit", "buffer", "mtu"),
    ),
)
ACTIONS = 32
"""The most actions that one filter has (TCA_ACT_MAX_PRIO)."""
_MIRRED_PARMS = Layout("IIiiiiI", ("index", "capab", "action", "refcnt", "bindcnt", "eaction", "ifindex"))
_ACTION = Layout(
    attributes={"TCA_ACT_KIND": (1, TEXT), "TCA_ACT_OPTIONS": (2, Layout(attributes={"TCA_MIRRED_PARMS": (2, _MIRRED_PARMS)}))}
)
_tcmsg = Layout(
    "BxxxiIII",
    ("family", "index", "handle", "parent", "info"),
    {
        "TCA_KIND": (1, TEXT),
        "TCA_OPTIONS": (
            2,
            Layout(
                attributes={
                    "TCA_TBF_PARMS": (1, _TBF_PARMS),
                    "TCA_TBF_RATE64": (4, U64),
                    "TCA_U32_CLASSID": (1, U32),
                    "TCA_U32_SEL": (5, BYTES),
                    "TCA_U32_ACT": (7, Layout(attributes={f"TCA_ACT_PRIO_{place}": (place, _ACTION) for place in range(1, ACTIONS + 1)})),
                }
            ),
        ),
    },
)

LAYOUTS = {"ifinfmsg": _ifinfmsg, "ifaddrmsg": _ifaddrmsg, "rtmsg": _rtmsg, "tcmsg": _tcmsg}
"""By the names of the structures that their headers are in C."""
