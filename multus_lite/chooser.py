"""How a container's networks are chosen: those of the configuration, and those that the pod's annotations ask for.

Fails closed: a pod whose annotations, or one of whose definitions, cannot be read gets no network at all.
"""

from __future__ import annotations

from cni_plugins.protocol.errors import CniError, InvalidConfig
from multus_lite import log, networks
from multus_lite.choice import Choice
from multus_lite.definitions import Definition, Definitions
from multus_lite.networks import Network
from multus_lite.status import Telling

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from cni_plugins.plan.world import World
    from cni_plugins.protocol.attachment import Attachment
    from multus_lite.annotation import Selection
    from multus_lite.api import Api
    from multus_lite.conf import MultusReleaseConf
    from multus_lite.devices import Devices
    from multus_lite.pods import Pod

DEFAULT_NETWORK = "v1.multus-cni.io/default-network"
NETWORKS = "k8s.v1.cni.cncf.io/networks"


class Chooser:
    """One choice. Unless `strict`, what cannot be found out is left out with a warning, and the API is asked once at most."""

    def __init__(self, world: World, att: Attachment, *, strict: bool = True) -> None:
        self._world = world
        self._att = att
        self._conf: MultusReleaseConf = world.conf
        self._strict = strict
        self._found: list[Network] = []
        self._devices: Devices | None = None

    def choose(self) -> Choice:
        """Raises CniError."""
        api = self._api()
        pod = self._pod(api)
        with Telling(self._world, api, pod):
            self._add_all(Definitions(self._conf, api), pod)
            if self._strict:
                _check_names(self._found)
                _check_gateways(self._found)
        return Choice(self._found, pod, api)

    def _api(self) -> Api | None:
        environ = self._world.request.environ
        if not (self._conf.kubeconfig or environ.get("KUBERNETES_SERVICE_HOST")):
            return None
        from multus_lite import api

        try:
            handles, conf = self._world.handles, self._conf
            return api.connect(handles, conf.kubeconfig, environ, budget=conf.apiTimeout, patient=self._strict)
        except CniError as error:
            self._fail(error)
        return None

    def _pod(self, api: Api | None) -> Pod | None:
        if api is None or self._world.request.command in ("STATUS", "GC"):
            return None
        from multus_lite import pods

        try:
            return pods.read(api, self._att.args)
        except CniError as error:
            self._fail(error)
        return None

    def _fail(self, error: CniError) -> None:
        if self._strict:
            raise error
        log.warn(self._world, f"{self._att}: {error.msg}")

    def _add_all(self, definitions: Definitions, pod: Pod | None) -> None:
        """The default network, or the one that the pod wants in its place; further ones of all pods; those of the pod."""
        conf, annotations = self._conf, pod.annotations if pod else {}
        master = next((index for index, data in enumerate(conf.delegates) if data.get("masterplugin") is True), 0)
        ours: list[Callable[[], Definition]] = []
        if conf.clusterNetwork:
            master = 0
            ours.append(lambda: definitions.named(conf.clusterNetwork, field="clusterNetwork"))
        else:
            ours += [_inline(data, index, conf.cniVersion) for index, data in enumerate(conf.delegates)]
        if self._att.args.get("K8S_POD_NAMESPACE") not in conf.systemNamespaces:
            ours += [_named(definitions, name, index) for index, name in enumerate(conf.defaultNetworks)]
        other = self._default_network(annotations)
        for index, find in enumerate(ours):
            wish = other if index == master else None
            self._add(selected(definitions, wish) if wish else find, index, wish=wish, pod=pod, master=index == master)
        for index, wish in enumerate(self._wishes(annotations, pod)):
            self._add(selected(definitions, wish), len(ours) + index, wish=wish, pod=pod)

    def _default_network(self, annotations: dict[str, str]) -> Selection | None:
        text = annotations.get(DEFAULT_NETWORK, "")
        if not text.strip():
            return None
        from multus_lite import annotation

        found = annotation.parse(text, key=DEFAULT_NETWORK, namespace=self._conf.multusNamespace)
        if len(found) != 1:
            raise InvalidConfig(f"annotation {DEFAULT_NETWORK}: {text!r}: a pod has one default network")
        return found[0]

    def _wishes(self, annotations: dict[str, str], pod: Pod | None) -> list[Selection]:
        text = annotations.get(NETWORKS, "")
        if pod is None or not text.strip():
            return []
        from multus_lite import annotation

        wishes = annotation.parse(text, key=NETWORKS, namespace=pod.namespace)
        for wish in wishes:
            if self._conf.namespaceIsolation and wish.namespace not in {pod.namespace, *self._conf.shared_namespaces}:
                raise InvalidConfig(
                    f"annotation {NETWORKS}: {wish.title}: a pod in {pod.namespace} may not use networks of {wish.namespace}",
                    "namespaceIsolation is on; globalNamespaces lists the namespaces that everybody may use",
                )
        return wishes

    def _add(self, find: Callable[[], Definition], index: int, *, wish: Selection | None, pod: Pod | None, master: bool = False) -> None:
        try:
            found = find()
            device = self._device(found.resource, pod) if found.resource and pod else ""
            runtime = self._conf.runtimeConfig or {}
            source = networks.assemble(found.network, wish, device=device, runtime=runtime if master else {})
        except CniError as error:
            self._fail(error)
            return
        ifname = (wish.ifname if wish else "") or (self._att.ifname if master else f"net{index}")
        network = Network(source, title=found.title, ifname=ifname, master=master)
        if wish:
            network.gateways = wish.gateways
            network.wish = None if master else wish.wish
        self._found.append(network)

    def _device(self, resource: str, pod: Pod) -> str:
        if self._devices is None:
            from multus_lite.devices import Devices

            self._devices = Devices(pod.uid)
        return self._devices.take(resource)


def _inline(data: networks.Conf, index: int, version: str) -> Callable[[], Definition]:
    return lambda: Definition(networks.read(data, where=f"delegates[{index}]", version=version))


def _named(definitions: Definitions, name: str, index: int) -> Callable[[], Definition]:
    return lambda: definitions.named(name, field=f"defaultNetworks[{index}]")


def selected(definitions: Definitions, wish: Selection) -> Callable[[], Definition]:
    """What finds the definition that a pod has selected."""
    return lambda: definitions.of(wish.namespace, wish.name)


def _check_names(found: list[Network]) -> None:
    taken: dict[str, str] = {}
    for one in found:
        if one.ifname in taken:
            raise InvalidConfig(f"networks {taken[one.ifname]} and {one.title}: both want the interface {one.ifname}")
        taken[one.ifname] = one.title


def _check_gateways(found: list[Network]) -> None:
    """One gateway of each family at most."""
    taken: dict[int, str] = {}
    for one in found:
        for family in one.families:
            if family in taken:
                raise InvalidConfig(
                    f"default-route: networks {taken[family]} and {one.title}: a pod has one default route of each address family"
                )
            taken[family] = one.title
