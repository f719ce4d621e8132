"""The vocabulary of cases: a node with the plugin under test, containers, calls, and what is expected of both.

    pod = lab.attached()                            # a container that was ADDed
    with lab.unchanged():
        lab.call("CHECK", lab.conf(mtu=-1), container=pod).fails(code=7)

A call that hangs, floods or leaves processes behind fails the case by itself. docs/conformance/writing-a-case.md tells it with examples.
"""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Self

from conformance import execute, fakes, features, ledger, scene
from conformance.answer import Answer
from conformance.calling import Call, Caller, Conf
from conformance.case import Failed, Skipped
from conformance.fakes import FakeIpam
from conformance.ledger import Snapshot
from conformance.netns import Container
from conformance.profile import Profile, at, filled, merged

__all__ = ["Answer", "Call", "Conf", "Container", "Lab", "at", "merged"]
EVERYBODYS = (
    r"node iptables ip6?tables-save \w+ :[A-Z]+ ACCEPT",
    r"node nftables table ip6? (filter|nat|mangle|raw)( / chain [A-Z]+( / type \w+ hook .*)?)?",
)
"""The tables and chains that iptables makes when it is used for the first time, and never removes."""
KERNELS = (r"\S+ address fe80:.*", r"\S+ route fe80::/64 dev \S+ table main proto kernel .*")
"""What the kernel adds to a link some time after it came up."""


class Lab(Caller):
    """What a case's body talks to; arguments as those of `Caller`."""

    def __init__(self, profile: Profile, plugin_dir: Path, *, helpers: Sequence[Path] = (), timeout: float = execute.TIMEOUT) -> None:
        super().__init__(profile, plugin_dir, helpers=helpers, timeout=timeout)
        self.features = features.of(profile)
        self._places = [scene.places(number) for number in (1, 2)]
        self._results: dict[tuple[str, str, str], Any] = {}

    def __enter__(self) -> Self:
        self.node.enter()
        try:
            scene.furnish(self, self._places[0])
        except BaseException:
            scene.end(self)
            raise
        return self

    def __exit__(self, *_: object) -> None:
        scene.end(self)

    # --- what there is

    def needs(self, *wanted: str) -> None:
        """Raise Skipped unless plugin and machine have all these features; see `conformance.features`."""
        for need in wanted:
            if reason := features.lacks(need, self.features):
                raise Skipped(reason)

    @property
    def version(self) -> str:
        """The latest version of the specification that the plugin supports, as its profile says."""
        return max(self.profile.versions, key=parsed)

    def conf(self, *, version: str | None = None, second: bool = False, another: bool = False, **changes: Any) -> Conf:
        """Return the configuration of one call, as a runtime passes it, from the profile's example.

        `version` is its cniVersion, the plugin's latest if None; `second` gives that of another network beside it; `another` that of
        a second container of the network, where both cannot have the same. `changes` are merged in: objects key by key, and a key that
        is None is removed. Raises Skipped when the profile has no second network.
        """
        if second and self.profile.second_conf is None:
            raise Skipped("the plugin's profile is without second_conf")
        places = self._places[second]
        plain = merged(self.profile.conf, self.profile.second_conf or {}) if second else self.profile.conf
        plain = merged(plain, self.profile.another or {}) if another else plain
        whole = {"cniVersion": version or self.version, "name": places["network"], "type": self.profile.plugin, **plain}
        return merged(dict(filled(whole, places)), dict(filled(changes, places)))

    def container(self, name: str = "pod", *, version: str | None = None) -> Container:
        """Return a new container as a runtime hands it to the plugin: bare, or as the plugin that a chained one follows has left it.

        `version` is the cniVersion in which that one is called, the latest if None.
        """
        container = self.bare(name)
        if self.profile.before is not None:
            scene.attach_before(self, container, version or self.version)
        return container

    def bare(self, name: str = "pod") -> Container:
        """Return a new container with nothing in it but `lo`, which is down."""
        self.transcript.step(f"ip netns add {name}")
        return self.node.container(name)

    def attached(self, name: str = "pod", conf: Conf | None = None) -> Container:
        """Return a new container that has been ADDed."""
        container = self.container(name, version=str(conf["cniVersion"]) if conf else None)
        self.add(container, conf).succeeds()
        return container

    def result(self, pod: Container, conf: Conf | None = None, *, ifname: str | None = None) -> Any:
        """Return what the last successful ADD of the container answered; None if there was none."""
        return self._results.get((str((conf or self.conf()).get("name")), pod.id, ifname or self.profile.ifname))

    def remove(self, pod: Container) -> None:
        """Take the container's network namespace away, as a runtime or a reboot does."""
        self.transcript.step(f"ip netns del {pod.name}")
        pod.delete()

    def do(self, command: str, *, within: Container | None = None, check: bool = True) -> str:
        """Run a shell command on the node or in a container, written down for who wants to see the failure again; returns its output.

        Raises AssertionError, which breaks the case, when `check` is set and it fails.
        """
        self.transcript.step(f"ip netns exec {within.name} sh -c {shlex.quote(command)}" if within else command)
        return (within or self.node).run(["sh", "-c", command], check=check).stdout

    def fake_ipam(self) -> FakeIpam:
        """Return a delegate that writes down how it is called, and that can be made to fail; see `conformance.fakes`."""
        if not self.profile.delegate:
            raise Skipped("the plugin delegates to none")
        here = self._places[0]
        ip = {"address": f"{here['prefix4']}.200/24", "gateway": here["gateway4"]} | (
            {"version": "4"} if parsed(self.version) < (1,) else {}
        )
        self.cni_path = f"{self.cni_path}:{fakes.DIRECTORY}"
        return FakeIpam(self, {"cniVersion": self.version, "ips": [ip], "routes": [{"dst": "198.51.100.0/24"}]})

    # --- operations, as a runtime does them

    def add(self, pod: Container, conf: Conf | None = None, *, ifname: str | None = None, **env: str | None) -> Answer:
        """Call ADD. Its result is kept, and given as prevResult to later calls for the container."""
        conf = self.prepared(pod, conf)
        answer = self.run("ADD", conf, env, container=pod, ifname=ifname)
        if answer.status == 0:
            self.keep(str(conf.get("name")), pod, answer.json, ifname=ifname)
        return answer

    def delete(self, pod: Container, conf: Conf | None = None, *, ifname: str | None = None, **env: str | None) -> Answer:
        """Call DEL, with the ADD's result as prevResult if there was one and the version has it, and `conf` is without."""
        return self.run("DEL", self._with_result(pod, conf, ifname), env, container=pod, ifname=ifname)

    def check(self, pod: Container, conf: Conf | None = None, *, ifname: str | None = None, **env: str | None) -> Answer:
        """Call CHECK, with prevResult as `delete` has it."""
        return self.run("CHECK", self._with_result(pod, conf, ifname), env, container=pod, ifname=ifname)

    def status(self, conf: Conf | None = None, **env: str | None) -> Answer:
        """Call STATUS."""
        return self.run("STATUS", conf, env)

    def gc(self, valid: Sequence[Container] | None = (), conf: Conf | None = None, **env: str | None) -> Answer:
        """Call GC with the attachments of these containers as the valid ones; None leaves the key out."""
        conf = self.conf() if conf is None else dict(conf)
        if valid is not None:
            conf["cni.dev/valid-attachments"] = [{"containerID": pod.id, "ifname": self.profile.ifname} for pod in valid]
        return self.run("GC", conf, env)

    def passed(self, verb: str, pod: Container, conf: Conf | None = None, *, ifname: str | None = None) -> Conf:
        """Return the configuration of a call for a container, with the prevResult that a runtime passes; for `call` and `start`."""
        if verb == "ADD":
            return self._with(self._result_before(pod), conf, since=(0, 3))
        return self._with_result(pod, conf, ifname)

    def prepared(self, pod: Container, conf: Conf | None = None) -> Conf:
        """Return the configuration that `add` would pass."""
        return self.passed("ADD", pod, conf)

    # --- what is on the node

    def ledger(self) -> Snapshot:
        """Write down all that is on the node and in the containers, temporary directories included; see `conformance.ledger`."""
        return scene.readable(self.node.ledger(directories=[*ledger.DIRECTORIES, *self.profile.state_dirs]))

    def difference(self, before: Snapshot, *, ignore: Sequence[str] = ()) -> list[str]:
        """Return what has changed since a snapshot, in lines; containers that came or went are left out, and what the profile lets stay."""
        after = self.ledger()
        both = {item.place for item in before} & {item.place for item in after}
        gone = {item.place for item in {*before, *after}} - both
        patterns = [f"{place} .*" for place in gone] + [f"node (file /run/netns/{place}|netns {place})" for place in gone]
        shared = [str(filled(one.pattern, self._places[0])) for one in self.profile.shared]
        return ledger.diff(before, after, ignore=[*patterns, *EVERYBODYS, *KERNELS, *shared, *ignore])

    def left_behind(self, before: Snapshot, *, ignore: Sequence[str] = ()) -> list[str]:
        """As `difference`, only what has appeared: for when something else, such as a container, went away meanwhile."""
        return [line for line in self.difference(before, ignore=ignore) if line.startswith("+")]

    @contextmanager
    def unchanged(self, *, ignore: Sequence[str] = ()) -> Iterator[None]:
        """Expect the block to leave node and containers as they were. `ignore` are patterns as for `ledger.diff`."""
        before = self.ledger()
        yield
        if lines := self.difference(before, ignore=ignore):
            raise Failed("node and containers are as before", f"{len(lines)} things differ", ledger=lines)

    # --- details

    def keep(self, network: str, pod: Container, result: Any, *, ifname: str | None = None) -> None:
        """Keep a result, by the network's name."""
        self._results[network, pod.id, ifname or self.profile.ifname] = result

    def _result_before(self, pod: Container) -> Any:
        return self._results.get((scene.BEFORE, pod.id, self.profile.ifname))

    def _with_result(self, pod: Container, conf: Conf | None, ifname: str | None) -> Conf:
        result = self.result(pod, conf, ifname=ifname)
        return self._with(self._result_before(pod) if result is None else result, conf, since=(0, 4))

    def _with(self, result: Any, conf: Conf | None, *, since: tuple[int, int]) -> Conf:
        """The configuration with a prevResult, when there is one, the version has it, and it is not there yet."""
        conf = self.conf() if conf is None else conf
        fits = parsed(str(conf.get("cniVersion", "0.1.0"))) >= since
        return {**conf, "prevResult": result} if fits and result is not None and "prevResult" not in conf else conf


def parsed(version: str) -> tuple[int, ...]:
    """Return a version of the specification for comparing; one that is not made of numbers comes first."""
    return tuple(int(part) if part.isdecimal() else -1 for part in version.split("."))
