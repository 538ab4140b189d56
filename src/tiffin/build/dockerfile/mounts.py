"""RUN --mount and --device: comma-separated key=value fields, quoted as in CSV."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

from tiffin.build.dockerfile.gotext import parse_bool, parse_bytes, parse_unsigned, quoted, with_suggestion
from tiffin.build.dockerfile.source import DockerfileError

TYPES = ("bind", "cache", "tmpfs", "secret", "ssh")
SHARING = ("shared", "private", "locked")
_KEYS = (
    "type", "from", "source", "target", "readonly", "id", "sharing", "required", "size", "mode", "uid", "gid",
    "src", "dst", "destination", "ro", "rw", "readwrite", "env",
)  # fmt: skip
_DEVICE_KEYS = ("name", "required")
_OWNED = ("secret", "ssh", "cache")


@dataclass(frozen=True, slots=True)
class Mount:
    """As written. `source_stage` is `from`; size in bytes; env "" is the default name, None is not asked for."""

    type: str = "bind"
    source_stage: str = ""
    source: str = ""
    target: str = ""
    read_only: bool = True
    size: int = 0
    id: str = ""
    sharing: str = ""
    required: bool = False
    env: str | None = None
    mode: int | None = None
    uid: int | None = None
    gid: int | None = None


@dataclass(frozen=True, slots=True)
class Device:
    name: str
    required: bool = False


def split_fields(text: str) -> list[str]:
    """The fields of one CSV line; DockerfileError with encoding/csv's words."""
    fields: list[str] = []
    at = 0
    while True:
        if not text.startswith('"', at):
            end = text.find(",", at)
            field = text[at:] if end < 0 else text[at:end]
            if '"' in field:
                raise DockerfileError(
                    f'parse error on line 1, column {at + field.index(chr(34)) + 1}: bare " in non-quoted field'
                )
            fields.append(field)
            if end < 0:
                return fields
            at = end + 1
            continue
        field, at = _quoted_field(text, at + 1)
        fields.append(field)
        if at == len(text):
            return fields
        at += 1


def _quoted_field(text: str, at: int) -> tuple[str, int]:
    field = ""
    while True:
        end = text.find('"', at)
        if end < 0:
            raise DockerfileError(f'parse error on line 1, column {len(text)}: extraneous or missing " in quoted-field')
        field += text[at:end]
        if text.startswith('""', end):
            field, at = field + '"', end + 2
            continue
        if end + 1 < len(text) and text[end + 1] != ",":
            raise DockerfileError(f'parse error on line 1, column {end + 2}: extraneous or missing " in quoted-field')
        return field, end + 1


def mount_source(text: str) -> str:
    """The `from` of a mount whose variables are not known yet, "" without one; it can't be a variable itself."""
    found = ""
    for field in _mount_fields(text):
        key, _, value = field.partition("=")
        if key.lower() == "from":
            if "$" in value[:-1]:
                raise DockerfileError("'from' doesn't support variable expansion, define alias stage instead")
            found = value
    return found


def _mount_fields(text: str) -> list[str]:
    try:
        return split_fields(text)
    except DockerfileError as error:
        raise error.prefixed("failed to parse csv mounts: ") from None


def parse_mount(text: str, expand: Callable[[str], str]) -> Mount:
    """DockerfileError in BuildKit's words."""
    mount, explicit = Mount(read_only=False), False
    for field in _mount_fields(text):
        key, equals, value = field.partition("=")
        key = key.lower()
        if key in ("readonly", "ro", "readwrite", "rw"):
            on = _boolean(key, expand(value)) if equals else True
            mount, explicit = replace(mount, read_only=on == key.startswith(("readonly", "ro"))), True
        elif key == "required":
            mount = replace(
                _only(mount, key, "secret", "ssh"), required=_boolean(key, expand(value)) if equals else True
            )
        elif not equals:
            raise DockerfileError(f"invalid field '{field}' must be a key=value pair")
        else:
            mount = _with(mount, key, expand(value), field)
    _check(mount)
    return mount if explicit else replace(mount, read_only=mount.type not in ("cache", "tmpfs"))


def _boolean(key: str, value: str) -> bool:
    try:
        return parse_bool(value)
    except ValueError:
        raise DockerfileError(f"invalid value for {key}: {value}") from None


def _only(mount: Mount, key: str, *types: str) -> Mount:
    if mount.type not in types:
        raise DockerfileError(f"unexpected key '{key}' for mount type '{mount.type}'")
    return mount


_TEXTS = {
    "from": "source_stage", "source": "source", "src": "source", "target": "target", "dst": "target",
    "destination": "target", "id": "id", "env": "env",
}  # fmt: skip


def _with(mount: Mount, key: str, value: str, field: str) -> Mount:
    if key in _TEXTS:
        changed: dict[str, Any] = {_TEXTS[key]: value}
    elif key == "type":
        changed = {"type": _choice(value, TYPES, f"unsupported mount type {quoted(value)}")}
    elif key == "sharing":
        changed = {"sharing": _choice(value, SHARING, f"unsupported sharing value {quoted(value)}")}
    elif key == "size":
        _only(mount, key, "tmpfs")
        try:
            changed = {"size": parse_bytes(value)}
        except ValueError:
            raise DockerfileError(f"invalid value for {key}: {value}") from None
    elif key in ("mode", "uid", "gid"):
        try:
            changed = {key: parse_unsigned(value, 8 if key == "mode" else 10)}
        except ValueError:
            raise DockerfileError(f"invalid value {value} for {key}") from None
    else:
        raise DockerfileError(with_suggestion(f"unexpected key '{key}' in '{field}'", key, _KEYS))
    return replace(mount, **changed)


def _choice(value: str, known: tuple[str, ...], message: str) -> str:
    if value.lower() not in known:
        raise DockerfileError(with_suggestion(message, value, known))
    return value.lower()


def _check(mount: Mount) -> None:
    if mount.type not in _OWNED:
        for name in ("mode", "uid", "gid"):
            if getattr(mount, name) is not None:
                raise DockerfileError(f"{name} not allowed for {quoted(mount.type)} type mounts")
    if mount.type == "secret":
        if mount.source_stage:
            raise DockerfileError("secret mount should not have a from")
        if mount.sharing:
            raise DockerfileError("secret mount should not define sharing")
        if not (mount.source or mount.target or mount.id):
            raise DockerfileError("invalid secret mount. one of source, target required")
        if mount.source and mount.id:
            raise DockerfileError("both source and id can't be set")
    if mount.sharing and mount.type != "cache":
        raise DockerfileError(f"invalid cache sharing set for {mount.type} mount")


def parse_device(text: str) -> Device:
    """`vendor.com/class=name,required`. DockerfileError in BuildKit's words."""
    try:
        fields = split_fields(text)
    except DockerfileError as error:
        raise error.prefixed("failed to parse csv devices: ") from None
    name, required = "", False
    for field in fields:
        key, equals, value = field.partition("=")
        key = key.lower()
        if key == "required":
            required = _boolean(key, value) if equals else True
        elif key == "name" and equals:
            if name:
                raise DockerfileError(f"device name already set to {name}")
            name = value
        elif not name:
            name = field
        elif not equals:
            raise DockerfileError(f"invalid field '{field}' must be a key=value pair")
        else:
            raise DockerfileError(with_suggestion(f"unexpected key '{key}' in '{field}'", key, _DEVICE_KEYS))
    return Device(name, required)
