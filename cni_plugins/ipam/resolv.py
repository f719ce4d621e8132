"""DNS settings from a file like /etc/resolv.conf (resolv.conf(5)), which host-local puts into its result."""

from __future__ import annotations

from cni_plugins.kernel import files
from cni_plugins.protocol.errors import InvalidConfig

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


def read_resolv_conf(path: str) -> dict[str, Any]:
    """The settings of the file at `path`, as a result carries them; none for an empty path.

    Several `search` and `options` lines add up, as the reference has it; of several `domain` lines the last counts. Raises
    InvalidConfig when the file does not exist, IoFailure when it cannot be read.
    """
    if not path:
        return {}
    data = files.read(path)
    if data is None:
        raise InvalidConfig(f"ipam.resolvConf: there is no file {path}")
    dns: dict[str, Any] = {}
    for line in data.decode("utf-8", "replace").splitlines():
        words = line.split()
        if len(words) < 2 or words[0][0] in "#;":
            continue
        if words[0] == "nameserver":
            dns.setdefault("nameservers", []).append(words[1])
        elif words[0] == "domain":
            dns["domain"] = words[1]
        elif words[0] in ("search", "options"):
            dns.setdefault(words[0], []).extend(words[1:])
    return dns
