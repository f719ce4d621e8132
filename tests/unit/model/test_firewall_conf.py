"""The firewall's configuration: what the reference accepts is accepted, nonsense is refused by name."""

from __future__ import annotations

from typing import Any

import pytest

from cni_plugins.model.frozen import validate
from cni_plugins.plugins.firewall import FirewallConf
from cni_plugins.protocol.errors import InvalidConfig


def conf(**keys: Any) -> FirewallConf:
    return validate(FirewallConf, {"cniVersion": "1.0.0", "name": "net", "type": "firewall", **keys})


@pytest.mark.parametrize(
    "keys",
    [
        {},
        {"backend": "iptables"},
        {"backend": "firewalld", "firewalldZone": "trusted"},
        {"backend": None, "ingressPolicy": None, "iptablesAdminChainName": None, "firewalldZone": None},
        {"backend": "", "ingressPolicy": "", "iptablesAdminChainName": "", "firewalldZone": ""},
        {"ingressPolicy": "open"},
        {"INGRESSPOLICY": "same-bridge"},
        {"ingressPolicy": "isolated"},
        {"iptablesAdminChainName": "CNI-foobar"},
        {"iptablesAdminChainName": "DOCKER-USER"},
        {"ifName": "dummy0", "zone": "what the reference's tests carry"},
    ],
)
def test_accepted(keys: dict[str, Any]) -> None:
    conf(**keys)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("backend", "smoke"),
        ("backend", 5),
        ("ingressPolicy", "closed"),
        ("ingressPolicy", ["open"]),
        ("iptablesAdminChainName", "has blank"),
        ("iptablesAdminChainName", "$(reboot)"),
        ("iptablesAdminChainName", "-j"),
        ("iptablesAdminChainName", "x" * 29),
        ("iptablesAdminChainName", "ACCEPT"),
        ("iptablesAdminChainName", "CNI-FORWARD"),
        ("firewalldZone", 1),
    ],
)
def test_refused_by_name_and_value(key: str, value: object) -> None:
    with pytest.raises(InvalidConfig) as caught:
        conf(**{key: value})
    assert key in caught.value.msg
