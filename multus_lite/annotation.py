"""What a pod asks for: the annotation that selects networks, in its short form and as JSON (multi-network specification 1.3,
section 4.1).

    networks: a, ns/b, c@eth7
    networks: [{"name": "b", "namespace": "ns", "interface": "eth7", "ips": ["10.1.0.5/24"], "default-route": ["10.1.0.1"]}]
"""

from __future__ import annotations

from cni_plugins.model import rules
from cni_plugins.model.frozen import parse_json
from cni_plugins.protocol.errors import CniError, InvalidConfig
from cni_plugins.protocol.ip import parse_address, parse_either

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from typing import Any

    from cni_plugins.protocol.ip import Cidr

_LABEL = frozenset("abcdefghijklmnopqrstuvwxyz0123456789-.")
_NAME_MAX = 253
_JSON = frozenset('[{"')
_MAPPING = {"hostPort": int, "containerPort": int, "protocol": str, "hostIP": str}
_RATES = dict.fromkeys(("ingressRate", "ingressBurst", "egressRate", "egressBurst"), int)


class Selection:
    """One network that a pod asks for, and how.

    `namespace` and `name` are the definition's, `ifname` the interface's name or empty. `capabilities` are values, by the capability that a
    plugin must declare for them; `cni_args` what is added to `args.cni`; `gateways` those of `default-route`, None when it is not there.
    """

    __slots__ = ("capabilities", "cni_args", "gateways", "ifname", "name", "namespace")

    def __init__(self, namespace: str, name: str, ifname: str = "") -> None:
        self.namespace = namespace
        self.name = name
        self.ifname = ifname
        self.capabilities: dict[str, Any] = {}
        self.cni_args: dict[str, Any] = {}
        self.gateways: list[Cidr] | None = None

    @property
    def title(self) -> str:
        """What people call it."""
        return f"{self.namespace}/{self.name}"

    @property
    def wish(self) -> dict[str, Any]:
        """All of it but the interface's name, as plain values: what tells whether it is still the same that the pod asks for."""
        wish = {"network": self.title, "capabilities": self.capabilities, "cni-args": self.cni_args}
        return wish if self.gateways is None else {**wish, "default-route": [gateway.address for gateway in self.gateways]}


def parse(text: str, *, key: str, namespace: str) -> list[Selection]:
    """Read the annotation `key`; `namespace` is that of definitions without one. Raises InvalidConfig that names key, place and value."""
    try:
        if _JSON.isdisjoint(text):
            return [_short(item.strip(), namespace) for item in text.split(",")]
        items = parse_json(text.encode())
        if not isinstance(items, list):
            raise TypeError(f"{items!r} is not a list")
        return [_element(item, index, namespace) for index, item in enumerate(items)]
    except (TypeError, ValueError) as error:
        raise InvalidConfig(f"annotation {key}: {error}") from None
    except CniError as error:
        raise InvalidConfig(f"annotation {key}: {error.msg}") from None


def _short(item: str, namespace: str) -> Selection:
    """`[namespace/]name[@interface]`."""
    place, slash, rest = item.rpartition("/")
    name, at, ifname = rest.partition("@")
    if slash and not place:
        raise ValueError(f"{item!r} has no namespace before its slash")
    selection = Selection(check_name(place.strip() or namespace, item), check_name(name.strip(), item))
    if at:
        selection.ifname = rules.ifname(ifname.strip())
    return selection


def check_name(name: str, item: object) -> str:
    """A name of Kubernetes' (RFC 1123), which becomes part of a path; `item` is where it comes from. Raises ValueError."""
    if not name or len(name) > _NAME_MAX or not _LABEL.issuperset(name) or name[0] in "-." or name[-1] in "-.":
        raise ValueError(f"{name!r} in {item!r} is not a name: lower-case letters, digits, - and . between them")
    return name


def _element(item: Any, index: int, namespace: str) -> Selection:
    """One object of the JSON form; keys that nobody has defined are passed over, as Multus does."""
    if not isinstance(item, dict):
        raise TypeError(f"[{index}]: {item!r} is not an object")
    item = {key: value for key, value in item.items() if value is not None}
    try:
        selection = Selection(check_name(_text(item, "namespace") or namespace, "namespace"), check_name(_text(item, "name"), "name"))
        ifname = _text(item, "interface") or _text(item, "interfaceRequest")
        selection.ifname = rules.ifname(ifname) if ifname else ""
        for key, (capability, read) in _CAPABILITIES.items():
            if item.get(key):
                selection.capabilities[capability] = read(item, key)
        args = item.get("cni-args", {})
        if not isinstance(args, dict):
            raise TypeError(f"cni-args: {args!r} is not an object")
        selection.cni_args = args
        if "default-route" in item:
            selection.gateways = [parse_address(one) for one in _texts(item, "default-route")]
    except (TypeError, ValueError) as error:
        raise ValueError(f"[{index}]: {error}") from None
    return selection


def _text(item: dict[str, Any], key: str) -> str:
    value = item.get(key, "")
    if not isinstance(value, str):
        raise TypeError(f"{key}: {value!r} is not a string")
    return value


def _texts(item: dict[str, Any], key: str) -> list[str]:
    values = item[key]
    if not isinstance(values, list) or not all(isinstance(one, str) for one in values):
        raise TypeError(f"{key}: {values!r} is not a list of strings")
    return values


def _ips(item: dict[str, Any], key: str) -> list[str]:
    for text in _texts(item, key):
        parse_either(text)
    return list(item[key])


def _mac(item: dict[str, Any], key: str) -> str:
    return rules.mac(_text(item, key))


def _guid(item: dict[str, Any], key: str) -> str:
    """An InfiniBand GUID: eight bytes in hexadecimal digits, with colons between them."""
    text = _text(item, key)
    try:
        fitting = len(bytes.fromhex(text.replace(":", ""))) == 8 and text.count(":") == 7
    except ValueError:
        fitting = False
    if not fitting:
        raise ValueError(f"{key}: {text!r} is not a GUID, such as c2:11:22:33:44:55:66:77")
    return text


def _mappings(item: dict[str, Any], key: str) -> list[dict[str, Any]]:
    if not isinstance(item[key], list):
        raise TypeError(f"{key}: {item[key]!r} is not a list")
    return [_fields(one, f"{key}[{index}]", _MAPPING) for index, one in enumerate(item[key])]


def _rates(item: dict[str, Any], key: str) -> dict[str, Any]:
    return _fields(item[key], key, _RATES)


def _fields(value: Any, path: str, types: Mapping[str, type]) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise TypeError(f"{path}: {value!r} is not an object")
    for name, one in value.items():
        if name not in types:
            raise ValueError(f"{path}.{name}: is not known, expected some of {', '.join(types)}")
        if type(one) is not types[name]:
            raise ValueError(f"{path}.{name}: {one!r} is not a {'whole number' if types[name] is int else 'string'}")
    return dict(value)


_CAPABILITIES: dict[str, tuple[str, Callable[[dict[str, Any], str], Any]]] = {
    "ips": ("ips", _ips),
    "mac": ("mac", _mac),
    "infiniband-guid": ("infinibandGUID", _guid),
    "portMappings": ("portMappings", _mappings),
    "bandwidth": ("bandwidth", _rates),
    "deviceID": ("deviceID", _text),
}
"""Keys of the annotation: the capability that a plugin declares for each, and how its value is read."""
