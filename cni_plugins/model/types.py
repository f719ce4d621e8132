"""The types that configuration classes annotate their keys with. Read by the type checker and the freezer, never at run time.

Each says what Python holds, how pydantic-core gets it from JSON (a strict type, then a function of rules.py), and what the JSON
Schema shows.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, TypeAlias, TypeVar

from pydantic import AfterValidator, Field, GetPydanticSchema
from pydantic_core import core_schema

from cni_plugins.model import rules
from cni_plugins.protocol.ip import Cidr

if TYPE_CHECKING:
    from collections.abc import Callable

T = TypeVar("T")


def _text(rule: Callable[[str], Any]) -> GetPydanticSchema:
    """A string in JSON that `rule` makes something else of."""
    schema = core_schema.no_info_after_validator_function(rule, core_schema.str_schema())
    return GetPydanticSchema(lambda _source, _handler: schema)


def _shown(**keywords: Any) -> Any:
    """What the JSON Schema shows beside the type."""
    return Field(json_schema_extra=keywords)


Many: TypeAlias = Annotated[tuple[T, ...], Field(strict=False)]
Object: TypeAlias = dict[str, Any]

Address: TypeAlias = Annotated[Cidr, _text(rules.address), _shown(examples=["10.1.0.1", "fd00:1::1"])]
AddressWithPrefix: TypeAlias = Annotated[Cidr, _text(rules.address_with_prefix), _shown(examples=["10.1.0.7/16", "fd00:1::7/64"])]
AddressEither: TypeAlias = Annotated[Cidr, _text(rules.either), _shown(examples=["10.1.0.7", "10.1.0.7/16"])]
Network: TypeAlias = Annotated[Cidr, _text(rules.address_with_prefix), _shown(examples=["10.1.0.0/16", "fd00:1::/64"])]
Mac: TypeAlias = Annotated[str, AfterValidator(rules.mac), _shown(examples=["02:00:5e:10:00:01"])]
IfName: TypeAlias = Annotated[str, AfterValidator(rules.ifname), _shown(minLength=1, maxLength=rules.IFNAME_MAX, pattern=r"^[^/:\s]+$")]
NetworkName: TypeAlias = Annotated[str, _shown(pattern=r"^[a-zA-Z0-9][a-zA-Z0-9_.\-]*$", examples=["pods"])]
PathName: TypeAlias = Annotated[str, AfterValidator(rules.path)]
Ipam: TypeAlias = Annotated[dict[str, Any], AfterValidator(rules.ipam), _shown(properties={"type": {"type": ["string", "null"]}})]

Mtu: TypeAlias = Annotated[int, AfterValidator(rules.mtu), _shown(minimum=0, maximum=rules.MTU_MAX)]
VlanId: TypeAlias = Annotated[int, Field(ge=1, le=4094)]
VlanIdOrNone: TypeAlias = Annotated[int, Field(ge=0, le=4094)]
Uint32: TypeAlias = Annotated[int, Field(ge=0, le=0xFFFFFFFF)]
Uint64: TypeAlias = Annotated[int, Field(ge=0, le=0xFFFFFFFFFFFFFFFF)]
RouteScope: TypeAlias = Annotated[int, Field(ge=0, le=255)]
