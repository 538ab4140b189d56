"""Where a container's mounts come from: `-v` strings, `--mount` requests, the image's volumes, other containers'."""

import os
import posixpath
import re
import secrets
from collections.abc import Callable, Iterable
from dataclasses import replace

from tiffin.errors import Invalid
from tiffin.model.container import Config, Container
from tiffin.model.container_host import (
    BindOptions,
    HostConfig,
    IdMapping,
    MountPoint,
    MountRequest,
    TmpfsOptions,
    VolumeOptions,
)

_VOLUME_NAME = re.compile(r"[a-zA-Z0-9][a-zA-Z0-9_.-]+")
_PROPAGATIONS = frozenset(("shared", "rshared", "slave", "rslave", "private", "rprivate"))
_CONSISTENCIES = frozenset(("consistent", "cached", "delegated"))


def settle(config: Config, host: HostConfig, find: Callable[[str], Container]) -> tuple[MountPoint, ...]:
    """Every mount that the request and the image ask for, one a destination. Raises Invalid.

    A later kind wins over an earlier: volumes from other containers, `-v` strings, `--mount`; what the image declares
    only fills in. Volumes have no source yet: the caller creates them.
    """
    points: dict[str, MountPoint] = {}
    for reference in host.volumes_from or ():
        points.update((point.destination, point) for point in _from_container(reference, find))
    asked: set[str] = set()
    for text in host.binds or ():
        _add(points, asked, parse_bind(text, host.volume_driver))
    for request in host.mounts or ():
        _add(points, asked, parse_request(request))
    for destination in host.tmpfs or {}:
        _check_destination("tmpfs", destination)
        if (path := posixpath.normpath(destination)) in asked:
            raise Invalid(f"Duplicate mount point: {path}")
    taken = {posixpath.normpath(path) for path in host.tmpfs or {}}
    for path in config.volumes or {}:
        destination = posixpath.normpath("/" + path.lstrip("/"))
        if destination not in points and destination not in taken:
            _check_destination("volume", destination)
            points[destination] = _anonymous(destination, host.volume_driver)
    return tuple(points[key] for key in sorted(points))


def _add(points: dict[str, MountPoint], asked: set[str], point: MountPoint) -> None:
    if point.destination in asked:
        raise Invalid(f"Duplicate mount point: {point.destination}")
    asked.add(point.destination)
    points[point.destination] = point


def _anonymous(destination: str, driver: str) -> MountPoint:
    return MountPoint(
        "volume", destination, name=secrets.token_hex(32), driver=driver or "local", copy_up=True, anonymous=True
    )


def _from_container(reference: str, find: Callable[[str], Container]) -> Iterable[MountPoint]:
    name, _, mode = reference.partition(":")
    if not name:
        raise Invalid(f"malformed volumes-from specification: {reference}")
    for word in filter(None, mode.split(",")):
        if word not in ("ro", "rw", "z", "Z"):
            raise Invalid(f"invalid mode: {mode}")
    for point in find(name).mounts:
        yield replace(point, rw=point.rw and "ro" not in mode.split(","), mode=mode or point.mode, copy_up=False)


def parse_bind(text: str, volume_driver: str = "") -> MountPoint:
    """`source:destination[:mode]`, `name:destination[:mode]` or `destination`. Raises Invalid with docker's words."""
    parts = text.split(":")
    if len(parts) > 3 or not all(parts[: 2 if len(parts) > 1 else 1]):
        raise Invalid(f"invalid volume specification: '{text}'")
    mode = parts[2] if len(parts) == 3 else ""
    source, destination = ("", parts[0]) if len(parts) == 1 else (parts[0], parts[1])
    words = [word for word in mode.split(",") if word]
    if len(parts) == 3 and not mode:
        raise Invalid(f"invalid volume specification: '{text}'")
    propagation = _check_mode(mode, words, text, is_bind=source.startswith("/"))
    kind = "bind" if source.startswith("/") else "volume"
    destination = _check_destination(kind, destination, text)
    if kind == "bind":
        return MountPoint(
            "bind",
            destination,
            source=posixpath.normpath(source),
            mode=mode,
            rw="ro" not in words,
            propagation=propagation or "rprivate",
            create=True,
        )
    if not source:
        return replace(_anonymous(destination, volume_driver), rw="ro" not in words, mode=mode)
    check_volume_name(source)
    return MountPoint(
        "volume",
        destination,
        name=source,
        driver=volume_driver or "local",
        mode=mode or "z",
        rw="ro" not in words,
        copy_up="nocopy" not in words,
    )


def _check_mode(mode: str, words: list[str], text: str, is_bind: bool) -> str:
    kinds: dict[str, int] = {}
    propagation = ""
    for word in words:
        if word in ("ro", "rw"):
            kind = "access"
        elif word in ("z", "Z"):
            kind = "label"
        elif word in _PROPAGATIONS and is_bind:
            kind, propagation = "propagation", word
        elif word == "nocopy" and not is_bind:
            kind = "copy"
        elif word in _CONSISTENCIES:
            kind = "consistency"
        else:
            raise Invalid(f"invalid volume specification: '{text}': invalid mode: {mode}")
        kinds[kind] = kinds.get(kind, 0) + 1
    if any(count > 1 for count in kinds.values()):
        raise Invalid(f"invalid volume specification: '{text}': invalid mode: {mode}")
    return propagation


def check_volume_name(name: str) -> None:
    if not _VOLUME_NAME.fullmatch(name):
        raise Invalid(
            f'create {name}: "{name}" includes invalid characters for a local volume name, only'
            ' "[a-zA-Z0-9][a-zA-Z0-9_.-]" are allowed. If you intended to pass a host directory, use absolute path'
        )


def _check_destination(kind: str, destination: str, text: str | None = None) -> str:
    if not destination.startswith("/"):
        problem = _config(kind, f"invalid mount path: '{destination}' mount path must be absolute")
        raise Invalid(f"invalid volume specification: '{text}': {problem}" if text else problem)
    clean = posixpath.normpath("/" + destination.lstrip("/"))
    if clean == "/":
        problem = "invalid specification: destination can't be '/'"
        raise Invalid(f"invalid volume specification: '{text}': {problem}" if text else _config(kind, problem))
    return clean


def _config(kind: str, problem: str) -> str:
    return f'invalid mount config for type "{kind}": {problem}'


def parse_request(request: MountRequest) -> MountPoint:
    """A `--mount`. Raises Invalid with docker's words."""
    kind = request.type
    if kind not in ("bind", "volume", "tmpfs", "image"):
        raise Invalid(f'invalid mount config for type "{kind}": mount type unknown')
    if not request.target:
        raise Invalid(_config(kind, "field Target must not be empty"))
    for name, options, owner in (
        ("BindOptions", request.bind_options, "bind"),
        ("VolumeOptions", request.volume_options, "volume"),
        ("TmpfsOptions", request.tmpfs_options, "tmpfs"),
        ("ImageOptions", request.image_options, "image"),
    ):
        if options is not None and owner != kind:
            raise Invalid(_config(kind, f"field {name} must not be specified"))
    destination = _check_destination(kind, request.target)
    match kind:
        case "bind":
            return _bind_request(request, destination)
        case "volume":
            return _volume_request(request, destination)
        case "image":
            return _image_request(request, destination)
    if request.source:
        raise Invalid(_config(kind, "field Source must not be specified"))
    return MountPoint("tmpfs", destination, rw=not request.read_only, options=tmpfs_options(request), request=request)


def _bind_request(request: MountRequest, destination: str) -> MountPoint:
    if not request.source:
        raise Invalid(_config("bind", "field Source must not be empty"))
    if not request.source.startswith("/"):
        raise Invalid(_config("bind", f"invalid mount path: '{request.source}' mount path must be absolute"))
    options = request.bind_options or BindOptions()
    if options.propagation and options.propagation not in _PROPAGATIONS:
        raise Invalid(_config("bind", f"invalid propagation mode: {options.propagation}"))
    if options.read_only_force_recursive and (not request.read_only or options.non_recursive):
        raise Invalid(_config("bind", "ReadOnlyForceRecursive needs ReadOnly and a recursive mount"))
    _check_id_mapping(options.id_mapping)
    source = posixpath.normpath(request.source)
    if not options.create_mountpoint and not os.path.exists(source):
        raise Invalid(_config("bind", f"bind source path does not exist: {source}"))
    recursive = "if-possible"
    if options.read_only_force_recursive:
        recursive = "force"
    elif options.read_only_non_recursive:
        recursive = "never"
    return MountPoint(
        "bind",
        destination,
        source=source,
        rw=not request.read_only,
        propagation=options.propagation or "rprivate",
        create=options.create_mountpoint,
        recursive=not options.non_recursive,
        read_only_recursive=recursive,
        request=request,
    )


def _check_id_mapping(wanted: IdMapping | None) -> None:
    if wanted is None:
        return
    if wanted.source == "userns":
        raise Invalid(_config("bind", "IDMapping from a user namespace needs a container that has one of its own"))
    if wanted.source != "match-user":
        raise Invalid(_config("bind", f"invalid IDMapping source: {wanted.source!r} (must be match-user)"))


def _volume_request(request: MountRequest, destination: str) -> MountPoint:
    options = request.volume_options or VolumeOptions()
    if request.source:
        check_volume_name(request.source)
    driver = options.driver_config.name if options.driver_config else ""
    if options.subpath and (not request.source or _leaves(options.subpath)):
        raise Invalid(_config("volume", f"subpath '{options.subpath}' must be a relative path inside a named volume"))
    return MountPoint(
        "volume",
        destination,
        name=request.source or secrets.token_hex(32),
        driver=driver or "local",
        mode="z",
        rw=not request.read_only,
        copy_up=not options.no_copy and not options.subpath,
        anonymous=not request.source,
        subpath=options.subpath,
        request=request,
    )


def _leaves(subpath: str) -> bool:
    return subpath.startswith("/") or posixpath.normpath(subpath).split("/")[0] == ".."


def _image_request(request: MountRequest, destination: str) -> MountPoint:
    if not request.source:
        raise Invalid(_config("image", "field Source must not be empty"))
    subpath = request.image_options.subpath if request.image_options else ""
    if subpath and _leaves(subpath):
        raise Invalid(_config("image", f"subpath '{subpath}' must be a relative path inside the image"))
    return MountPoint(
        "image",
        destination,
        source=request.source,
        rw=False,
        propagation="rprivate",
        subpath=subpath,
        request=request,
    )


def tmpfs_options(request: MountRequest) -> tuple[str, ...]:
    """Options of a `--mount type=tmpfs`, docker's defaults first."""
    given = request.tmpfs_options or TmpfsOptions()
    options = ["nosuid", "nodev", "noexec"]
    if given.mode:
        options.append(f"mode={given.mode:o}")
    if given.size_bytes:
        options.append(f"size={given.size_bytes}")
    for option in given.options or ():
        if option == ("exec",):
            options.remove("noexec")
        else:
            options.append("=".join(option))
    if request.read_only:
        options.append("ro")
    return tuple(options)
