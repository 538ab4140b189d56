"""OCI `mounts`, devices, masked and read-only paths as operations of the plan."""

import os
from collections.abc import Iterable, Mapping
from typing import Any

from tiffin.errors import Invalid
from tiffin.linux import cgroups, mounts
from tiffin.runtime import compile_cgroups, plan
from tiffin.runtime.compile_linux import owner_map
from tiffin.runtime.compile_options import Options, clean, parse

EINVAL = 22

# what every container finds in /dev (config-linux.md, "Default Devices"): path, major, minor
DEFAULT_DEVICES = (
    ("/dev/null", 1, 3),
    ("/dev/zero", 1, 5),
    ("/dev/full", 1, 7),
    ("/dev/random", 1, 8),
    ("/dev/urandom", 1, 9),
    ("/dev/tty", 5, 0),
)
DEVICE_LINKS = (
    (b"/dev/fd", b"/proc/self/fd"),
    (b"/dev/stdin", b"/proc/self/fd/0"),
    (b"/dev/stdout", b"/proc/self/fd/1"),
    (b"/dev/stderr", b"/proc/self/fd/2"),
    (b"/dev/ptmx", b"pts/ptmx"),
)
# what lxcfs and its like may provide inside procfs
PROC_FILES = frozenset(
    "/proc/" + name
    for name in (
        *("cpuinfo", "diskstats", "meminfo", "stat", "swaps", "uptime", "loadavg", "slabinfo", "net/dev"),
        *("sys/kernel/ns_last_pid", "sys/crypto/fips_enabled"),
    )
)


def compile_mount(
    entry: Mapping[str, Any],
    *,
    bundle: str,
    hierarchies: cgroups.Hierarchies,
    place: cgroups.Cgroup,
    private_cgroup: bool,
    label: str = "",
) -> tuple[list[plan.Operation], list[plan.Operation]]:
    """(operations now, operations after everything else is in place) for one OCI mount. Raises Invalid."""
    destination = entry.get("destination") or ""
    if not destination:
        raise Invalid(f"invalid mount {dict(entry)}: mount destination is empty")
    target = clean(destination).encode("utf-8", "surrogateescape")
    options = parse(entry.get("options") or ())
    kind = entry.get("type") or ""
    source = entry.get("source") or ""
    _check_proc(target.decode("utf-8", "surrogateescape"), kind, source, options)
    if kind == "cgroup" and not options.bind:
        now = list(compile_cgroups.view(hierarchies, place, target, options, private=private_cgroup))
        return now, []
    if options.bind or kind == "bind":
        return [_bind(entry, target, source, options, bundle)], []
    if options.remount:
        attributes = (options.set, options.clear)
        return [plan.mount(target, b"remount", options=tuple(options.data), attributes=attributes)], []
    if not kind:
        raise Invalid(f"invalid mount {dict(entry)}: no type and neither bind nor rbind among its options")
    return _file_system(target, kind.encode(), source.encode(), options, label)


def _bind(entry: Mapping[str, Any], target: bytes, source: str, options: Options, bundle: str) -> plan.Operation:
    if not source:
        raise Invalid(f"invalid mount {dict(entry)}: a bind mount needs a source")
    idmap = None
    uids, gids = entry.get("uidMappings"), entry.get("gidMappings")
    if uids or gids:
        if not uids or not gids:
            raise Invalid(f"invalid mount {dict(entry)}: id-mapped mounts need both uidMappings and gidMappings")
        idmap = (owner_map(uids), owner_map(gids))
    elif options.idmap:
        idmap = (b"", b"")
    return plan.mount(
        target,
        b"bind",
        os.path.join(bundle, source).encode("utf-8", "surrogateescape"),
        attributes=(options.set, options.clear),
        recursive=(options.recursive_set, options.recursive_clear),
        propagation=options.propagation,
        bind=max(options.bind, 1),
        create=b"source",
        idmap=idmap,
        idmap_recursive=options.idmap_recursive,
        subpath=(entry.get("subpath") or "").encode("utf-8", "surrogateescape"),
    )


def _file_system(
    target: bytes, kind: bytes, source: bytes, options: Options, label: str
) -> tuple[list[plan.Operation], list[plan.Operation]]:
    after: list[plan.Operation] = []
    set_, data = options.set, list(options.data)
    if kind == b"tmpfs" and set_ & mounts.MOUNT_ATTR_RDONLY:
        # other mounts and devices may have to be made in it first
        set_ &= ~mounts.MOUNT_ATTR_RDONLY
        after = [plan.attributes(target, mounts.MOUNT_ATTR_RDONLY)]
    if label and kind in (b"tmpfs", b"devpts", b"mqueue") and not any(item.startswith(b"context=") for item in data):
        data.append(b'context="' + label.encode() + b'"')
    now = plan.mount(
        target,
        kind,
        source,
        options=tuple(data),
        attributes=(set_, 0),
        recursive=(options.recursive_set, options.recursive_clear),
        propagation=options.propagation,
        copy_up=options.copy_up,
    )
    return [now], after


def _check_proc(target: str, kind: str, source: str, options: Options) -> None:
    """Lexically; the stage checks again on what the path resolves to."""
    if target == "/proc":
        bound = options.bind or kind == "bind"
        if kind != "proc" and not (bound and os.path.normpath(source) == "/proc") and not options.remount:
            raise Invalid('"/proc" cannot be mounted because it is not of type proc')
    elif target.startswith("/proc/") and target not in PROC_FILES:
        raise Invalid(f'"{target}" cannot be mounted because it is inside /proc')


def devices(entries: Iterable[Mapping[str, Any]], *, kcore: bool, bind: bool = False) -> list[plan.Operation]:
    """Nodes and links in the container's own /dev. Raises Invalid for a type that mknod(2) lacks.

    bind: this process may not make nodes (it lives in a user namespace), so the machine's own are bound.
    """
    found: dict[str, plan.Operation] = {
        path: plan.device(path.encode(), b"c", major, minor, 0o666) for path, major, minor in DEFAULT_DEVICES
    }
    for entry in entries:
        kind, path = entry.get("type", ""), clean(entry.get("path") or "/")
        if kind not in ("c", "u", "b", "p"):
            raise Invalid(f"invalid device type {kind!r} of {path}: expected b, c, u or p")
        if not entry.get("path", "").startswith("/"):
            raise Invalid(f"device path {entry.get('path')!r} is not absolute")
        if path == "/dev/ptmx":
            continue  # the container's own devpts provides it
        mode = entry.get("fileMode")
        found[path] = plan.device(
            path.encode(),
            kind.encode(),
            entry.get("major") or 0,
            entry.get("minor") or 0,
            0o666 if mode is None else mode,
            entry.get("uid") or 0,
            entry.get("gid") or 0,
        )
    links = list(DEVICE_LINKS)
    if kcore:
        links.append((b"/dev/core", b"/proc/kcore"))
    if bind:
        for path in found:
            found[path] = plan.mount(path.encode(), b"bind", path.encode(), bind=1, create=b"file")
    return list(found.values()) + [plan.symlink(target, content) for target, content in links]


def own_dev(entries: Iterable[Mapping[str, Any]]) -> bool:
    """Whether /dev is the container's: one bound from the host is left as it is."""
    for entry in entries:
        if clean(entry.get("destination") or "") == "/dev":
            return not (entry.get("type") == "bind" or {"bind", "rbind"} & set(entry.get("options") or ()))
    return True
