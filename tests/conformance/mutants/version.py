"""Plugins that are wrong about versions."""

from __future__ import annotations

import time

from tests.conformance.mutants.framework import Call, Mutant


def needs_an_interface_name(call: Call) -> None:
    if "CNI_IFNAME" not in call.env:
        call.refuse(4, "CNI_IFNAME is missing")


def takes_any_version(call: Call) -> None:
    if call.conf.get("cniVersion") not in {"0.3.1", "0.4.0", "1.0.0", "1.1.0"}:
        call.edit_conf(lambda conf: conf.update(cniVersion="1.0.0"))


def puts_versions_on_addresses(call: Call) -> None:
    for ip in call.result.get("ips", []):
        if "version" not in ip:
            call.edit(lambda result: [address.update(version="4") for address in result["ips"]])


MUTANTS = {
    "VER-01": Mutant(verbs={"VERSION"}, before=needs_an_interface_name),
    "VER-02": Mutant(verbs={"VERSION"}, after=lambda call: call.edit(lambda answer: answer["supportedVersions"].remove("0.4.0"))),
    "VER-03": Mutant(verbs={"VERSION"}, after=lambda call: call.edit(lambda answer: answer.update(cniVersion="1.1.0"))),
    "VER-04": Mutant(verbs={"VERSION"}, after=lambda call: call.host("ip route add 198.51.100.0/24 dev lo")),
    "VER-05": Mutant(verbs={"ADD"}, before=takes_any_version),
    "VER-06": Mutant(verbs={"ADD"}, after=puts_versions_on_addresses),
    "VER-07": Mutant(verbs={"VERSION"}, before=lambda _: time.sleep(0.6)),
}
