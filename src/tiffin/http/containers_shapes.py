"""Between the wire's Structs and the model's values: attribute names are the same, so one walk serves all."""

from collections.abc import Hashable, Mapping
from dataclasses import fields
from functools import cache
from typing import Any, TypeVar, cast

import msgspec

from tiffin.errors import Invalid
from tiffin.model import container, container_host
from tiffin.wire import containers as wire
from tiffin.wire import containers_host as wire_host

M = TypeVar("M")
W = TypeVar("W", bound=msgspec.Struct)

_MODELS: dict[type[msgspec.Struct], type[Any]] = {
    getattr(wire_module, name): getattr(model_module, name)
    for wire_module, model_module in ((wire_host, container_host), (wire, container))
    for name in dir(wire_module)
    if isinstance(getattr(wire_module, name), type)
    and issubclass(getattr(wire_module, name), msgspec.Struct)
    and hasattr(model_module, name)
    and name not in ("MountPoint", "Health", "Probe")
}
_STRUCTS = {model: struct for struct, model in _MODELS.items()}
_SHOWN_AT_ZERO = frozenset({"init", "stop_timeout"})  # pointers in docker: nil and zero differ
_WORD_LISTS = frozenset({"cmd", "entrypoint"})  # the API takes a bare string for these


@cache
def _names(model: Hashable) -> tuple[str, ...]:
    return tuple(item.name for item in fields(cast(Any, model)))


def to_model(struct: msgspec.Struct, model: type[M]) -> M:
    """The model's value of a decoded request; attributes that nobody set keep the model's default."""
    values = {}
    for name in _names(cast(Hashable, model)):
        value = getattr(struct, name)
        if value is None or value is msgspec.UNSET:
            continue
        if name in _WORD_LISTS and isinstance(value, str):
            value = [value]
        values[name] = _inward(value)
    return model(**values)


def _inward(value: Any) -> Any:
    if isinstance(value, msgspec.Struct):
        return to_model(value, _MODELS[type(value)])
    if isinstance(value, list | tuple):
        return tuple(_inward(item) for item in value)
    if isinstance(value, dict):
        return {key: _inward(item) for key, item in value.items()}
    return value


@cache
def _shown(struct: Hashable) -> tuple[tuple[str, bool], ...]:
    """A Struct's attributes, and whether each is left out at its zero value."""
    return tuple(
        (item.name, item.default is msgspec.UNSET and item.name not in _SHOWN_AT_ZERO)
        for item in msgspec.structs.fields(cast("type[msgspec.Struct]", struct))
    )


def to_wire(value: Any, struct: type[W]) -> W:
    """The Struct that shows a model's value; what is None stays as the Struct has it when nobody set it."""
    values = {}
    for name, hidden in _shown(struct):
        attribute = getattr(value, name)
        if attribute is None or (hidden and not attribute):
            continue
        values[name] = _outward(attribute)
    return struct(**values)


def _outward(value: Any) -> Any:
    if isinstance(value, str | int):
        return value
    if isinstance(value, tuple):
        return [_outward(item) for item in value]
    if isinstance(value, Mapping):
        return {key: _outward(item) for key, item in value.items()}
    struct = _STRUCTS.get(type(value))
    return value if struct is None else to_wire(value, struct)


def creation(
    body: wire.CreateBody,
) -> tuple[container.Config, container_host.HostConfig, dict[str, container.EndpointRequest]]:
    """The three parts of a create body."""
    endpoints = body.networking_config.endpoints_config or {}
    for name, endpoint in endpoints.items():
        if endpoint is None:
            raise Invalid(f"invalid config for network {name}: EndpointsConfig is nil")
    body.host_config.runtime = body.host_config.runtime or body.runtime
    return (
        to_model(body, container.Config),
        to_model(body.host_config, container_host.HostConfig),
        {name: to_model(endpoint, container.EndpointRequest) for name, endpoint in endpoints.items() if endpoint},
    )
