"""How a network is written in a state file: as Multus writes it, with what we need besides.

An object for each network. Its `Bytes` are the configuration, or the list, that its plugins got; `of` says whose it is, `checksum` that
it is as it was written.
"""

from __future__ import annotations

from _blake2 import blake2b
from binascii import a2b_base64, b2a_base64

from cni_plugins.model.base import folded
from cni_plugins.model.frozen import dump_json, parse_json
from cni_plugins.protocol.errors import DecodeFailure
from cni_plugins.protocol.ip import parse_address
from multus_lite import networks
from multus_lite.networks import Network

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from cni_plugins.protocol.attachment import Attachment
    from multus_lite.networks import NetworkList

    Object = dict[str, Any]

SEPARATOR = ":"  # neither a container's ID nor an interface's name can have it


def whose(att: Attachment) -> str:
    """How an attachment is named in its files."""
    return f"{att.network}{SEPARATOR}{att.ifname}"


def element(network: Network, att: Attachment) -> Object:
    """A network as Multus keeps it, and what we need besides."""
    head = {"cniVersion": network.source.version, "name": network.name}
    kinds = [{"type": folded(plugin, "type")} for plugin in network.plugins]
    single = "plugins" not in _whole_data(network)
    written: Object = {
        "Conf": {**head, **kinds[0]} if single else head,
        "ConfList": {} if single else {**head, "plugins": kinds},
        "Name": network.title,
        "ifnameRequest": network.ifname,
        "Bytes": whole(network),
        "master": network.master,
        "of": whose(att),
    }
    if network.gateways is not None:
        written["default-route"] = [gateway.address for gateway in network.gateways]
    if network.wish is not None:
        written["wish"] = network.wish
    written["checksum"] = _checksum(written)
    return written


def _whole_data(network: Network) -> Object:
    """The network as one object: a configuration, or a list of them."""
    source = network.source
    if len(source.plugins) == 1 and not (source.disable_check or source.disable_gc):
        return source.plugins[0]
    wishes = {"disableCheck": source.disable_check, "disableGC": source.disable_gc}
    kept = {key: True for key, wanted in wishes.items() if wanted}
    return {"cniVersion": source.version, "name": source.name, **kept, "plugins": source.plugins}


def whole(network: Network) -> str:
    """The network as one object, in base64."""
    return b2a_base64(dump_json(_whole_data(network)), newline=False).decode()


def read(element: Object, index: int, att: Attachment) -> Network:
    """The network that object number `index` of a state tells of. Raises CniError or one of Python's own when it is damaged."""
    if "checksum" in element and element["checksum"] != _checksum(element):
        raise ValueError("checksum")
    ifname = element.get("ifnameRequest") or (f"net{index}" if index else att.ifname)
    gateways = element.get("default-route")
    source = unpacked(element["Bytes"])
    return Network(
        source,
        title=element.get("Name") or source.name,
        ifname=ifname,
        master=element.get("master", index == 0),
        gateways=None if gateways is None else [parse_address(one) for one in gateways],
        wish=element.get("wish"),
    )


def unpacked(text: str) -> NetworkList:
    """The network in what `whole` made, or Multus: each plugin with the name and the version of the list. Raises as `read` does."""
    source = networks.read(parse_json(a2b_base64(text, strict_mode=True)), where="state")
    head = {"name": source.name, "cniVersion": source.version}
    source.plugins = [plugin if "name" in plugin and "cniVersion" in plugin else {**plugin, **head} for plugin in source.plugins]
    return source


def parsed(data: bytes) -> list[Object] | None:
    """The objects of a state; None when it is no list of them."""
    try:
        value = parse_json(data)
    except DecodeFailure:
        return None
    return value if isinstance(value, list) and all(isinstance(one, dict) for one in value) else None


def is_of(data: bytes, att: Attachment, *, unless_said: bool = False) -> bool:
    """Whether a state speaks of this attachment. A damaged one speaks of the one in its name; one of Multus' does not say it at all."""
    said = {one.get("of") for one in parsed(data) or ()} - {None}
    return said == {whose(att)} if said else unless_said or parsed(data) is None


def _checksum(element: Object) -> str:
    text = dump_json({key: value for key, value in element.items() if key != "checksum"})
    return blake2b(text, digest_size=8).hexdigest()
