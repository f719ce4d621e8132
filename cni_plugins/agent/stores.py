"""From an overlay's table in the agent's configuration to the store of its leases."""

from __future__ import annotations

import json
import os
import socket
from pathlib import Path

from cni_plugins.protocol.errors import InvalidConfig

TYPE_CHECKING = False
if TYPE_CHECKING:
    from cni_plugins.agent.conf import EtcdConf, OverlayConf
    from vxlan.leases.network import NetworkConfig
    from vxlan.leases.store import Store


def open_store(conf: OverlayConf) -> Store:
    """The store. Its libraries are loaded here, so that an agent without overlays does without. Raises InvalidConfig."""
    if conf.etcd is not None:
        return _etcd(conf.etcd)
    if conf.store == "kubernetes":
        from vxlan.leases.kubernetes import KubernetesStore

        node = conf.kubernetes.node or os.environ.get("NODE_NAME") or socket.gethostname()
        return KubernetesStore(node, _network(conf), kubeconfig=conf.kubernetes.kubeconfig)
    from vxlan.leases.static import StaticStore

    return StaticStore(conf.peersFile, _network(conf))


def _etcd(conf: EtcdConf) -> Store:
    from vxlan.leases.etcd import EtcdStore
    from vxlan.leases.etcd_gateway import EtcdAccess

    password = ""
    if conf.passwordFile:
        try:
            password = Path(conf.passwordFile).read_text().partition("\n")[0]
        except (OSError, UnicodeDecodeError) as error:
            raise InvalidConfig(f"etcd.passwordFile: {conf.passwordFile} cannot be read: {error}") from None
    access = EtcdAccess(
        conf.endpoints, ca_file=conf.caFile, cert_file=conf.certFile, key_file=conf.keyFile, username=conf.username, password=password
    )
    return EtcdStore(access, prefix=conf.prefix)


def _network(conf: OverlayConf) -> NetworkConfig:
    """The overlay's configuration, for stores that do not have it themselves. Raises InvalidConfig."""
    from vxlan.leases.network import NetworkConfig

    path = conf.kubernetes.netConf
    if path:
        try:
            return NetworkConfig.parse(Path(path).read_bytes(), source=path, cut=False)
        except OSError as error:
            raise InvalidConfig(f"kubernetes.netConf: {path} cannot be read: {error.strerror}") from None
    backend = {"Type": conf.backend, "VNI": conf.vni, "Port": conf.port, "DirectRouting": conf.directRouting}
    keys = {
        "EnableIPv4": bool(conf.network),
        "Network": conf.network,
        "EnableIPv6": bool(conf.ipv6Network),
        "IPv6Network": conf.ipv6Network,
        "Backend": backend,
    }
    return NetworkConfig.parse(json.dumps(keys), source=f"overlay {conf.name}", cut=False)
