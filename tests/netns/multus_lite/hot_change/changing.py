"""A pod whose annotation changes while it runs."""

from __future__ import annotations

import json
from typing import Any

from cni_plugins import handler
from cni_plugins.plan.plugin import CHANGE
from cni_plugins.plan.world import Handles
from cni_plugins.protocol.request import Request
from tests.netns.multus_lite.api_server import ApiServer
from tests.netns.multus_lite.foreign import Foreign
from tests.netns.multus_lite.scene import Scene

RUN_DIR = "/run/cni-plugins"
CLAIMS = """echo "{\\"cniVersion\\":\\"1.0.0\\",\\"interfaces\\":[{\\"name\\":\\"$CNI_IFNAME\\",\\"sandbox\\":\\"$CNI_NETNS\\"}]}" """
"""What the plugin `foreign` runs that makes nothing and says that it did."""


class Changing:
    """The scene's pod, its API server, the plugin `foreign`. `add` attaches it, `to` has it ask for something else and makes it so."""

    def __init__(self, scene: Scene, api: ApiServer, foreign: Foreign) -> None:
        self.scene = scene
        self.api = api
        self.foreign = foreign

    def add(self, text: str | list[Any]) -> Any:
        """ADD of a pod with this annotation; its result."""
        self.api.annotate(text)
        return self.scene.good("ADD")

    def to(self, text: str | list[Any], **keys: Any) -> bool:
        """Whether a changed annotation changed anything. Raises CniError."""
        self.api.annotate(text)
        return self.change(**keys)

    def change(self, **keys: Any) -> bool:
        """What an agent does when it has heard of it, without what an agent keeps."""
        with self.scene.node.inside():
            return handler.change(self.request(**keys), Handles(executable=self.scene.plugins._executable))

    def request(self, **keys: Any) -> Request:
        """The call as an agent makes it."""
        scene = self.scene
        environ = scene.node.cni_env(CHANGE, container=scene.pod, ifname="eth0", args=scene.args, path=scene.plugins.cni_path())
        return Request("multus-lite", environ, json.dumps(scene.conf(**keys)).encode())

    @property
    def status(self) -> dict[str, tuple[str, list[str]]]:
        """What the pod is told: network and addresses by interface."""
        return {one["interface"]: (one["name"], one.get("ips", [])) for one in self.api.status()}

    @property
    def told(self) -> list[tuple[str, str]]:
        """Reason and message of the pod's events, once each."""
        events, self.api.events[:] = list(self.api.events), []
        return [(event["reason"], event["message"]) for event in events]
