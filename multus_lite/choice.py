"""Which networks a container gets: the fact that everything else of the plan stands on."""

from __future__ import annotations

from cni_plugins.kernel import calls, files
from cni_plugins.plan.resource import Drift, Resource
from cni_plugins.protocol.errors import CniError, NotReady, TryAgain
from multus_lite import log, state

TYPE_CHECKING = False
if TYPE_CHECKING:
    from cni_plugins.plan.world import World
    from cni_plugins.protocol.attachment import Attachment
    from multus_lite.api import Api
    from multus_lite.conf import MultusReleaseConf
    from multus_lite.networks import Network
    from multus_lite.pods import Pod

_MEMO = "_choice"
_READY_SECONDS = 45.0
_PAUSE = 0.25


class Choice:
    """The networks of a container, in the order in which they are set up. `pod` and `api` are None where Kubernetes is not asked."""

    __slots__ = ("api", "networks", "pod")

    def __init__(self, networks: list[Network], pod: Pod | None = None, api: Api | None = None) -> None:
        self.networks = networks
        self.pod = pod
        self.api = api


class Networks(Resource["Choice"]):
    """The choice for this call, made once although the plan runs twice: the API is asked once."""

    __slots__ = ("conf",)

    def __init__(self, conf: MultusReleaseConf) -> None:
        self.conf = conf

    def predict(self, world: World, att: Attachment) -> Choice:
        """Choose. On ADD the default network's indicator is waited for first."""
        kept = self.conf.__dict__
        if _MEMO not in kept:
            if world.request.command == "ADD":
                _wait_until_ready(self.conf.readinessindicatorfile)
            kept[_MEMO] = _choose(world, att, strict=True)
        chosen: Choice = kept[_MEMO]
        return chosen

    def apply(self, world: World, att: Attachment) -> Choice:
        """Choose, and see to the log file."""
        log.rotate(self.conf)
        return self.predict(world, att)

    def verify(self, world: World, att: Attachment) -> Choice:
        """What was added, by its state; a choice made now may be another one."""
        kept, problem = state.stored(self.conf, att)
        if not kept or problem:
            raise Drift(problem or f"the state of {att} in {self.conf.cniDir} is gone", Choice(kept or likely(world, att)))
        return Choice(kept)

    def ready(self, world: World) -> None:
        """The default network has written its indicator. Raises NotReady."""
        path = self.conf.readinessindicatorfile
        if path and not files.exists(path):
            raise NotReady(f"readinessindicatorfile: {path} is not there: the default network is not ready")


def likely(world: World, att: Attachment) -> list[Network]:
    """What a container is likely to have got, as far as it can be found out now: for a DEL that has nothing else to go by.

    What cannot be found out is a warning.
    """
    try:
        return _choose(world, att, strict=False).networks
    except CniError as error:
        log.warn(world, f"{att}: the networks cannot be found out: {error.msg}")
        return []


def _choose(world: World, att: Attachment, *, strict: bool) -> Choice:
    from multus_lite.chooser import Chooser  # a DEL that has its record does without

    return Chooser(world, att, strict=strict).choose()


def _wait_until_ready(path: str) -> None:
    waited = 0.0
    while path and not files.exists(path):
        if waited >= _READY_SECONDS:
            raise TryAgain(
                f"readinessindicatorfile: {path} is not there after {_READY_SECONDS:.0f} s", "the default network's daemon is to write it"
            )
        calls.sleep(_PAUSE)
        waited += _PAUSE
