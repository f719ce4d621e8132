"""What a plugin is: a configuration class, a plan, and the kinds of things that it makes."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any, Protocol

    from cni_plugins.plan.resource import Kind, Need
    from cni_plugins.plan.world import World
    from cni_plugins.protocol.attachment import Attachment
    from cni_plugins.protocol.result import Result

    Plan = Callable[[Attachment, Any, Need], Result]

    class Changing(Protocol):
        """One change of a live attachment. Whoever runs it calls `undo` when it fails."""

        @property
        def begun(self) -> bool:
            """Whether there was anything to change."""

        def run(self) -> Result: ...

        def undo(self) -> None: ...


CHANGE = "CHANGE"
"""The verb of an agent, beside the specification's: have a live attachment be what an ADD would make of it now."""


class Plugin:
    """One plugin, as handler.py runs it.

    `name` is what its executable is called, `conf` its configuration class, `plan` lists what an attachment needs.

    `change` is the module whose `Change` serves CHANGE, empty where there is nothing to change.
    `kinds` are the modules of the kinds that may have to be dropped, parents before children; a kind is named like its module.
    `release_conf` is the configuration class for DEL and GC, where these need less, so that no other
    key can keep anything from being removed. `enters_netns` is false for plugins that
    only hand out addresses. `chained` says that prevResult is read on ADD. `args` are the keys of CNI_ARGS that it reads (none:
    it does not look at them); others are refused unless `others_judge_args`, which plugins say that delegate.
    """

    __slots__ = ("args", "chained", "change", "conf", "enters_netns", "kinds", "name", "others_judge_args", "plan", "release_conf")

    def __init__(
        self,
        name: str,
        *,
        conf: type[Any],
        plan: Plan,
        kinds: tuple[str, ...],
        release_conf: type[Any] | None = None,
        enters_netns: bool = True,
        chained: bool = False,
        args: tuple[str, ...] = (),
        others_judge_args: bool = False,
        change: str = "",
    ) -> None:
        self.name = name
        self.conf = conf
        self.plan = plan
        self.kinds = {module.rpartition(".")[2]: module for module in kinds}
        self.enters_netns = enters_netns
        self.chained = chained
        self.release_conf = release_conf or conf
        self.args = args
        self.others_judge_args = others_judge_args
        self.change = change

    def kind(self, name: str) -> Kind:
        """Load the kind called `name`, one of `kinds`: only a call that meets a kind pays for importing it."""
        kind: Kind = __import__(self.kinds[name], fromlist=("KIND",)).KIND
        return kind

    def changing(self, world: World, att: Attachment) -> Changing:
        """A change of a live attachment: only agents load what serves it."""
        changing: Changing = __import__(self.change, fromlist=("Change",)).Change(self, world, att)
        return changing


def kinds(*names: str) -> tuple[str, ...]:
    """The modules of kinds that all plugins share (plan/kinds/)."""
    return tuple(f"cni_plugins.plan.kinds.{name}" for name in names)
