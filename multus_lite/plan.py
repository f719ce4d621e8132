"""The multus-lite plugin: gives a container several networks, each made by other plugins."""

from __future__ import annotations

from cni_plugins.plan.plugin import Plugin
from cni_plugins.protocol.result import Result
from multus_lite.answers import Answer
from multus_lite.choice import Networks
from multus_lite.conf import MultusConf, MultusReleaseConf
from multus_lite.delegates import Delegate
from multus_lite.sharing import independent
from multus_lite.state import State

TYPE_CHECKING = False
if TYPE_CHECKING:
    from cni_plugins.plan.resource import Need, Part
    from cni_plugins.protocol.attachment import Attachment
    from multus_lite.choice import Choice
    from multus_lite.networks import Network

_ARGS = ("K8S_POD_NAMESPACE", "K8S_POD_NAME", "K8S_POD_UID", "K8S_POD_INFRA_CONTAINER_ID")


def plan(att: Attachment, conf: MultusConf, need: Need) -> Result:
    """The networks in their order, at once where they are independent; then what concerns all of them."""
    choice = need(Networks(conf))
    need(State(conf, choice.networks))
    return provide(conf, choice, need)


def provide(conf: MultusConf, choice: Choice, need: Need) -> Result:
    """What is chosen, as far as it is not there already (see change.py)."""
    results = []
    for networks in independent(choice.networks, conf):
        results += need.at_once([_attach(choice, network) for network in networks])
    if any(network.gateways is not None for network in choice.networks):
        from multus_lite.gateways import DefaultRoutes

        results = need(DefaultRoutes(choice, results))
    for network, result in zip(choice.networks, results, strict=True):
        need(Answer(conf, network, result))
    if choice.pod is not None:
        from multus_lite.status import NetworkStatus

        need(NetworkStatus(choice, results))
    return next((result for network, result in zip(choice.networks, results, strict=True) if network.master), Result())


def _attach(choice: Choice, network: Network) -> Part[Result]:
    """A network's plugins in their order."""
    result = network.result or Result()
    for index in range(len(network.plugins)) if network.result is None else ():
        result = yield Delegate(choice, network, index, result)
    return result


PLUGIN = Plugin(
    "multus-lite",
    conf=MultusConf,
    release_conf=MultusReleaseConf,
    plan=plan,
    kinds=("multus_lite.state", "multus_lite.delegates", "multus_lite.gateways"),
    args=_ARGS,
    others_judge_args=True,
    change="multus_lite.change",
)
