"""The hot change: a container that runs gets the networks that its pod's annotation asks for now, and loses those that it asks for no more.

    1. what is to go: its answers are withdrawn, then its plugins get their DEL
    2. state and record say what is to be there
    3. the plan, for what is not there yet

An answer (answers.py) is written last and withdrawn first, so it says that its network is whole. A change that was killed leaves networks
without an answer, which the next one begins with taking away. At each moment the record lists all that may be there, for a DEL in between.
A change that fails is undone by the same steps, towards what there was. What every pod gets is never touched.
"""

from __future__ import annotations

from cni_plugins.kernel import files
from cni_plugins.plan import records, removal
from cni_plugins.plan.runner import Apply, Predict
from cni_plugins.protocol.attachment import Attachment
from cni_plugins.protocol.errors import Conflict
from cni_plugins.protocol.request import parse_args
from cni_plugins.protocol.result import Result
from multus_lite import answers, delegates, gateways, state
from multus_lite.choice import Choice
from multus_lite.plan import PLUGIN, provide
from multus_lite.rechooser import Rechooser
from multus_lite.state import State
from multus_lite.status import Telling, tell

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any

    from cni_plugins.plan.plugin import Plugin
    from cni_plugins.plan.resource import Item, Resource
    from cni_plugins.plan.world import World
    from multus_lite.networks import Network


class Change(Apply):
    """One change of a live attachment; see the module's text. Whoever runs it calls `undo` when it fails."""

    def __init__(self, plugin: Plugin, world: World, att: Attachment) -> None:
        super().__init__(plugin, world, att)
        self._had: list[Network] = []
        self._listed: list[Network] = []
        self._choice = Choice([])

    @property
    def begun(self) -> bool:
        """Whether there was anything to change."""
        return self._begun

    def run(self) -> Result:
        """The default network's result. An attachment that is gone, or is not made yet, is left alone. Raises CniError."""
        if not (self._record.done and self._record.items):
            return Result()
        self._look()
        self._choice = choice = Rechooser(self._world, self._att, self._had).choose()
        staying = _whole(choice.networks)
        known = {one.ifname for one in self._listed} | {item["attachment"][1] for item in self._record.items if _is_network(item)}
        if known == staying == {one.ifname for one in choice.networks}:
            return Result()
        return self._bring_about(choice)

    def undo(self) -> None:
        """Make it as it was: what is new goes, what went is made again, and may get other addresses. Raises CniError."""
        if self._begun:
            for network in self._had:
                if network not in self._choice.networks:
                    network.result = None
            self._bring_about(Choice(self._had, self._choice.pod, self._choice.api))

    def _look(self) -> None:
        """Find out what there is: the networks of the state, and which of them are whole. Raises CniError."""
        conf, att = self._world.conf, self._att
        if not files.exists(state.path_of(conf, att)):
            raise Conflict(f"{state.path_of(conf, att)} is gone, or cniDir is another by now: the networks of {att} stay as they are")
        self._listed, problem = state.stored(conf, att)
        for network in self._listed:
            network.result = answers.of_network(conf, network, att)
            if network.wish is None and network.result is None:
                problem = problem or f"{answers.path_of(conf, network, att)}: what network {network.title} answered is gone"
        problem = problem or self._elsewhere()
        if problem:
            raise Conflict(f"{problem}: the networks of {att} stay as they are")
        self._had = [one for one in self._listed if one.result is not None]

    def _elsewhere(self) -> str:
        """What shows that the namespace is another container's by now, as /proc/PID/ns/net may be; empty when nothing does."""
        inside = self._world.inside(self._att).netlink()
        for network in self._listed:
            for told in network.result.interfaces if network.master and network.result else ():
                link = inside.link(name=told.name) if told.sandbox else None
                if told.sandbox and (link is None or (told.mac and told.mac.lower() != link.mac)):
                    return f"{self._att.netns}: {told.name} is not as network {network.title} made it"
        return ""

    def _bring_about(self, choice: Choice) -> Result:
        going = self._going(choice)
        with Telling(self._world, choice.api, choice.pod):
            if not going:
                self._foretell(choice)  # what is refused is refused before anything is changed
            self._begun = True
            if going:
                self._take_away(going, choice)
            self._list(choice, going)
            if going:
                self._foretell(choice)
        return provide(self._world.conf, choice, self)

    def _going(self, choice: Choice) -> list[Item]:
        """The recorded items that are to go: of networks, and of default routes where one that goes or comes has to do with them."""
        staying = _whole(choice.networks)
        differing = [one for one in self._listed if one not in choice.networks] + [one for one in choice.networks if one.result is None]
        rerouted = any(one.gateways is not None for one in differing)
        return [
            item
            for item in self._record.items
            if (_is_network(item) and item["attachment"][1] not in staying) or (item["kind"] == gateways.KIND.name and rerouted)
        ]

    def _take_away(self, going: list[Item], choice: Choice) -> None:
        networks = [item for item in going if _is_network(item)]
        for item in networks:
            item["prev"] = answers.result(item["answer"]) or item.get("prev")  # the DEL needs it when the answer is withdrawn
        self._record.rewrite(self._record.items)
        for path in {item["answer"] for item in networks}:
            files.withdraw(path)
        removal.drop(self._plugin, self._world, self._att.key, going)
        for item in going:
            if item["kind"] == gateways.KIND.name:
                gateways.put_back(item, choice.networks)
        told = dict.fromkeys(f"{item['attachment'][1]} from {item['title']}" for item in networks)
        if told:
            tell(self._world, choice.api, choice.pod, kind="Normal", reason="RemovedInterface", message=f"Remove {', '.join(told)}")

    def _list(self, choice: Choice, gone: list[Item]) -> None:
        """Have state and record say what is to be there."""
        stated = State(self._world.conf, choice.networks)
        stated.apply(self._world, self._att)
        kept = [item for item in self._record.items if item not in gone and item["kind"] != state.KIND.name]
        self._record.rewrite([{"kind": state.KIND.name, **stated.record(self._world, self._att)}, *kept])
        self._listed = choice.networks

    def _foretell(self, choice: Choice) -> None:
        provide(self._world.conf, choice, Predict(self._world, self._att))

    def _note(self, resource: Resource[Any]) -> Item:
        """As an ADD does; but the default routes that were there before ours are written down once."""
        if resource.kind is gateways.KIND and any(item["kind"] == gateways.KIND.name for item in self._record.items):
            return {}
        return super()._note(resource)


class Live:
    """An attachment of a pod: `att`, the pod's `namespace` and `name`, and the `environ` (CNI_ARGS, CNI_PATH) that its ADD had."""

    __slots__ = ("att", "environ", "name", "namespace")

    def __init__(self, att: Attachment, environ: dict[str, str]) -> None:
        args = dict(parse_args(environ["CNI_ARGS"]))
        self.att = att
        self.environ = environ
        self.namespace = args.get("K8S_POD_NAMESPACE", "")
        self.name = args.get("K8S_POD_NAME", "")


def live(run_dir: str) -> Iterator[Live]:
    """The attachments of pods that records speak of, those that are being made included."""
    for name in records.names(run_dir):
        if name.endswith(f".{PLUGIN.name}"):
            record = records.named(run_dir, name, Attachment("", "", ""))
            if record is not None:
                yield from (Live(record.att, item["call"]) for item in record.items if "call" in item)


def _is_network(item: Item) -> bool:
    kind: str = item["kind"]
    return kind == delegates.KIND.name


def _whole(networks: list[Network]) -> set[str]:
    """The interfaces of the networks that are there, and whole."""
    return {one.ifname for one in networks if one.result is not None}
