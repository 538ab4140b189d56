"""Devices of a specification: nodes and the rules that allow them. Found on the host at start."""

import os
import re
import stat
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any

from tiffin.containers import cdi
from tiffin.errors import Invalid
from tiffin.model.container_host import DeviceMapping, DeviceRequest, HostConfig

_RULE = re.compile(r"([acb]) ((?:\d+|\*)):((?:\d+|\*)) ([rwm]{1,3})")
_PERMISSIONS = re.compile(r"[rwm]{1,3}")

Rule = dict[str, Any]
Node = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Devices:
    """Nodes to make, and rules in order, as the specification has them; what devices asked for by name change in it."""

    nodes: tuple[Node, ...]
    rules: tuple[Rule, ...]
    edits: tuple[cdi.Document, ...] = ()


def _allow(kind: str, major: int | None, minor: int | None, access: str) -> Rule:
    rule: Rule = {"allow": True, "type": kind, "access": access}
    if major is not None:
        rule["major"] = major
    if minor is not None:
        rule["minor"] = minor
    return rule


DEFAULT_RULES: tuple[Rule, ...] = (
    {"allow": False, "access": "rwm"},
    _allow("c", None, None, "m"),
    _allow("b", None, None, "m"),
    *(_allow("c", 1, minor, "rwm") for minor in (3, 5, 7, 8, 9)),
    *(_allow("c", 5, minor, "rwm") for minor in (0, 1, 2)),
    _allow("c", 136, None, "rwm"),
    _allow("c", 10, 200, "rwm"),
)


def check(host: HostConfig) -> None:
    """What can be told at create. Raises Invalid with docker's words."""
    for rule in host.device_cgroup_rules or ():
        if not _RULE.fullmatch(rule):
            raise Invalid(f"invalid device cgroup rule format: '{rule}'")
    for mapping in host.devices or ():
        if mapping.cgroup_permissions and not _PERMISSIONS.fullmatch(mapping.cgroup_permissions):
            raise Invalid(f"invalid device mode: {mapping.cgroup_permissions}")
    for request in host.device_requests or ():
        _check_request(request)


def _check_request(request: DeviceRequest) -> None:
    if request.count and request.device_ids:
        raise Invalid("invalid device request: cannot set both Count and DeviceIDs on device request")


def devices(host: HostConfig, directories: Sequence[str] = cdi.DIRECTORIES) -> Devices:
    """Raises Invalid for a device that is not there, and for requests that nothing on this machine can serve."""
    found = _given(host)
    if not host.device_requests:
        return found
    known = cdi.find(directories)
    return replace(found, edits=tuple(cdi.edits(cdi.wanted(host.device_requests, known), known)))


def _given(host: HostConfig) -> Devices:
    if host.privileged:
        return Devices(tuple(host_devices()), ({"allow": True, "access": "rwm"},))
    nodes: list[Node] = []
    rules = list(DEFAULT_RULES)
    for mapping in host.devices or ():
        for node in _mapped(mapping):
            nodes.append(node)
            rules.append(_allow(node["type"], node["major"], node["minor"], mapping.cgroup_permissions or "rwm"))
    for text in host.device_cgroup_rules or ():
        match = _RULE.fullmatch(text)
        if match:
            major, minor = (None if number == "*" else int(number) for number in match.group(2, 3))
            rules.append(_allow(match[1], major, minor, match[4]))
    return Devices(tuple(nodes), tuple(rules)) if nodes or len(rules) > len(DEFAULT_RULES) else _DEFAULT


_DEFAULT = Devices((), DEFAULT_RULES)


def _mapped(mapping: DeviceMapping) -> Iterator[Node]:
    source = mapping.path_on_host
    target = mapping.path_in_container or source
    failure = f'error gathering device information while adding custom device "{source}"'
    try:
        real = os.path.realpath(source, strict=True)
        status = os.stat(real)
        if stat.S_ISDIR(status.st_mode):
            found = list(_below(real, target))
            if not found:
                raise Invalid(f"{failure}: not a device node")
            yield from found
            return
    except FileNotFoundError as error:
        raise Invalid(f"{failure}: no such file or directory") from error
    except OSError as error:
        raise Invalid(f"{failure}: {error.strerror}") from error
    node = _node(status, target)
    if node is None:
        raise Invalid(f"{failure}: not a device node")
    yield node


def _below(directory: str, target: str) -> Iterator[Node]:
    for entry in sorted(os.scandir(directory), key=lambda item: item.name):
        if entry.is_dir(follow_symlinks=False):
            yield from _below(entry.path, f"{target}/{entry.name}")
        elif node := _node(entry.stat(follow_symlinks=False), f"{target}/{entry.name}"):
            yield node


def _node(status: os.stat_result, path: str) -> Node | None:
    if stat.S_ISCHR(status.st_mode):
        kind = "c"
    elif stat.S_ISBLK(status.st_mode):
        kind = "b"
    else:
        return None
    return {
        "path": path,
        "type": kind,
        "major": os.major(status.st_rdev),
        "minor": os.minor(status.st_rdev),
        "fileMode": stat.S_IMODE(status.st_mode),
        "uid": status.st_uid,
        "gid": status.st_gid,
    }


_OWN_BY_CONTAINER = frozenset(("pts", "shm", "fd", "mqueue", ".lxc", ".lxd-mounts", ".udev"))
_MADE_ANYWAY = frozenset(
    f"/dev/{name}" for name in ("null", "zero", "full", "random", "urandom", "tty", "console", "ptmx")
)


def host_devices() -> Iterator[Node]:
    """Every device node of the host, for a privileged container."""
    for entry in sorted(os.scandir("/dev"), key=lambda item: item.name):
        if entry.name in _OWN_BY_CONTAINER or entry.path in _MADE_ANYWAY:
            continue
        try:
            if entry.is_dir(follow_symlinks=False):
                yield from _below(entry.path, entry.path)
            elif node := _node(entry.stat(follow_symlinks=False), entry.path):
                yield node
        except FileNotFoundError:
            continue  # it went away while we looked


@lru_cache(64)
def number_of(path: str) -> tuple[int, int]:
    """Major and minor of a block device, for throttling. Raises Invalid."""
    try:
        status = os.stat(path)
    except OSError as error:
        raise Invalid(f"{path}: {(error.strerror or '').lower()}") from error
    return os.major(status.st_rdev), os.minor(status.st_rdev)
