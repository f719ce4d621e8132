"""Devices that the kubelet has allotted to a pod, from the file in which it remembers them (its device manager's checkpoint)."""

from __future__ import annotations

from cni_plugins.kernel import files
from cni_plugins.model.frozen import parse_json
from cni_plugins.protocol.errors import DecodeFailure

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Container

CHECKPOINT = "/var/lib/kubelet/device-plugins/kubelet_internal_checkpoint"


class Devices:
    """Hands out a pod's devices one after the other, in the order of their IDs. `uid` is the pod's; `taken` are IDs of those in use."""

    def __init__(self, uid: str, taken: Container[str] = ()) -> None:
        self._uid = uid
        self._taken = taken
        self._free: dict[str, list[str]] | None = None

    def take(self, resource: str) -> str:
        """The next device of a resource such as `example.com/nic`; empty when the pod has no more. Raises DecodeFailure, IoFailure."""
        if self._free is None:
            allotted = _allotted(self._uid)
            self._free = {name: [one for one in ids if one not in self._taken] for name, ids in allotted.items()}
        free = self._free.get(resource)
        return free.pop(0) if free else ""


def _allotted(uid: str) -> dict[str, list[str]]:
    data = files.read(CHECKPOINT, limit=1 << 26)
    if data is None:
        return {}
    found: dict[str, list[str]] = {}
    try:
        for entry in parse_json(data)["Data"]["PodDeviceEntries"] or ():
            if entry["PodUID"] == uid:
                ids = entry["DeviceIDs"] or {}
                lists = ids.values() if isinstance(ids, dict) else [ids]  # by NUMA node since Kubernetes 1.20
                found.setdefault(entry["ResourceName"], []).extend(one for some in lists for one in some)
    except (KeyError, TypeError, AttributeError, DecodeFailure) as error:
        raise DecodeFailure(f"{CHECKPOINT}: cannot be read: {error}") from None
    return {resource: sorted(some) for resource, some in found.items()}
