"""Values inside templates, and how Go prints them: `map[a:b]`, `[a b]`, `<nil>`, `<no value>`.

A JSON document does not say which of its objects were structs in Go and which maps; the distinction shows when they are
printed and when a key is missing. `MAPS` and `LISTS` name the API's keys that hold maps and lists.
"""

from __future__ import annotations

import json

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    Object = dict[str, Any]
else:
    Object = dict

# fmt: off
MAPS = frozenset((
    "Annotations", "Args", "Attributes", "Containers", "Data", "DeviceInfo", "DriverOpts", "Endpoints", "Env",
    "ExposedPorts", "Labels", "LogOpts", "Networks", "Options", "PortBindings", "Ports", "Runtimes", "Status",
    "StorageOpt", "Sysctls", "TLSMaterial", "Tmpfs", "Volumes",
))
LISTS = frozenset((
    "Aliases", "Binds", "BlkioDeviceReadBps", "BlkioDeviceReadIOps", "BlkioDeviceWriteBps", "BlkioDeviceWriteIOps",
    "BlkioWeightDevice", "CapAdd", "CapDrop", "Capabilities", "Cmd", "Config", "DNSNames", "DeviceCgroupRules",
    "DeviceRequests", "Devices", "Dns", "DnsOptions", "DnsSearch", "Entrypoint", "Env", "ExecIDs", "ExtraHosts",
    "GroupAdd", "Layers", "Links", "MaskedPaths", "Mounts", "OnBuild", "ReadonlyPaths", "RepoDigests", "RepoTags",
    "SecurityOpt", "Shell", "Ulimits", "VolumesFrom", "Warnings",
))
# fmt: on


class Missing:
    """What a missing map entry gives: printed as `<no value>`."""

    def __bool__(self) -> bool:
        return False


MISSING = Missing()


class GoError(Exception):
    """A function or look-up failed; the text is Go's."""


class Record:
    """A row that computes its fields when asked: `fields` maps names to functions, those of methods take arguments."""

    type_name = "*formatter.Context"

    def names(self) -> list[str]:
        """The fields that `json` shows, in order."""
        raise NotImplementedError

    def field(self, name: str, arguments: list[Any]) -> Any:
        """Raises KeyError for an unknown name, GoError for wrong arguments."""
        raise NotImplementedError

    def document(self) -> dict[str, Any]:
        return {name: self.field(name, []) for name in sorted(self.names())}


class Typed(Object):
    """A JSON object that is a map (any key may be asked for) rather than a struct."""


class NilList(list):  # type: ignore[type-arg]
    """A slice that is nil: empty to templates, null in JSON."""


class NilMap(Typed):
    """A map that is nil."""


class Struct(Object):
    """A JSON object that was a struct whose empty fields JSON leaves out: `known` are all its fields, in order."""

    known: tuple[tuple[str, Any], ...] = ()

    @classmethod
    def of(cls, values: dict[str, Any], known: tuple[tuple[str, Any], ...]) -> Struct:
        made = cls(values)
        made.known = known
        return made

    def complete(self) -> dict[str, Any]:
        return {**{name: self.get(name, default) for name, default in self.known}, **self}


STRUCTS: dict[str, tuple[tuple[str, Any], ...]] = {
    "State": (
        *((name, False) for name in ("Status", "Running", "Paused", "Restarting", "OOMKilled", "Dead")),
        *((name, "") for name in ("Pid", "ExitCode", "Error", "StartedAt", "FinishedAt")),
        ("Health", None),
    ),
    "Config": (
        *((name, "") for name in ("Hostname", "Domainname", "User")),
        *((name, False) for name in ("AttachStdin", "AttachStdout", "AttachStderr")),
        ("ExposedPorts", Typed()),
        *((name, False) for name in ("Tty", "OpenStdin", "StdinOnce")),
        ("Env", []),
        ("Cmd", []),
        ("Healthcheck", None),
        ("ArgsEscaped", False),
        ("Image", ""),
        ("Volumes", Typed()),
        ("WorkingDir", ""),
        ("Entrypoint", []),
        ("NetworkDisabled", False),
        ("MacAddress", ""),
        ("OnBuild", []),
        ("Labels", Typed()),
        ("StopSignal", ""),
        ("StopTimeout", None),
        ("Shell", []),
    ),
    "HostConfig": (
        ("Annotations", Typed()),
        ("StorageOpt", Typed()),
        ("Tmpfs", Typed()),
        ("Sysctls", Typed()),
        ("Mounts", []),
        ("Init", None),
    ),
}
_CONTAINER: tuple[tuple[str, Any], ...] = (("SizeRw", None), ("SizeRootFs", None), ("ImageManifestDescriptor", None))
_VOLUME: tuple[tuple[str, Any], ...] = (("ClusterVolume", None), ("Status", NilMap()), ("UsageData", None))
_IMAGE: tuple[tuple[str, Any], ...] = (
    *((name, "") for name in ("Variant", "OsVersion")),
    ("Descriptor", None),
    ("Manifests", []),
)


def mark(value: Any, key: str = "", parent: str = "") -> Any:
    """The document with its maps and known structs marked."""
    if isinstance(value, dict):
        marked = {name: mark(item, name, key) for name, item in value.items()}
        names = "".join(value)
        if key in MAPS or (key, parent) == ("Config", "LogConfig") or "." in names or "/" in names:
            return Typed(marked)
        if not value and parent not in MAPS:
            return Typed()
        if key in STRUCTS and parent != "GraphDriver":
            return Struct.of(marked, STRUCTS[key])
        if not key and "Mountpoint" in value:
            return Struct.of(marked, _VOLUME)
        if not key and ("HostConfig" in value or "RootFS" in value):
            return Struct.of(marked, _CONTAINER if "HostConfig" in value else _IMAGE)
        return marked
    if isinstance(value, list):
        return [mark(item, key, parent) for item in value]
    if value is None and key in LISTS:
        return NilList()
    if value is None and key in MAPS:
        return NilMap()
    return value


def number(value: float) -> str:
    """A float as %v prints it."""
    if value != value:
        return "NaN"
    if value in (float("inf"), float("-inf")):
        return "+Inf" if value > 0 else "-Inf"
    magnitude = abs(value)
    if magnitude and (magnitude < 1e-4 or magnitude >= 1e21):
        mantissa, _, exponent = repr(float(value)).partition("e")
        if not exponent:
            mantissa, _, exponent = f"{value:e}".partition("e")
            mantissa = mantissa.rstrip("0").rstrip(".")
        return f"{mantissa}e{exponent[0]}{exponent[1:]:>02}"
    text = format(value, "f") if "e" in repr(value) else repr(value)
    return text.removesuffix(".0")


def show(value: Any) -> str:
    """As `%v` and a template's output print it."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str):
        return value
    if value is None:
        return "<nil>"
    if isinstance(value, Missing):
        return "<no value>"
    if isinstance(value, float):
        return number(value)
    if isinstance(value, Typed):
        return "map[" + " ".join(f"{key}:{show(value[key])}" for key in sorted(value)) + "]"
    if isinstance(value, Struct):
        value = value.complete()
    if isinstance(value, dict):
        return "{" + " ".join(show(item) for item in value.values()) + "}"
    if isinstance(value, list | tuple):
        return "[" + " ".join(show(item) for item in value) + "]"
    if isinstance(value, Record):
        return show(value.document())
    return str(value)


def plain(value: Any) -> Any:
    """What json.dumps understands."""
    if isinstance(value, Record):
        return value.document()
    if isinstance(value, Missing):
        return None
    if isinstance(value, dict):
        return {key: plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    return value


def go_json(value: Any, indent: str | None = None) -> str:
    """JSON as Go's encoder writes it, maps sorted. Rows have `<`, `>`, `&` escaped, documents have not."""
    text = json.dumps(
        _sorted_maps(value),
        ensure_ascii=False,
        separators=(",", ":") if indent is None else (",", ": "),
        indent=indent,
    )
    for character in "<>&\u2028\u2029" if isinstance(value, Record) else "":
        text = text.replace(character, f"\\u{ord(character):04x}")
    return text


def _sorted_maps(value: Any) -> Any:
    if isinstance(value, Record | Missing):
        return plain(value)
    if isinstance(value, NilList | NilMap):
        return None
    if isinstance(value, Typed):
        return {key: _sorted_maps(value[key]) for key in sorted(value)}
    if isinstance(value, dict):
        return {key: _sorted_maps(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_sorted_maps(item) for item in value]
    return value


def quoted(text: str) -> str:
    """A Go string literal."""
    short = {"\n": "\\n", "\t": "\\t", "\r": "\\r", '"': '\\"', "\\": "\\\\", "\a": "\\a", "\b": "\\b"}
    pieces = []
    for character in text:
        if character in short:
            pieces.append(short[character])
        elif character == "\v":
            pieces.append("\\v")
        elif character.isprintable():
            pieces.append(character)
        elif ord(character) < 0x80:
            pieces.append(f"\\x{ord(character):02x}")
        else:
            pieces.append(f"\\u{ord(character):04x}" if ord(character) < 0x10000 else f"\\U{ord(character):08x}")
    return '"' + "".join(pieces) + '"'


def type_name(value: Any) -> str:
    """A Go type for error messages."""
    if isinstance(value, Record):
        return value.type_name
    if isinstance(value, bool):
        return "bool"
    if isinstance(value, int):
        return "int"
    if isinstance(value, float):
        return "float64"
    if isinstance(value, str):
        return "string"
    if isinstance(value, list | tuple):
        return "[]interface {}"
    if isinstance(value, dict):
        return "map[string]interface {}"
    return "interface {}"


def truth(value: Any) -> bool:
    """Whether `if` takes it for true: not zero, not empty, not nil."""
    return True if isinstance(value, Record) else bool(value)
