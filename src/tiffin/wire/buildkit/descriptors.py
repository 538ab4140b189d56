"""From the table to protobuf's descriptors. Imported with the first message."""

from __future__ import annotations

import re

from google.protobuf.descriptor_pb2 import DescriptorProto, FieldDescriptorProto, FileDescriptorProto
from google.protobuf.descriptor_pool import DescriptorPool

from tiffin.wire.buildkit.schema import SCHEMA

_SCALARS = {
    "text": FieldDescriptorProto.TYPE_STRING,
    "bytes": FieldDescriptorProto.TYPE_BYTES,
    "bool": FieldDescriptorProto.TYPE_BOOL,
    "int32": FieldDescriptorProto.TYPE_INT32,
    "int64": FieldDescriptorProto.TYPE_INT64,
    "uint32": FieldDescriptorProto.TYPE_UINT32,
}
_FIELD = re.compile(r"(\|?)(\w+)=(\d+)(?::(\S+))?")
_MAP = re.compile(r"<(\w+),(\S+)>")


def pool() -> DescriptorPool:
    """All messages of the table."""
    found = DescriptorPool()
    names: list[str] = []
    for block in SCHEMA.replace("\\\n", "").split("package ")[1:]:
        package, *lines = block.splitlines()
        file = FileDescriptorProto(name=f"{package}.proto", package=package, syntax="proto3", dependency=names)
        for line in filter(str.strip, lines):
            name, *words = line.split()
            _fill(file.message_type.add(name=name), package, words)
        found.Add(file)
        names.append(file.name)
    return found


def _fill(message: DescriptorProto, package: str, words: list[str]) -> None:
    for word in words:
        match = _FIELD.fullmatch(word)
        if match is None:
            raise ValueError(f"{message.name}: {word} is no field")
        alternative, name, number, kind = match.groups()
        field = message.field.add(name=name, number=int(number), label=FieldDescriptorProto.LABEL_OPTIONAL)
        pair = _MAP.fullmatch(kind or "")
        if pair is not None:
            _fill_map(message, field, package, pair)
        else:
            _set_type(field, package, kind or "text")
        if alternative:
            if not message.oneof_decl:
                message.oneof_decl.add(name="alternative")
            field.oneof_index = 0


def _fill_map(message: DescriptorProto, field: FieldDescriptorProto, package: str, pair: re.Match[str]) -> None:
    # protobuf's own convention for the message behind a map
    entry = message.nested_type.add(
        name="".join(part[:1].upper() + part[1:] for part in field.name.split("_")) + "Entry"
    )
    entry.options.map_entry = True
    for number, (name, kind) in enumerate((("key", pair[1]), ("value", pair[2])), 1):
        inner = entry.field.add(name=name, number=number, label=FieldDescriptorProto.LABEL_OPTIONAL)
        _set_type(inner, package, kind)
    field.label = FieldDescriptorProto.LABEL_REPEATED
    field.type = FieldDescriptorProto.TYPE_MESSAGE
    field.type_name = f".{package}.{message.name}.{entry.name}"


def _set_type(field: FieldDescriptorProto, package: str, kind: str) -> None:
    if kind.endswith("*"):
        field.label = FieldDescriptorProto.LABEL_REPEATED
        kind = kind[:-1]
    if kind in _SCALARS:
        field.type = _SCALARS[kind]
    else:
        field.type = FieldDescriptorProto.TYPE_MESSAGE
        field.type_name = kind if kind.startswith(".") else f".{package}.{kind}"
