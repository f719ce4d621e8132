"""What the pod is told: which networks it got (multi-network specification 1.3, section 5), in an annotation and in events."""

from __future__ import annotations

import time

from cni_plugins.model.frozen import dump_json
from cni_plugins.plan.plugin import CHANGE
from cni_plugins.plan.resource import Resource
from cni_plugins.protocol.errors import CniError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from types import TracebackType
    from typing import Any

    from cni_plugins.plan.world import World
    from cni_plugins.protocol.attachment import Attachment
    from cni_plugins.protocol.result import Interface, Ip, Result
    from multus_lite.api import Api
    from multus_lite.choice import Choice
    from multus_lite.networks import Network
    from multus_lite.pods import Pod

STATUS = "k8s.v1.cni.cncf.io/network-status"
_LONGEST_MESSAGE = 1024
"""Of an event, by Kubernetes' own rule."""


class NetworkStatus(Resource["None"]):
    """The pod's annotation and an event. Both go with the pod: nothing of them is ever taken back."""

    __slots__ = ("choice", "results")

    def __init__(self, choice: Choice, results: list[Result]) -> None:
        self.choice = choice
        self.results = results

    def predict(self, world: World, att: Attachment) -> None:
        """Nothing to tell."""

    def apply(self, world: World, att: Attachment) -> None:
        """Write both. The annotation has to succeed within the API's budget, unless the pod is gone; the event is worth one try."""
        choice, api, pod = self.choice, self.choice.api, self.choice.pod
        if api is None or pod is None:
            return
        made = list(zip(choice.networks, self.results, strict=True))
        if world.conf.networkStatus:
            text = dump_json([one for network, result in made for one in network_status(network, result)]).decode()
            with Telling(world, api, pod):
                api.patch(f"{pod.path}/status", {"metadata": {"uid": pod.uid, "annotations": {STATUS: text}}})
        told = [f"{network.ifname} [{_addresses(result)}] from {network.title}" for network, result in made if network.result is None]
        if told:
            tell(world, api, pod, kind="Normal", reason="AddedInterface", message=f"Add {', '.join(told)}")

    def verify(self, world: World, att: Attachment) -> None:
        """What the pod was told is not looked at again."""


def _addresses(result: Result) -> str:
    return " ".join(str(ip.address) for ip in result.ips)


def network_status(network: Network, result: Result) -> list[dict[str, Any]]:
    """The entries of one network: one for each of its interfaces in the container, and one where there is none."""
    inside = [(index, one) for index, one in enumerate(result.interfaces) if one.sandbox]
    gateways = [route.gw for route in result.routes if not route.dst.prefix and route.gw]
    if len(inside) < 2:
        found = inside[0][1] if inside else None
        return [_entry(network, found, result.ips, result=result, gateways=gateways, default=network.master)]
    named = next((ip.interface for ip in result.ips if ip.gateway and ip.interface is not None), inside[0][0])
    entries = []
    for index, one in inside:
        ips = [ip for ip in result.ips if ip.interface == index or (ip.interface is None and index == inside[-1][0])]
        entries.append(_entry(network, one, ips, result=result, gateways=gateways, default=network.master and index == named))
    return entries


def _entry(
    network: Network, interface: Interface | None, ips: list[Ip], *, result: Result, gateways: list[str], default: bool
) -> dict[str, Any]:
    entry: dict[str, Any] = {"name": network.title}
    if interface is not None:
        entry["interface"] = interface.name
    entry["ips"] = [ip.address.address for ip in ips]
    if interface is not None:
        entry |= {key: value for key, value in (("mac", interface.mac), ("mtu", interface.mtu)) if value}
    if default:
        entry["default"] = True
    entry["dns"] = result.dns
    if gateways:
        entry["gateway"] = gateways
    return {key: value for key, value in entry.items() if value != []}


class Telling:
    """In `with Telling(world, api, pod):` a CniError is told in an event of the pod, and goes on."""

    __slots__ = ("_api", "_pod", "_world")

    def __init__(self, world: World, api: Api | None, pod: Pod | None) -> None:
        self._world = world
        self._api = api
        self._pod = pod

    def __enter__(self) -> None:
        pass

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if isinstance(error, CniError) and self._world.request.command in ("ADD", CHANGE):
            tell(self._world, self._api, self._pod, kind="Warning", reason="FailedNetwork", message=error.msg)


def tell(world: World, api: Api | None, pod: Pod | None, *, kind: str, reason: str, message: str) -> None:
    """Write an event on the pod; one that cannot be written fails nothing."""
    if api is None or pod is None or not world.conf.events:
        return
    now = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
    event = {
        "apiVersion": "v1",
        "kind": "Event",
        "metadata": {"name": f"{pod.name[:230]}.{time.time_ns():x}", "namespace": pod.namespace},
        "involvedObject": {"apiVersion": "v1", "kind": "Pod", "namespace": pod.namespace, "name": pod.name, "uid": pod.uid},
        "source": {"component": "multus-lite"},
        "type": kind,
        "reason": reason,
        "message": message[:_LONGEST_MESSAGE],
        "firstTimestamp": now,
        "lastTimestamp": now,
        "count": 1,
    }
    try:
        api.post(f"/api/v1/namespaces/{pod.namespace}/events", event)
    except CniError:
        pass  # it is for people to read, and the call's own answer says the same
