"""JSON bodies into Structs, as forgiving as Go's decoder, which docker's clients were written against.

Keys match without regard to case, `null` leaves a field at its default, unknown fields are ignored.
"""

from __future__ import annotations

import types
import typing
from collections.abc import Callable
from typing import Any, TypeVar

import msgspec

from tiffin.errors import Invalid

T = TypeVar("T")
_Walk = Callable[[Any], Any]

_walkers: dict[Any, _Walk | None] = {}


def decode(body: bytes, kind: type[T]) -> T:
    """Decode a request body. Raises Invalid (400) for malformed JSON and for values of the wrong type."""
    try:
        raw = msgspec.json.decode(body)
        if b"\\u0000" in body and _has_nul(raw):
            raise Invalid("a NUL byte can't be part of a name, a path or a value")
    except (msgspec.DecodeError, UnicodeError, RecursionError) as error:
        raise Invalid(_why(str(error))) from error
    if raw is None:
        raw = {}
    walk = _walker(kind)
    try:
        return msgspec.convert(walk(raw) if walk else raw, kind)
    except (msgspec.ValidationError, RecursionError) as error:
        raise Invalid(f"invalid JSON: {error}") from error


def _why(text: str) -> str:
    """What is wrong with it, where dockerd has words for that."""
    if "trailing characters" in text:
        return f"unexpected content after JSON: {text}"
    return "invalid JSON: unexpected EOF" if "truncated" in text else f"invalid JSON: {text}"


def _has_nul(raw: Any) -> bool:
    """Whether a string in it ends early for the kernel."""
    if isinstance(raw, dict):
        return any("\0" in key or _has_nul(value) for key, value in raw.items())
    if isinstance(raw, list):
        return any(map(_has_nul, raw))
    return isinstance(raw, str) and "\0" in raw


def _walker(kind: Any) -> _Walk | None:
    """A function that brings decoded JSON into the spelling of `kind`; None when nothing in it has names of fields."""
    if kind not in _walkers:
        _walkers[kind] = _build(kind)
    return _walkers[kind]


def _build(kind: Any) -> _Walk | None:
    origin = typing.get_origin(kind)
    arguments = typing.get_args(kind)
    if origin is typing.Annotated:
        return _walker(arguments[0])
    if origin in (typing.Union, types.UnionType):
        walks = [walk for walk in map(_walker, arguments) if walk]
        return walks[0] if walks else None
    if origin is dict:
        return _map_walker(_walker(arguments[1]), _zero(arguments[1]))
    if origin in (list, tuple):
        inner = _walker(arguments[0])
        return _list_walker(inner) if inner else None
    if isinstance(kind, type) and issubclass(kind, msgspec.Struct):
        return _struct_walker(kind)
    return None


def _map_walker(inner: _Walk | None, zero: Any) -> _Walk:
    def walk(raw: Any) -> Any:
        if not isinstance(raw, dict):
            return raw
        if inner is not None:
            raw = {key: inner(value) for key, value in raw.items()}
        if zero is not None and None in raw.values():
            raw = {key: zero if value is None else value for key, value in raw.items()}
        return raw

    return walk


def _zero(kind: Any) -> Any:
    """What null stands for as a value of a map: Go's zero value; None where the type has a null of its own."""
    origin = typing.get_origin(kind) or kind
    if not isinstance(origin, type) or origin is types.UnionType:
        return None
    if issubclass(origin, msgspec.Struct):
        return {}
    return origin() if origin in (dict, list, str, int, bool, float) else None


def _list_walker(inner: _Walk) -> _Walk:
    return lambda raw: [inner(value) for value in raw] if isinstance(raw, list) else raw


def _struct_walker(kind: type[msgspec.Struct]) -> _Walk:
    names: dict[str, str] = {}
    walks: dict[str, Any] = {}

    def fill() -> None:
        # on first use, as a Struct may refer to itself
        for field in msgspec.structs.fields(kind):
            names[field.encode_name.lower()] = field.encode_name
            names[field.encode_name] = field.encode_name
            walks[field.encode_name] = _walker(field.type)

    def walk(raw: Any) -> Any:
        if not isinstance(raw, dict):
            return raw
        if not names:
            fill()
        spelled = {}
        for key, value in raw.items():
            name = names.get(key) or names.get(key.lower())
            if name is None or value is None:
                continue
            inner = walks[name]
            spelled[name] = inner(value) if inner else value
        return spelled

    return walk
