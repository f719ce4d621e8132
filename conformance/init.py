"""A first profile of a plugin, made by asking it (VERSION) and by looking at what its ADD and DEL do on a node of their own.

What cannot be found out is left to the author, with what was tried as a comment.
"""

from __future__ import annotations

import dataclasses
import json
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from conformance import ledger, profile
from conformance.case import Failed, Skipped
from conformance.lab import Lab
from conformance.profile import Profile
from conformance.report.text import one_line

if TYPE_CHECKING:
    from conformance.profile import Json, Verb

_IPAM = {"type": "host-local", "ranges": [[{"subnet": "{subnet4}"}]]}
_DUAL = {"ranges": [[{"subnet": "{subnet4}"}], [{"subnet": "{subnet6}"}]]}
_SMALL = {"ranges": [[{"subnet": "{subnet4}", "rangeStart": "{prefix4}.2", "rangeEnd": "{prefix4}.4"}]]}
_LEASES = r"node file /var/lib/cni/networks(/net[12](/(lock|last_reserved_ip\.\d+))?)?"
_UNDER = {"type": "ptp", "ipam": _IPAM}
_LIMIT = 160


class InitError(Exception):
    """No profile can be made; the text says why, in one sentence."""


@dataclass(frozen=True, slots=True)
class Trial:
    """A guess: a kind with a configuration, which is right if ADD works with it. It needs the plugins `helpers` beside."""

    kind: str
    conf: Json
    helpers: tuple[str, ...] = ()
    before: Json | None = None


@dataclass(frozen=True, slots=True)
class Seen:
    """What came of a trial: `trouble` is why it tells nothing of the plugin, empty if it does; `stays` are patterns of what DEL left."""

    trial: Trial
    trouble: str = ""
    creates: bool = False
    addresses: bool = False
    ipv6: bool = False
    stays: tuple[str, ...] = ()


def trials(plugin: str) -> list[Trial]:
    """Return what is tried, the likeliest first."""
    return [
        Trial("interface", {"ipam": _IPAM}, helpers=("host-local",)),
        Trial("interface", {"master": "{master}", "ipam": _IPAM}, helpers=("host-local",)),
        Trial("ipam", {"ipam": {"type": plugin, "ranges": _IPAM["ranges"]}}),
        Trial("ipam", {"ipam": {"type": plugin, "subnet": "{subnet4}"}}),
        Trial("ipam", {"ipam": {"type": plugin, "addresses": [{"address": "{prefix4}.5/24"}]}}),
        Trial("chained", {}, helpers=("ptp", "host-local"), before=_UNDER),
        Trial("meta", {"delegate": _UNDER}, helpers=("ptp", "host-local")),
        Trial("meta", {"delegates": [_UNDER]}, helpers=("ptp", "host-local")),
        Trial("interface", {}),
    ]


def first_profile(plugin: Path, *, helpers: Sequence[Path] = ()) -> str:
    """Return a profile of the executable `plugin` as the text of a TOML file.

    `helpers` are directories with further plugins, which the one in question may delegate to or come after.
    Raises InitError when it cannot be executed or does not answer VERSION, OSError when there can be no namespaces here.
    """
    versions = _ask(plugin)
    if plugin.name in profile.shipped():
        return _from_shipped(plugin.name, versions)
    seen = _look(plugin, versions, helpers)
    found = next((one for one in seen if not one.trouble), None)
    return _written(plugin.name, versions, found or Seen(seen[0].trial), tried=seen)


def verbs(versions: Iterable[str]) -> list[Verb]:
    """Return the operations that a plugin of these versions has: CHECK came with 0.4.0, STATUS and GC with 1.1.0."""
    latest = max(_number(version) for version in versions)
    since: list[tuple[Verb, tuple[int, ...]]] = [
        ("ADD", (0,)), ("DEL", (0,)), ("CHECK", (0, 4)), ("STATUS", (1, 1)), ("GC", (1, 1)), ("VERSION", (0,)),
    ]  # fmt: skip
    return [verb for verb, first in since if latest >= first]


def toml(value: Any) -> str:
    """Return a JSON value as TOML on one line."""
    if isinstance(value, dict):
        return "{ " + ", ".join(f"{toml(str(key))} = {toml(inner)}" for key, inner in value.items()) + " }" if value else "{}"
    if isinstance(value, list):
        return f"[{', '.join(map(toml, value))}]"
    return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")


def _number(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in version.split("."))


def _trial_profile(plugin: str, versions: Sequence[str], trial: Trial) -> Profile:
    return Profile.model_validate(
        {"name": plugin, "plugin": plugin, "kind": trial.kind, "versions": versions, "conf": trial.conf, "before": trial.before}
    )


def _ask(plugin: Path) -> list[str]:
    """Return the versions that the plugin says it supports, oldest first."""
    trial = _trial_profile(plugin.name, ["1.1.0"], Trial("interface", {}))
    try:
        with Lab(trial, plugin.parent) as lab:
            said = lab.call("VERSION", {"cniVersion": "1.1.0"}).succeeds()
    except Failed as error:
        raise InitError(f"{plugin} does not answer VERSION: {one_line(error.observed)}") from error
    except Skipped as error:
        raise InitError(f"{plugin} cannot be executed: {error}") from error
    supported = said.get("supportedVersions") if isinstance(said, dict) else None
    versions = [one for one in supported if re.fullmatch(r"\d+\.\d+\.\d+", str(one))] if isinstance(supported, list) else []
    if not versions:
        raise InitError(f"{plugin} answers VERSION without any supportedVersions: {one_line(json.dumps(said), limit=_LIMIT)}")
    return sorted(set(versions), key=_number)


def _look(plugin: Path, versions: Sequence[str], helpers: Sequence[Path]) -> list[Seen]:
    """Try until something works; returns all that was tried."""
    seen: list[Seen] = []
    for trial in trials(plugin.name):
        seen.append(_try(plugin, versions, trial, helpers))
        if not seen[-1].trouble:
            break
    if not seen[-1].trouble and seen[-1].trial.conf.get("ipam") == _IPAM:
        both = dataclasses.replace(trial, conf=trial.conf | {"ipam": _IPAM | _DUAL})
        seen[-1] = dataclasses.replace(seen[-1], ipv6=_try(plugin, versions, both, helpers).ipv6)
    return seen


def _try(plugin: Path, versions: Sequence[str], trial: Trial, helpers: Sequence[Path]) -> Seen:
    try:
        with Lab(_trial_profile(plugin.name, versions, trial), plugin.parent, helpers=helpers) as lab:
            for helper in trial.helpers:
                lab.executable(helper)
            return _seen(lab, trial)
    except Failed as error:
        return Seen(trial, trouble=one_line(error.observed, limit=_LIMIT))
    except Skipped as error:
        return Seen(trial, trouble=one_line(str(error), limit=_LIMIT))


def _seen(lab: Lab, trial: Trial) -> Seen:
    """ADD and DEL, and see. One that answers an interface's ADD with addresses and no interface belongs to another trial."""
    pod = lab.container()
    before = lab.ledger()
    result = lab.add(pod).succeeds()
    result = result if isinstance(result, dict) else {}
    creates = lab.profile.ifname in lab.ledger().links(pod.name) - before.links(pod.name)
    addresses = any(result.get(key) for key in ("ips", "ip4", "ip6"))
    interfaces = creates or bool(result.get("interfaces"))
    if trial.kind == "interface" and not interfaces:
        return Seen(trial, trouble="ADD succeeds, but tells of no interface")
    if trial.kind == "ipam" and (interfaces or not addresses):
        return Seen(trial, trouble="ADD succeeds, but not with addresses alone")
    lab.delete(pod)
    after = lab.ledger()
    ipv6 = any(":" in str(ip.get("address")) for ip in result.get("ips", []))
    return Seen(trial, creates=creates, addresses=addresses, ipv6=ipv6, stays=_stays(lab.difference(before), before, after))


def _stays(lines: Sequence[str], before: ledger.Snapshot, after: ledger.Snapshot) -> tuple[str, ...]:
    """Return patterns for what a difference tells of; one for all that goes with a link."""
    links = sorted(after.links("node") - before.links("node"))
    patterns = [ledger.about_link(link) for link in links]
    for line in lines:
        items = [str(item) for item in (*before, *after) if line[2:].startswith(str(item))]
        item = max(items, key=len)
        if not any(re.fullmatch(pattern, item) for pattern in (*patterns, _LEASES)):
            patterns.append(re.escape(item).replace(r"\ ", " "))
    return tuple(patterns)


def _from_shipped(name: str, versions: Sequence[str]) -> str:
    """The profile that the suite has for a plugin of that name, with the versions of this one."""
    text = (profile.SHIPPED / f"{name}.toml").read_text(encoding="utf-8")
    known = profile.load(name)
    text = re.sub(r"^(versions|verbs) = \[[^\]]*\]\n", "", text, flags=re.MULTILINE)
    asked = [f"versions = {toml(list(versions))}\n", f"verbs = {toml([verb for verb in known.verbs if verb in verbs(versions)])}\n"]
    text = re.sub(r"^kind = .*\n", lambda match: "".join([match[0], *asked]), text, count=1, flags=re.MULTILINE)
    head = f"# The suite's profile for plugins named {name}, with the versions that this one says it supports.\n\n"
    return head + text


def _written(name: str, versions: Sequence[str], found: Seen, *, tried: Sequence[Seen]) -> str:
    lines = [
        f"# A first profile of {one_line(name)}, made by asking the plugin and by looking at what it does. Read it through, and add to it:",
        "# the keys that give more cases something to check are in profile.schema.json, in the suite's docs/conformance.",
        "#",
        *(f"# {_told(one)}" for one in tried),
        "",
        f"name = {toml(name)}",
        f"plugin = {toml(name)}",
        f"kind = {toml(found.trial.kind)}",
        f"versions = {toml(list(versions))}",
        f"verbs = {toml(verbs(versions))}",
        f"creates = {toml(found.creates)}",
        f"addresses = {toml(found.addresses)}",
        f"ipv6 = {toml(found.ipv6)}",
        *([f"before = {toml(found.trial.before)}"] if found.trial.before else []),
        "second_conf = {}",
        f"conf = {toml(found.trial.conf)}",
        *_of_host_local(found),
        *_shared(found.stays),
    ]
    return "\n".join(lines) + "\n"


def _of_host_local(found: Seen) -> list[str]:
    """What is known of a plugin that takes its addresses from host-local."""
    if found.trial.conf.get("ipam") != _IPAM:
        return []
    lines = [f"pool = {toml({'size': 3, 'changes': {'ipam': _SMALL}})}", ""]
    if found.ipv6:
        lines.insert(0, f"dual_stack = {toml({'ipam': _DUAL})}")
    reason = "host-local keeps a directory for each network, its lock, and where to go on"
    return [*lines, "[[shared]]", f"pattern = {toml(_LEASES)}", f"reason = {toml(reason)}"]


def _told(seen: Seen) -> str:
    outcome = seen.trouble or "ADD works"
    return f"As {seen.trial.kind} with {one_line(json.dumps(seen.trial.conf))}: {outcome}"


def _shared(stays: Sequence[str]) -> list[str]:
    """What stayed, as comments: only the author knows what is meant to stay."""
    if not stays:
        return []
    lines = [
        "",
        "# This stayed after ADD and DEL. What stays by design: uncomment it, and say why. The rest is a leak, which the suite will tell.",
    ]
    for pattern in stays:
        lines += ["# [[shared]]", f"# pattern = {toml(pattern)}", '# reason = ""']
    return lines
