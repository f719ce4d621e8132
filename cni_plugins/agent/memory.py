"""What multus-lite asks the Kubernetes API for, known by watching: the networks' definitions, and the pods of this node.

Nobody configures it. The first call that would ask the API does so, and its credentials are those that the watches begin with. From then on
calls that show the same ones are answered from memory, as long as it is certain; whatever is not there, or not certain, they ask the API.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable

from cni_plugins.agent.watching import Changed, Object, Watched, node_name
from cni_plugins.kernel.https import Server

DEFINITIONS = "/apis/k8s.cni.cncf.io/v1/network-attachment-definitions"
PODS = "/api/v1/pods"
_MOST = 4
"""Kubeconfigs whose API servers are watched: a node has one."""

log = logging.getLogger(__name__)


class Memory:
    """Watches from the first `recall` to `close`. `told` hears of each question whether it could be answered."""

    def __init__(self) -> None:
        self.told: Callable[[bool], None] = lambda known: None
        self._changed: Changed = lambda namespace, name, pod: None
        self._turn = threading.Lock()
        self._clusters: dict[str, _Cluster] = {}

    def recall(self, source: str, server: Server, path: str) -> Object | None:
        """See Handles."""
        cluster = self._cluster(source, server)
        known = cluster.recall(server, path) if cluster else None
        self.told(known is not None)
        return known

    def _cluster(self, source: str, server: Server) -> _Cluster | None:
        """What is watched already; None when that only begins."""
        with self._turn:
            cluster = self._clusters.get(source)
            if cluster is None and len(self._clusters) < _MOST:
                try:
                    self._clusters[source] = _Cluster(server, self._tell)
                except RuntimeError as error:  # no thread is to be had; calls go on
                    log.warning("cannot watch %s: %s", server, error)
        return cluster

    def watch(self, source: str, server: Server) -> None:
        """Begin before any call does, or go on with these credentials."""
        cluster = self._cluster(source, server)
        if cluster:
            cluster.renew(server)

    def follow(self, changed: Changed) -> None:
        """Tell `changed` of every pod of this node, and from now on of what becomes of them (see Watched)."""
        self._changed = changed
        with self._turn:
            clusters = list(self._clusters.values())
        for cluster in clusters:
            cluster.pods.tell_all()

    def _tell(self, namespace: str, name: str, pod: Object | None) -> None:
        self._changed(namespace, name, pod)

    def close(self) -> None:
        """Stop watching."""
        with self._turn:
            clusters, self._clusters = self._clusters, {}
        for cluster in clusters.values():
            cluster.stop()


class _Cluster:
    """The watches of one API server, with the credentials of the last call that showed others."""

    def __init__(self, server: Server, changed: Changed) -> None:
        self._server = server
        query = {"fieldSelector": f"spec.nodeName={node_name()}"}
        self.pods = Watched(lambda: self._server, PODS, query=query, brief=True, changed=changed)
        self._watched = {one.path: one for one in (self.pods, Watched(lambda: self._server, DEFINITIONS))}
        for one in self._watched.values():
            one.start()

    def recall(self, server: Server, path: str) -> Object | None:
        if self.renew(server):
            return None
        group, _, rest = path.partition("/namespaces/")
        namespace, kind, name = rest.split("/")
        watched = self._watched.get(f"{group}/{kind}")
        return watched.get(namespace, name) if watched and watched.synced else None

    def renew(self, server: Server) -> bool:
        """Whether these credentials are others than those that were used."""
        differ = server != self._server
        if differ:
            self._server = server
            for one in self._watched.values():
                one.renew()
        return differ

    def stop(self) -> None:
        for one in self._watched.values():
            one.stop()
