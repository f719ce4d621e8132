"""Leases in Kubernetes: a node's subnet is its podCIDR, and how it is reached stands in its annotations, as with flanneld.

Who gives nodes their podCIDR is the controller manager (`--allocate-node-cidrs`). Of this node only the status is patched, annotations
included, for which `nodes/status: patch` is enough; besides `nodes: get, list, watch` are needed.
"""

from __future__ import annotations

from datetime import UTC, datetime
from ipaddress import ip_network
from typing import TYPE_CHECKING, Any, NoReturn

import httpx2
import msgspec
from lightkube import ApiError, Client, KubeConfig
from lightkube.config.client_adapter import verify_cluster
from lightkube.core.exceptions import ConfigError
from lightkube.resources.core_v1 import Node, NodeStatus
from lightkube.types import PatchType

from cni_plugins.protocol.errors import Conflict, DecodeFailure, InvalidConfig, TryAgain
from vxlan.leases.schema import ANNOTATION_PREFIX, Attributes, Lease, Subnets
from vxlan.leases.store import CursorLost, Put, Removed, Snapshot, StoreUnavailable
from vxlan.leases.wire import TIMEOUT, Wire

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from ipaddress import IPv4Address, IPv6Address

    from vxlan.leases.network import NetworkConfig
    from vxlan.leases.store import Change, Claim

GONE = 410
NOT_FOUND = 404
_TROUBLE = (httpx2.HTTPError, httpx2.StreamError, msgspec.MsgspecError, ConfigError, ValueError)


class _WatchEnded(httpx2.ReadError):
    """The API server ended a watch in good order, as it does after half an hour or more."""


class KubernetesStore:
    """See `store.Store`.

    `node` is this node's name, `network` what net-conf.json says (parsed with `cut` unset). `kubeconfig` is a file's path; empty means the
    service account of the pod that we run in. Raises InvalidConfig when these cannot be used.
    """

    def __init__(self, node: str, network: NetworkConfig, *, kubeconfig: str = "", prefix: str = ANNOTATION_PREFIX) -> None:
        self._node = node
        self._network = network
        self._prefix = prefix
        self._report: Callable[[str], None] = lambda reason: None
        self._watching = False
        try:
            config = (KubeConfig.from_file(kubeconfig) if kubeconfig else KubeConfig.from_service_account()).get()
            if config is None or config.user is None:
                raise ConfigError("it names no user")
            self._wire = Wire(verify_cluster(config.cluster, config.user, config.abs_file), on_answer=self._answered)
            self._client = Client(config, timeout=TIMEOUT, transport=self._wire, trust_env=False)
        except (*_TROUBLE, OSError) as error:
            raise InvalidConfig(f"kubeconfig: {kubeconfig or 'the service account'}: {error}") from None

    def close(self) -> None:
        """End what waits for the API server."""
        self._wire.close()

    def network(self) -> NetworkConfig:
        """What the store was made with."""
        return self._network

    def acquire(self, claim: Claim) -> Lease:
        """Annotate the node.

        Raises StoreUnavailable, TryAgain while the node has no podCIDR, InvalidConfig when that is not in the network.
        """
        node = self._get()
        try:
            subnets = self._subnets(node)
        except DecodeFailure as error:
            raise TryAgain(f"{error.msg}: does the controller manager run with --allocate-node-cidrs?") from None
        if not self._network.contains(subnets):
            raise InvalidConfig(f"node {self._node}: spec.podCIDR: {subnets} is not in the overlay's network")
        now = dict(_annotations(node))
        changes = {
            name: value for name, value in claim.attributes.to_annotations(now, prefix=self._prefix).items() if now.get(name) != value
        }
        if changes:
            self._patch({"metadata": {"annotations": changes}})
        after = {name: value for name, value in (now | changes).items() if value is not None}
        return Lease(self._node, subnets, Attributes.from_annotations(after, prefix=self._prefix))

    def renew(self, lease: Lease) -> Lease:
        """Such a lease lasts as long as the node."""
        return lease

    def announce(self, lease: Lease) -> None:
        """Say that the node's network works (condition NetworkUnavailable=False), which lets pods come. Raises StoreUnavailable."""
        node = self._get()
        for condition in (node.status and node.status.conditions) or ():
            if condition.type == "NetworkUnavailable" and condition.status == "False":
                return
        now = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        works = {
            "type": "NetworkUnavailable",
            "status": "False",
            "reason": "OverlayIsUp",
            "message": f"The overlay works, with {lease.subnets} on this node",
            "lastTransitionTime": now,
            "lastHeartbeatTime": now,
        }
        self._patch({"status": {"conditions": [works]}})

    def release(self, lease: Lease) -> None:
        """Remove the annotations, so that the others forget the node. Raises StoreUnavailable."""
        names = [name for name in _annotations(self._get()) if name.startswith(self._prefix) and not name.endswith("-overwrite")]
        if names:
            self._patch({"metadata": {"annotations": dict.fromkeys(names)}})

    def reserve(self, subnets: Subnets, address: IPv4Address | IPv6Address) -> Lease:
        """Raises Conflict: Kubernetes gives out the subnets."""
        raise Conflict(f"{subnets} is not reserved for {address}: in Kubernetes a node's subnet is its spec.podCIDR")

    def watch(self, cursor: str | None, report: Callable[[str], None]) -> Iterator[Change]:
        """See `store.Store.watch`; a cursor is a resource version."""
        self._report, self._watching = report, False
        try:
            if cursor is None:
                nodes = self._client.list(Node)
                leases = [lease for lease in map(self._lease, nodes) if lease]
                cursor = nodes.resourceVersion
                yield Snapshot(tuple(leases), cursor)
            for kind, node in self._client.watch(Node, resource_version=cursor):
                name, cursor = _name(node), (node.metadata and node.metadata.resourceVersion) or ""
                lease = self._lease(node) if kind != "DELETED" else None
                yield Put(lease, cursor) if lease else Removed(name, cursor)
        except _WatchEnded:
            return
        except _TROUBLE as error:
            if _status(error) == GONE:
                raise CursorLost(f"the API server has forgotten what happened since {cursor}") from error
            _unavailable(error)

    def _answered(self, request: httpx2.Request, response: httpx2.Response) -> None:
        if response.status_code != 200 or not request.url.params.get("watch"):
            return
        if self._watching:
            # lightkube would begin watch after watch, without a pause, against a server that ends each at once.
            response.close()
            raise _WatchEnded("the watch has ended")
        self._watching = True
        self._report("")

    def _get(self) -> Node:
        try:
            return self._client.get(Node, self._node)
        except _TROUBLE as error:
            if _status(error) == NOT_FOUND:
                raise StoreUnavailable(f"Kubernetes has no node {self._node}: is that this node's name?") from error
            _unavailable(error)

    def _patch(self, patch: dict[str, Any]) -> None:
        try:
            self._client.patch(NodeStatus, self._node, patch, patch_type=PatchType.STRATEGIC)
        except _TROUBLE as error:
            _unavailable(error)

    def _subnets(self, node: Node) -> Subnets:
        """The podCIDRs of the families that the network has. Raises DecodeFailure when one is missing."""
        spec = node.spec
        texts = (spec and (spec.podCIDRs or ([spec.podCIDR] if spec.podCIDR else []))) or []
        found: dict[int, Any] = {}
        for text in texts:
            try:
                subnet = ip_network(text, strict=False)
            except ValueError:
                raise DecodeFailure(f"node {_name(node)}: spec.podCIDR: {text!r} is no subnet") from None
            found.setdefault(subnet.version, subnet)
        wanted = [version for version, part in ((4, self._network.v4), (6, self._network.v6)) if part]
        for version in wanted:
            if version not in found:
                raise DecodeFailure(f"node {_name(node)} has no IPv{version} podCIDR")
        return Subnets(*(found[version] if version in wanted else None for version in (4, 6)))

    def _lease(self, node: Node) -> Lease | None:
        """What a node has; None where no overlay looks after it, or it has no subnet yet."""
        try:
            subnets = self._subnets(node)
        except DecodeFailure:
            return None
        try:
            attributes = Attributes.from_annotations(_annotations(node), prefix=self._prefix)
        except DecodeFailure as error:
            return Lease(_name(node), subnets, problem=error.msg)
        return Lease(_name(node), subnets, attributes) if attributes else None


def _annotations(node: Node) -> dict[str, str]:
    return (node.metadata and node.metadata.annotations) or {}


def _name(node: Node) -> str:
    return (node.metadata and node.metadata.name) or ""


def _status(error: Exception) -> int:
    if isinstance(error, ApiError):
        return error.status.code or 0
    return error.response.status_code if isinstance(error, httpx2.HTTPStatusError) else 0


def _unavailable(error: Exception) -> NoReturn:
    raise StoreUnavailable(f"the API server does not answer: {str(error) or type(error).__name__}") from error
