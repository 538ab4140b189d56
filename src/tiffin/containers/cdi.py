"""Devices by name, as the Container Device Interface describes them.

A vendor's tool (nvidia-ctk, for one) leaves files in /etc/cdi and /var/run/cdi that say, for each
`vendor/class=device`, what a container needs: device nodes, mounts, hooks, variables.
Source: SPEC.md of cncf-tags/container-device-interface, 1.0.
"""

import json
import os
import re
import stat
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from tiffin.errors import Invalid
from tiffin.model.container_host import DeviceRequest

DIRECTORIES = ("/etc/cdi", "/var/run/cdi")

_KIND = re.compile(r"[A-Za-z][A-Za-z0-9_.-]*[A-Za-z0-9]/[A-Za-z][A-Za-z0-9_-]*[A-Za-z0-9]|[A-Za-z]/[A-Za-z]")
_HOOKS = ("prestart", "createRuntime", "createContainer", "startContainer", "poststart", "poststop")
_KINDS_OF_NODE = {"c": stat.S_ISCHR, "u": stat.S_ISCHR, "b": stat.S_ISBLK, "p": stat.S_ISFIFO}
_FAILURE = "CDI device injection failed"

Document = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Device:
    """One device of one file: `edits` are the file's own, then the device's."""

    file: str
    name: str
    shared: Document
    own: Document


def wanted(requests: Iterable[DeviceRequest], known: Mapping[str, Device]) -> list[str]:
    """Fully qualified names for what `--device vendor/class=name` and `--gpus` ask for.

    Raises Invalid with docker's words where nothing on this machine can serve a request.
    """
    names: list[str] = []
    for request in requests:
        found = request.device_ids or () if request.driver == "cdi" else _gpus(request, known)
        names.extend(name for name in found if name not in names)
    return names


def _gpus(request: DeviceRequest, known: Mapping[str, Device]) -> list[str]:
    asked = {capability for group in request.capabilities or () for capability in group}
    kinds = {name.partition("=")[0] for name in known if name.partition("=")[0].endswith("/gpu")}
    vendors = sorted(kind for kind in kinds if request.driver in ("", kind.partition(".")[0]))
    if "gpu" not in asked or not vendors:
        groups = " ".join("[" + " ".join(group) + "]" for group in request.capabilities or ())
        raise Invalid(f'could not select device driver "{request.driver}" with capabilities: [{groups}]')
    kind = "nvidia.com/gpu" if "nvidia.com/gpu" in vendors else vendors[0]
    if request.device_ids:
        return [f"{kind}={name}" for name in request.device_ids]
    if request.count < 0:
        return [f"{kind}=all"]
    return [f"{kind}={index}" for index in range(request.count)]


def find(directories: Sequence[str]) -> dict[str, Device]:
    """Every device that the files describe, by name. A later directory overrides an earlier one; two files of the same
    directory that describe one device take each other out, as the interface asks. Raises Invalid for a malformed file.
    """
    found: dict[str, Device] = {}
    for directory in directories:
        here: dict[str, Device] = {}
        clashes: set[str] = set()
        for path in _files(directory):
            for device in _devices(path, _read(path)):
                if device.name in here and here[device.name].file != path:
                    clashes.add(device.name)
                here[device.name] = device
        found.update(here)
        for name in clashes:
            del found[name]
    return found


def _files(directory: str) -> list[str]:
    try:
        names = sorted(os.listdir(directory))
    except (FileNotFoundError, NotADirectoryError):
        return []
    return [os.path.join(directory, name) for name in names if name.endswith((".json", ".yaml", ".yml"))]


def _read(path: str) -> Document:
    try:
        with open(path, encoding="utf-8") as file:
            document: Any = json.load(file) if path.endswith(".json") else _yaml(file.read())
    except (OSError, ValueError, RecursionError) as error:
        raise Invalid(f"{_FAILURE}: cannot read {path}: {error}") from error
    kind = document.get("kind") if isinstance(document, dict) else None
    if not isinstance(kind, str) or not _KIND.fullmatch(kind):
        raise Invalid(f'{_FAILURE}: {path} has no valid "kind" (vendor.com/class)')
    return dict(document)


def _yaml(text: str) -> Any:
    import yaml  # 15 ms, and only where a file is YAML

    try:
        return yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise ValueError(str(error).replace("\n", " ")) from error


def _devices(path: str, document: Document) -> Iterator[Device]:
    shared = document.get("containerEdits") or {}
    for item in document.get("devices") or ():
        if not isinstance(item, dict) or not isinstance(item.get("name"), str):
            raise Invalid(f"{_FAILURE}: {path} has a device without a name")
        yield Device(path, f"{document['kind']}={item['name']}", shared, item.get("containerEdits") or {})


def edits(names: Sequence[str], known: Mapping[str, Device]) -> list[Document]:
    """What the named devices change, in order; what a file says for all its devices comes once, before its first."""
    missing = [name for name in names if name not in known]
    if missing:
        raise Invalid(f"{_FAILURE}: unresolvable CDI devices {', '.join(missing)}")
    found: list[Document] = []
    files: set[str] = set()
    for name in names:
        device = known[name]
        if device.file not in files:
            files.add(device.file)
            found.append(device.shared)
        found.append(device.own)
    return found


def apply(spec: dict[str, Any], changes: Iterable[Document]) -> None:
    """Change an OCI runtime specification in place. Raises Invalid for a node that is not on this machine."""
    for change in changes:
        try:
            _apply(spec, change)
        except (KeyError, TypeError, AttributeError, ValueError) as error:
            raise Invalid(f"{_FAILURE}: malformed containerEdits: {error!r}") from error


def _apply(spec: dict[str, Any], change: Document) -> None:
    process, linux = spec["process"], spec["linux"]
    for variable in change.get("env") or ():
        name = variable.partition("=")[0]
        process["env"] = [one for one in process["env"] if one.partition("=")[0] != name] + [variable]
    for node in change.get("deviceNodes") or ():
        made, rule = _node(node, process["user"])
        linux["devices"] = [one for one in linux["devices"] if one["path"] != made["path"]] + [made]
        linux["resources"]["devices"] = [*linux["resources"].get("devices", ()), rule]
    for mount in change.get("mounts") or ():
        made_mount = _mount(mount)
        kept = [one for one in spec["mounts"] if one["destination"] != made_mount["destination"]]
        spec["mounts"] = [*kept, made_mount]
    for hook in change.get("hooks") or ():
        name, entry = _hook(hook)
        spec.setdefault("hooks", {}).setdefault(name, []).append(entry)
    groups = process["user"].setdefault("additionalGids", [])
    groups.extend(group for group in change.get("additionalGids") or () if group and group not in groups)


def _node(node: Document, user: Document) -> tuple[dict[str, Any], dict[str, Any]]:
    """The node and the rule that allows it; what the file leaves out is read from the host's node."""
    path, source = node["path"], node.get("hostPath") or node["path"]
    kind, major, minor = node.get("type"), node.get("major"), node.get("minor")
    if kind is None or (kind != "p" and major is None):
        try:
            status = os.stat(source)
        except OSError as error:
            raise Invalid(f"{_FAILURE}: device node {source}: {error.strerror}") from error
        kinds = [letter for letter, matches in _KINDS_OF_NODE.items() if letter != "u" and matches(status.st_mode)]
        if not kinds or (kind is not None and not _KINDS_OF_NODE[kind](status.st_mode)):
            raise Invalid(f"{_FAILURE}: {source} is not a device node of type {kind or 'c, b or p'}")
        kind = kind or kinds[0]
        major, minor = os.major(status.st_rdev), os.minor(status.st_rdev)
    made = {"path": path, "type": kind, "major": major or 0, "minor": minor or 0}
    made["fileMode"] = node["fileMode"] if node.get("fileMode") is not None else 0o666
    made["uid"] = node["uid"] if node.get("uid") is not None else user["uid"]
    made["gid"] = node["gid"] if node.get("gid") is not None else user["gid"]
    access = node.get("permissions") or "rwm"
    rule = {"allow": True, "type": kind, "major": major or 0, "minor": minor or 0, "access": access}
    return made, rule


def _mount(mount: Document) -> dict[str, Any]:
    return {
        "destination": mount["containerPath"],
        "source": mount["hostPath"],
        "type": mount.get("type") or "bind",
        "options": list(mount.get("options") or ("rbind",)),
    }


def _hook(hook: Document) -> tuple[str, dict[str, Any]]:
    name = hook["hookName"]
    if name not in _HOOKS:
        raise Invalid(f"{_FAILURE}: unknown hook {name!r}, one of {', '.join(_HOOKS)} is meant")
    entry: dict[str, Any] = {"path": hook["path"]}
    entry.update({key: hook[key] for key in ("args", "env", "timeout") if hook.get(key)})
    return name, entry
