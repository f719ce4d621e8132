"""The hot change: the networks of a running pod follow the annotation that asks for them (multus_lite/change.py).

The agent's memory watches the pods of this node, wherever the configurations of networks say that their API is. Each pod is looked at
when it is seen first, which finds what has changed while no agent ran, and when its annotation is another one. What fails is tried again
after pauses that grow, and at once when the annotation changes.
"""

from __future__ import annotations

import json
import logging
import os
import threading
from time import monotonic

from cni_plugins import handler
from cni_plugins.agent.session import Ended
from cni_plugins.agent.warm import Warm, WarmHandles
from cni_plugins.agent.watching import SETTLED_SECONDS
from cni_plugins.model.base import folded
from cni_plugins.networks import CONF_DIR, Networks
from cni_plugins.plan.plugin import CHANGE
from cni_plugins.protocol.errors import CniError, InvalidConfig, UnknownContainer
from cni_plugins.protocol.request import Request
from cni_plugins.registry import PLUGINS
from multus_lite import kubeconfig
from multus_lite.change import Live, live
from multus_lite.chooser import NETWORKS
from multus_lite.plan import PLUGIN
from vxlan.leases.store import Backoff

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import Any

    from cni_plugins.kernel.process import Heed

    Name = tuple[str, str]
    Conf = dict[str, Any]

_FIRST_PAUSE, _LONGEST_PAUSE = 1.0, 300.0
_SETTLED_SECONDS = 2 * SETTLED_SECONDS
"""A pod is looked at when memory is certain of it: an agent that starts is not to ask the API for all of them."""
_CONFIGURED_SECONDS = 60.0
"""How often it is looked whether another API, or other credentials, are configured by now."""
_PATIENCE = 10.0
_NAMES = [name for name, module in PLUGINS.items() if module == "multus_lite.plan"]

log = logging.getLogger(__name__)


class _Pod:
    """What is known of a pod: what it asks for, and when it is to be looked at, None while nothing calls for it."""

    def __init__(self, asked: tuple[str, str], *, due: float) -> None:
        self.asked = asked
        self.due: float | None = due
        self.attached = False
        self.complaint = ""
        self.pauses = Backoff(first=_FIRST_PAUSE, most=_LONGEST_PAUSE)


class HotChange:
    """Changes pods' networks in a thread of its own, from `start` to `stop`.

    `run_dir` is where attachments are noted, `conf_dir` has the configurations of networks. `executable` is the file (device, inode) that
    tells our own plugins, this process' own unless given.
    """

    def __init__(self, warm: Warm, *, run_dir: str, conf_dir: str = CONF_DIR, executable: tuple[int, int] | None = None) -> None:
        own = os.stat("/proc/self/exe")
        self._executable = executable or (own.st_dev, own.st_ino)
        self._warm = warm
        self._run_dir = run_dir
        self._conf_dir = conf_dir
        self._pods: dict[Name, _Pod] = {}
        self._complaints: set[str] = set()
        self._news = threading.Condition()
        self._stopping, self._stop = os.pipe2(os.O_CLOEXEC)
        self._stopped = self._interrupted = False
        self._thread = threading.Thread(target=self._run, name="hot change", daemon=True)

    def start(self) -> None:
        """Begin; returns at once."""
        self._warm.memory.follow(self.changed)
        self._thread.start()

    def stop(self) -> None:
        """Stop. A change under way is undone; one that takes too long for that goes on in the next agent."""
        self._warm.memory.follow(lambda namespace, name, pod: None)
        with self._news:
            self._stopped = True
            self._news.notify()
        os.close(self._stop)
        self._thread.join(_PATIENCE)
        if not self._thread.is_alive():
            os.close(self._stopping)

    def changed(self, namespace: str, name: str, pod: dict[str, Any] | None) -> None:
        """A pod is there, or not what it was; None: it is gone."""
        metadata = pod["metadata"] if pod is not None else {}
        with self._news:
            if pod is None or metadata.get("deletionTimestamp"):
                self._pods.pop((namespace, name), None)
                return
            asked = (metadata.get("uid") or "", (metadata.get("annotations") or {}).get(NETWORKS, ""))
            known = self._pods.get((namespace, name))
            if known is None:
                self._pods[namespace, name] = _Pod(asked, due=monotonic() + _SETTLED_SECONDS)
            elif known.asked != asked:
                self._pods[namespace, name] = _Pod(asked, due=0.0)
            elif not known.attached and known.due is None:
                known.due = 0.0  # its ADD had not come far enough
            self._news.notify()

    def _run(self) -> None:
        pods: dict[Name, _Pod] = {}
        while not self._stopped:
            try:
                configurations = _configurations(self._conf_dir)
                self._watch(configurations.values())
                self._look(pods, configurations)
            except Exception:
                log.exception("networks of pods are not changed, which is a defect")
            pods = self._wait()
        self._warm.let_go()

    def _watch(self, configurations: Iterable[Conf]) -> None:
        """Have the API be watched that each configuration leads to."""
        for source in {str(folded(conf, "kubeconfig") or "") for conf in configurations}:
            try:
                server = kubeconfig.server(source, os.environ)
                if server is not None:
                    self._warm.memory.watch(source, server)
            except CniError as error:
                if error.msg not in self._complaints:
                    log.warning("the pods of this node are not watched: %s", error.msg)
                self._complaints.add(error.msg)

    def _wait(self) -> dict[Name, _Pod]:
        """The pods that are to be looked at, when there are any, or when the configuration is."""
        latest = monotonic() + _CONFIGURED_SECONDS
        with self._news:
            while not self._stopped:
                now = monotonic()
                due = {name: pod for name, pod in self._pods.items() if pod.due is not None and pod.due <= now}
                for pod in due.values():
                    pod.due = None
                if due or now >= latest:
                    return due
                self._news.wait(min([latest, *(pod.due for pod in self._pods.values() if pod.due is not None)]) - now)
        return {}

    def _look(self, pods: dict[Name, _Pod], configurations: dict[str, Conf]) -> None:
        for one in live(self._run_dir) if pods else ():
            pod = pods.get((one.namespace, one.name))
            if pod is not None and not self._stopped:
                pod.attached = True
                self._change(pod, one, configurations.get(one.att.network))

    def _change(self, pod: _Pod, one: Live, conf: Conf | None) -> None:
        where = f"pod {one.namespace}/{one.name} ({one.att})"
        try:
            if conf is None:
                raise InvalidConfig(f"no file in {self._conf_dir} configures the network {one.att.network}")
            if handler.change(self._request(one, conf), self._handles()):
                log.info("%s: its networks are what its annotation asks for", where)
        except UnknownContainer:
            log.debug("%s: is gone", where)
        except handler.Busy as error:
            log.debug("%s: later: %s", where, error.msg)
            pod.due = monotonic() + pod.pauses.pause()
        except (CniError, OSError) as error:
            complaint = error.msg if isinstance(error, CniError) else str(error)
            if complaint != pod.complaint:
                log.warning("%s: its networks are not changed: %s", where, complaint)
            pod.complaint = complaint
            pod.due = monotonic() + pod.pauses.pause()

    def _request(self, one: Live, conf: Conf) -> Request:
        att = one.att
        variables = {"CNI_COMMAND": CHANGE, "CNI_CONTAINERID": att.container_id, "CNI_NETNS": att.netns, "CNI_IFNAME": att.ifname}
        return Request(PLUGIN.name, {**os.environ, **one.environ, **variables}, json.dumps(conf).encode())

    def _handles(self) -> WarmHandles:
        return WarmHandles(self._warm, run_dir=self._run_dir, executable=self._executable, stderr=2, container=None, heed=self._heed)

    def _heed(self) -> Heed | None:
        """Once, when the agent is to end while a delegate runs; undoing is not interrupted."""
        return None if self._interrupted else (self._stopping, self._end)

    def _end(self) -> None:
        self._interrupted = True
        raise Ended("the agent ends")


def _configurations(directory: str) -> dict[str, Conf]:
    """By the network's name, what our plugin would get for an ADD."""
    return {name: conf for name, network in Networks(directory).by_name.items() for conf in filter(None, map(network.of_plugin, _NAMES))}
