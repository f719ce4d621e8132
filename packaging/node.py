"""Makes multus-lite the network of a Kubernetes node, from a container that sees the node's files, and undoes that.

    node.py executables [ROOT]      node.py network [ROOT]      node.py uninstall [ROOT]

ROOT is where the node's files are (default: /host). `executables` brings the plugins beside this program to the node. `network`, which runs
until SIGTERM, writes a kubeconfig with the pod's own credentials, and publishes the network:

1. the primary network's file, the one that a runtime would choose, is copied to where multus-lite finds it as `clusterNetwork`;
2. our file appears, whole, under a name that a runtime reads first;
3. the primary network's file leaves the runtime's directory.

So a node has no network until it has all of them, and a pod never starts with the primary one alone, whatever starts first after a reboot.
Then it goes on: credentials are written anew when the kubelet has renewed them, and a primary network that is written again, which its
own DaemonSet does when it starts, is taken in. `uninstall` puts the primary network's file back first. Needs the standard library only.
"""

from __future__ import annotations

import base64
import json
import os
import signal
import sys
import threading
from pathlib import Path
from typing import Any

import installer

HOST = Path("/host")
PLUGINS = Path(__file__).resolve().parent / "bin"
CREDENTIALS = Path("/var/run/secrets/kubernetes.io/serviceaccount")
BIN, NETWORKS, OURS = "opt/cni/bin", "etc/cni/net.d", "00-multus-lite.conflist"
CONF_DIR, KUBECONFIG = "etc/cni/multus/net.d", "etc/cni/multus/kubeconfig"
NETWORK_NAME = "multus-cni-network"  # as real Multus calls it: what it has attached is ours to delete
OURSELVES = ("multus", "multus-lite", "multus-shim")
SUFFIXES = (".conf", ".conflist", ".json")
SECONDS = 5

Object = dict[str, Any]


class NodeError(Exception):
    """Nothing was changed; the text says why and what to do."""


def publish(root: Path) -> str:
    """Make multus-lite the runtime's network, as far as it is not. Returns what was done, for the log; empty when that is nothing.

    Raises NodeError when a primary network's file cannot be used: what was published before stays.
    """
    directory, ours = root / NETWORKS, root / NETWORKS / OURS
    before = _primary(ours)
    found = _candidate(directory, limit=before)
    if found is None:
        return ""
    path, conf = found
    write(root / CONF_DIR / path.name, path.read_bytes())
    write(ours, json.dumps(_conflist(conf, path.name), indent=2).encode())
    path.unlink()
    if before and before != path.name:
        (root / CONF_DIR / before).unlink(missing_ok=True)
    installer.flush(directory)
    return f"{OURS} is the network now, with {path.name} as its primary one"


def restore(root: Path) -> str:
    """Put the primary network's file back, then remove ours. Returns what was done; empty when that is nothing."""
    directory, ours = root / NETWORKS, root / NETWORKS / OURS
    primary = _primary(ours)
    if not primary:
        return ""
    kept = root / CONF_DIR / primary
    if not (directory / primary).exists() and kept.exists():
        write(directory / primary, kept.read_bytes())
    ours.unlink()
    kept.unlink(missing_ok=True)
    installer.flush(directory)
    return f"{primary} is the network again"


def refresh(root: Path, *, credentials: Path = CREDENTIALS) -> bool:
    """Write the kubeconfig if the pod's credentials are other ones than in it. Returns whether it did. Raises NodeError, OSError."""
    host, port = os.environ.get("KUBERNETES_SERVICE_HOST"), os.environ.get("KUBERNETES_SERVICE_PORT")
    if not (host and port):
        raise NodeError("KUBERNETES_SERVICE_HOST and KUBERNETES_SERVICE_PORT are not set: this has to run in a pod")
    server = f"https://[{host}]:{port}" if ":" in host else f"https://{host}:{port}"
    authority = base64.b64encode((credentials / "ca.crt").read_bytes()).decode()
    token = (credentials / "token").read_text().strip()
    name = "multus-lite"
    text = json.dumps(
        {
            "apiVersion": "v1",
            "kind": "Config",
            "current-context": name,
            "contexts": [{"name": name, "context": {"cluster": name, "user": name}}],
            "clusters": [{"name": name, "cluster": {"server": server, "certificate-authority-data": authority}}],
            "users": [{"name": name, "user": {"token": token}}],
        }
    ).encode()
    return write(root / KUBECONFIG, text, mode=0o600)


def write(path: Path, data: bytes, *, mode: int = 0o644) -> bool:
    """Write a file so that it appears whole, or not at all. Returns False when it has this content already."""
    if path.is_file() and path.read_bytes() == data and path.stat().st_mode & 0o777 == mode:
        return False
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_name(f".{path.name}~")
    draft.unlink(missing_ok=True)
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
    with open(descriptor, "wb") as file:
        os.fchmod(descriptor, mode)
        file.write(data)
        file.flush()
        os.fsync(descriptor)
    draft.replace(path)
    installer.flush(path.parent)
    return True


def _candidate(directory: Path, *, limit: str) -> tuple[Path, Object] | None:
    """The file that the runtime would choose without us. When we have a primary network, `limit`, none that comes after it."""
    for path in sorted(directory.glob("*")):
        if path.suffix in SUFFIXES and path.name != OURS and (not limit or path.name <= limit):
            conf = _parsed(path)
            if not any(plugin.get("type") in OURSELVES for plugin in _plugins(conf)):
                return path, conf
    return None


def _parsed(path: Path) -> Object:
    try:
        conf = json.loads(path.read_bytes())
    except ValueError as error:
        raise NodeError(f"{path.name}: this is not JSON: {error}") from None
    if not isinstance(conf, dict) or not conf.get("name") or not _plugins(conf):
        raise NodeError(f"{path.name}: this is no network configuration: it needs a name and plugins")
    return conf


def _plugins(conf: Object) -> list[Object]:
    plugins = conf.get("plugins", [conf] if "type" in conf else [])
    return [plugin for plugin in plugins if isinstance(plugin, dict)] if isinstance(plugins, list) else []


def _conflist(primary: Object, name: str) -> Object:
    """Our network: a runtime passes values for those capabilities that are declared here, which are those of the primary network."""
    capabilities: Object = {}
    for plugin in _plugins(primary):
        capabilities |= plugin.get("capabilities") or {}
    plugin = {"type": "multus-lite", "kubeconfig": f"/{KUBECONFIG}", "clusterNetwork": f"/{CONF_DIR}/{name}"}
    if capabilities:
        plugin["capabilities"] = capabilities
    return {"cniVersion": primary.get("cniVersion", "0.4.0"), "name": NETWORK_NAME, "plugins": [plugin]}


def _primary(ours: Path) -> str:
    """The file name of the primary network that our file names; empty when there is none of ours."""
    try:
        return Path(json.loads(ours.read_bytes())["plugins"][0]["clusterNetwork"]).name
    except FileNotFoundError:
        return ""
    except (ValueError, KeyError, IndexError, TypeError):
        raise NodeError(f"{ours}: somebody has changed it: restore it, or remove it") from None


def _executables(root: Path) -> None:
    for line in installer.install(PLUGINS, root / BIN):
        say(line)


def _network(root: Path) -> None:
    end = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: end.set())
    said = ""
    while not end.is_set():
        try:
            if refresh(root):
                say(f"/{KUBECONFIG} has new credentials")
            news, said = publish(root), ""
            if news:
                say(news)
        except (NodeError, OSError) as error:
            if str(error) != said:
                said = str(error)
                say(said)
        end.wait(SECONDS)


def _uninstall(root: Path) -> None:
    news = restore(root)
    (root / KUBECONFIG).unlink(missing_ok=True)
    for line in [news or "there was no network of ours", *installer.uninstall(root / BIN)]:
        say(line)


def say(text: str) -> None:
    """Tell the operator."""
    print(text, file=sys.stderr, flush=True)


def main(arguments: list[str]) -> int:
    """The command line; returns the exit status."""
    verbs = {"executables": _executables, "network": _network, "uninstall": _uninstall}
    if not 1 <= len(arguments) <= 2 or arguments[0] not in verbs:
        say(f"use: node.py {'|'.join(verbs)} [ROOT]")
        return 2
    try:
        verbs[arguments[0]](Path(*arguments[1:]) if arguments[1:] else HOST)
    except (NodeError, installer.InstallError, OSError) as error:
        say(str(error))
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
