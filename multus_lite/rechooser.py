"""How the networks of a container that runs are chosen: those that it has and its pod still asks for stay, the others are new."""

from __future__ import annotations

from cni_plugins.protocol.errors import InvalidConfig
from multus_lite.chooser import Chooser, selected
from multus_lite.devices import Devices

TYPE_CHECKING = False
if TYPE_CHECKING:
    from cni_plugins.plan.world import World
    from cni_plugins.protocol.attachment import Attachment
    from multus_lite.annotation import Selection
    from multus_lite.definitions import Definitions
    from multus_lite.networks import Network
    from multus_lite.pods import Pod


class Rechooser(Chooser):
    """One choice for a container that `has` these networks. What every pod gets stays as it is, whatever the configuration says by now."""

    def __init__(self, world: World, att: Attachment, has: list[Network]) -> None:
        super().__init__(world, att)
        self._has = has

    def _add_all(self, definitions: Definitions, pod: Pod | None) -> None:
        if pod is None:
            raise InvalidConfig(f"{self._att}: there is no Kubernetes API to ask what its pod wants", "set kubeconfig")
        wishes = self._wishes(pod.annotations, pod)
        staying = _staying(self._has, wishes)
        self._found = [one for one in self._has if one.wish is None or one in staying.values()]
        self._devices = Devices(pod.uid, {plugin["deviceID"] for one in self._found for plugin in one.plugins if "deviceID" in plugin})
        first = sum(one.wish is None for one in self._has)
        names = {one.ifname for one in self._found} | {wish.ifname for wish in wishes}
        for index, wish in enumerate(wishes):
            if index not in staying:
                number = _free(names, first + index)
                names.add(f"net{number}")
                self._add(selected(definitions, wish), number, wish=wish, pod=pod)


def _staying(has: list[Network], wishes: list[Selection]) -> dict[int, Network]:
    """Which of the networks is which of the wishes, by its number. One without an interface's name is content with any."""
    left, staying = [one for one in has if one.wish is not None], {}
    for index, wish in sorted(enumerate(wishes), key=lambda one: not one[1].ifname):
        found = next((one for one in left if one.wish == wish.wish and wish.ifname in ("", one.ifname)), None)
        if found is not None:
            left.remove(found)
            staying[index] = found
    return staying


def _free(names: set[str], number: int) -> int:
    """The first number from here on whose name is not taken."""
    while f"net{number}" in names:
        number += 1
    return number
