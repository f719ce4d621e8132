"""Conditions written as arguments of iptables, in the words of nftables: iptables' own `iptables-translate` knows both.

It changes nothing and asks the kernel nothing; it is executed once for each chain that is made with such conditions.
"""

from __future__ import annotations

from cni_plugins.kernel import files, iptables, process
from cni_plugins.protocol.errors import InvalidConfig, IoFailure

_CHAIN = "CONDITIONS"
_ENVIRONMENT = {"PATH": "/usr/sbin:/sbin:/usr/bin:/bin:/usr/local/sbin", "LC_ALL": "C"}
_ADVICE = "write it in the words of nftables (such as `ip saddr 192.0.2.0/24`)"


def translate(family: str, words: list[str], *, key: str) -> str:
    """The conditions `words` of "ip" or "ip6" as a rule of nftables begins with them; `key` is where they were written.

    Raises InvalidConfig when there is no saying it, IoFailure when the program is not installed.
    """
    found = iptables.program(family)
    program = f"{found.path}-translate" if found else ""
    if not found or not files.exists(program):
        raise IoFailure(f"{key}: arguments of iptables need iptables-translate to be understood", f"install iptables, or {_ADVICE}")
    arguments = " ".join("'" + word.replace("'", "'\\''") + "'" for word in words)
    script = f"exec {program} -t nat -A {_CHAIN} {arguments}\n"
    finished = process.run("/bin/sh", script.encode(errors="surrogateescape"), _ENVIRONMENT, capture_stderr=True)
    said = finished.stdout.decode(errors="surrogateescape").strip()
    _, rule, conditions = said.removesuffix("'").partition(f" {_CHAIN} ")
    if finished.status or not rule or "\n" in said or said.removeprefix("nft ").startswith("#"):
        reason = finished.stderr.decode(errors="replace").strip().partition("\n")[0]
        raise InvalidConfig(f"{key}: {' '.join(words)} cannot be said in nftables", "; ".join(filter(None, (reason, _ADVICE))))
    return conditions.strip().removesuffix("counter").strip()
