"""What each network's plugins got, kept in files that outlive a reboot: so that DEL sends the same bytes.

    <cniDir>/<container>:<interface>                    ours: a list with one object for each network
    <cniDir>/<container>                                the same, where Multus looks for it; it does not tell the interface
    <cniDir>/results/<network>-<container>-<ifname>     what one network answered (answers.py)

Multus finds what it needs in these files, and we find in its own what we need. What is damaged is put together again from the
answers, and from the configuration.
"""

from __future__ import annotations

from cni_plugins.kernel import files
from cni_plugins.model.frozen import dump_json
from cni_plugins.plan.resource import Kind, Owned, Resource
from cni_plugins.protocol.attachment import Attachment
from cni_plugins.protocol.errors import CniError
from multus_lite import answers, encoding, networks
from multus_lite.encoding import SEPARATOR

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import Any

    from cni_plugins.plan.resource import Item
    from cni_plugins.plan.world import World
    from multus_lite.conf import MultusReleaseConf
    from multus_lite.networks import Network

    Object = dict[str, Any]

_CALL = ("CNI_ARGS", "CNI_PATH")


class StateKind(Kind):
    """State files, by their names; they stay as long as a network has not been deleted."""

    name = "state"
    parent = True

    def drop(self, world: World, owned: list[Owned]) -> None:
        """Remove the answers, then the state; before that the file for Multus, when it has the same in it or was cut off."""
        for one in owned:
            for path in one.item["results"]:
                files.withdraw(path)
            path = one.item["path"]
            if one.item["shared"]:
                _withdraw_twin(path)
            files.withdraw(path)

    def find(self, world: World, att: Attachment) -> list[Item]:
        """The attachment's file, which may be there; without it the one that Multus left; and answers that speak of it, or of nothing."""
        conf: MultusReleaseConf = world.conf
        results = [*(path for path, _ in answers.of_attachment(conf, att)), *answers.unreadable(conf, att.container_id)]
        found: list[Item] = [{"path": path_of(conf, att), "shared": True, "results": results}]
        if not files.exists(found[0]["path"]) and _multus_state(conf, att) is not None:
            found.append({"path": f"{conf.cniDir}/{att.container_id}", "shared": False, "results": []})
        return found

    def marked(self, world: World, network: str) -> Iterable[Owned]:
        """Every file that speaks of this network."""
        for att in attachments(world.conf, network):
            for item in self.find(world, att):
                yield Owned(att.key, {"kind": self.name, **item})


KIND = StateKind()


class State(Resource["None"]):
    """The state of one attachment, written before the first of its `networks` is made."""

    __slots__ = ("conf", "networks")
    kind = KIND

    def __init__(self, conf: MultusReleaseConf, networks: list[Network]) -> None:
        self.conf = conf
        self.networks = networks

    def predict(self, world: World, att: Attachment) -> None:
        """Nothing to tell."""

    def apply(self, world: World, att: Attachment) -> None:
        """Write it down, and once more for Multus where nothing is in the way."""
        data, path = dump_json([encoding.element(one, att) for one in self.networks]), path_of(self.conf, att)
        files.make_dirs(self.conf.cniDir.rstrip("/").rpartition("/")[0] or "/")
        for directory in (self.conf.cniDir, f"{self.conf.cniDir}/{answers.RESULTS}"):
            files.make_dirs(directory, mode=0o700)
        _withdraw_twin(path)  # one that differed from ours would be taken for somebody else's
        files.write_atomic(path, data)
        plain = path.rpartition(SEPARATOR)[0]
        if not files.exists(plain):
            files.write_atomic(plain, data)

    def verify(self, world: World, att: Attachment) -> None:
        """That it is there is found out with the networks, which come from it."""

    def ready(self, world: World) -> None:
        """Files can be written. Raises IoFailure."""
        files.check_writable(self.conf.cniDir)

    def record(self, world: World, att: Attachment) -> Item:
        """The file, and those of the answers that are still to come; and what else of the call a later change of the networks needs."""
        call = {key: world.request.environ.get(key, "") for key in _CALL}
        results = [answers.path_of(self.conf, one, att) for one in self.networks]
        return {"path": path_of(self.conf, att), "shared": True, "results": results, "call": call}


def _withdraw_twin(path: str) -> None:
    """Remove the file for Multus when it has the same in it as ours at `path`, or was cut off."""
    twin, mine = path.rpartition(SEPARATOR)[0], files.read(path)
    if mine is not None and mine.startswith(files.read(twin) or b""):
        files.withdraw(twin)


def stored(conf: MultusReleaseConf, att: Attachment) -> tuple[list[Network], str]:
    """The networks that an attachment has, by its state; and what is wrong with that, empty when nothing is.

    What a damaged or lost state does not tell is taken from the answers.
    """
    path = path_of(conf, att)
    data = files.read(path)
    if data is None:
        path = f"{conf.cniDir}/{att.container_id}"
        data = _multus_state(conf, att)
    kept, problem = ([], "") if data is None else _decoded(conf, data, att)
    if data is None or problem:
        known = {one.ifname for one in kept}
        found = [answers.network_of(cached, att) for _, cached in answers.of_attachment(conf, att)]
        kept += [one for one in found if one is not None and one.ifname not in known]
    return kept, f"{path}: {problem}" if problem else ""


def attachments(conf: MultusReleaseConf, network: str) -> list[Attachment]:
    """The attachments of a network that a file speaks of: a state, one of Multus' where it is this network's, or an answer."""
    names = {name for name in files.names(conf.cniDir) if name != answers.RESULTS and not files.name_of_draft(name)}
    found = _answered(conf, network, names)
    for name in sorted(names):
        container, separator, ifname = name.partition(SEPARATOR)
        att = Attachment(network, container, ifname)
        if separator:
            if encoding.is_of(files.read(f"{conf.cniDir}/{name}") or b"", att):
                found.append(att)
        elif not any(other.startswith(f"{name}{SEPARATOR}") for other in names):
            att.ifname = _first_interface(conf, container)
            if _multus_state(conf, att) is not None and _is_configured(conf, att):
                found.append(att)
    return found


def _answered(conf: MultusReleaseConf, network: str, names: set[str]) -> list[Attachment]:
    """Those of which nothing but answers is left."""
    found = {}
    for _, data in answers.every(conf):
        whose, separator, ifname = str(data.get("of", "")).partition(SEPARATOR)
        container = str(data.get("containerId"))
        if separator and whose == network and f"{container}{SEPARATOR}{ifname}" not in names and container not in names:
            found[container, ifname] = Attachment(network, container, ifname)
    return list(found.values())


def _first_interface(conf: MultusReleaseConf, container: str) -> str:
    """The interface that Multus was called for: it is in the answer of the first network. Else the one that runtimes make first."""
    state = encoding.parsed(files.read(f"{conf.cniDir}/{container}") or b"")
    try:
        name = state[0]["Conf"]["name"] if state else ""
        ours = [
            data for _, data in answers.every(conf, container) if data.get("containerId") == container and data.get("networkName") == name
        ]
        return str(state[0].get("ifnameRequest") or (ours[0]["ifName"] if ours else "eth0")) if state else "eth0"
    except (AttributeError, KeyError, TypeError, IndexError):
        return "eth0"


def _is_configured(conf: MultusReleaseConf, att: Attachment) -> bool:
    """Whether the first network of a state that Multus wrote is this configuration's: it does not say whose it is, and several
    configurations may share the directory. One with a clusterNetwork is taken for the only one.
    """
    if conf.clusterNetwork:
        return True
    kept, _ = stored(conf, att)
    return bool(kept) and kept[0].name in {data.get("name") for data in conf.delegates}


def _multus_state(conf: MultusReleaseConf, att: Attachment) -> bytes | None:
    """The file that Multus wrote for the container, or ours that it reads; None when there is none, or it is another attachment's."""
    data = files.read(f"{conf.cniDir}/{att.container_id}")
    return data if data is not None and encoding.is_of(data, att, unless_said=True) else None


def path_of(conf: MultusReleaseConf, att: Attachment) -> str:
    """Where an attachment's state is kept."""
    return f"{conf.cniDir}/{att.container_id}{SEPARATOR}{att.ifname}"


def _decoded(conf: MultusReleaseConf, data: bytes, att: Attachment) -> tuple[list[Network], str]:
    """The networks of a state, and what is wrong with it."""
    elements = encoding.parsed(data)
    if elements is None:
        return [], "damaged: it is no list of networks"
    kept, damaged = [], 0
    for index, element in enumerate(elements):
        try:
            network = encoding.read(element, index, att)
            if "of" not in element:
                _complete(conf, network, element, att)
            kept.append(network)
        except (CniError, AttributeError, KeyError, TypeError, ValueError):
            damaged += 1
    return kept, f"damaged: {damaged} of {len(elements)} networks cannot be read" if damaged else ""


def _complete(conf: MultusReleaseConf, network: Network, element: Object, att: Attachment) -> None:
    """What Multus leaves out of its state and adds again: the values for capabilities. libcni has kept them with the answer."""
    kept = answers.capabilities(answers.path_of(conf, network, att))
    requests = {"ips": element.get("ipRequest"), "mac": element.get("macRequest"), "deviceID": element.get("deviceID")}
    values = kept if kept is not None else {key: value for key, value in requests.items() if value}
    network.source = networks.assemble(network.source, None, device="", runtime=values)
