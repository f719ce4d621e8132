"""What plugins leave on a node on purpose: things that all attachments of a network share, as patterns for `conformance.ledger.diff`."""

from __future__ import annotations

from conformance import ledger

HINTS = r"node file /var/lib/cni/networks/[^/]+/last_reserved_ip\.\d"
"""Where host-local goes on looking for a free address."""

INDEX = r"node file .*/\.by-id/.*"
"""host-local's index of owners: a copy, which a failure may leave wrong until the next call, and which is not believed meanwhile."""

SHARED = (
    HINTS,
    r"node file /run/cni-plugins(/lock|/records|/overlays)?",
    r"node file /var/lib/cni/networks(/[^/]+(/lock|/\.by-id)?)?",
    r"node nftables table (inet|bridge) cni_plugins( / (map|set|chain) (?!.* / .* comment ).*)?",
    r"node sysctl net/ipv[46]/(ip_forward|conf/[^/]+/[a-z_]+)",
    ledger.about_link("cni0"),
)
"""All of it: files and directories without content, empty chains and sets, forwarding, the bridge."""
