"""Files into and out of containers (`docker cp`), running or not, by descriptors of their root. Every call blocks."""

from __future__ import annotations

import os
import posixpath
import stat
from collections.abc import Callable, Iterator
from contextlib import ExitStack, suppress
from dataclasses import dataclass, replace

from tiffin.containers.users import resolve
from tiffin.content.compression import Readable, decompressed
from tiffin.engine import container_root
from tiffin.engine.container_context import Context
from tiffin.errors import Forbidden, Invalid, NotFound
from tiffin.linux import paths
from tiffin.model.container import Container
from tiffin.model.container_host import MountPoint
from tiffin.model.container_status import process_of
from tiffin.snapshots.extract import Options, extract
from tiffin.snapshots.pack import END, Packer

_LSTAT = os.O_PATH | os.O_NOFOLLOW


@dataclass(frozen=True, slots=True)
class PathStat:
    """What `X-Docker-Container-Path-Stat` says; `link_target` is absolute inside the container, "" for no link."""

    name: str
    status: os.stat_result
    link_target: str


@dataclass(frozen=True, slots=True)
class _Place:
    """A path of a container: the root it is resolved in, and what is left of it there."""

    root: int
    path: str
    mount: MountPoint | None


class Archives:
    def __init__(self, context: Context) -> None:
        self._context = context

    def stat(self, reference: str, path: str) -> PathStat:
        """Raises NotFound, Invalid. The last component is not followed unless the path ends with a slash."""
        container = self._context.records.find(reference)
        with ExitStack() as undo:
            place = self._place(container, path, undo)
            fd = _open(place, path, reference, undo)
            status = os.fstat(fd)
            target = _target(place) if stat.S_ISLNK(status.st_mode) else ""
            return PathStat(_name(path), status, target)

    def get(self, reference: str, path: str) -> Iterator[bytes]:
        """A tar of the path under its last name. Raises NotFound, Invalid before the first piece is asked for."""
        container = self._context.records.find(reference)
        with ExitStack() as undo:
            place = self._place(container, path, undo)
            fd = _open(place, path, reference, undo)
            is_directory = stat.S_ISDIR(os.fstat(fd).st_mode)
            if is_directory:
                directory, name = os.dup(fd), b"."
            else:
                parent, _, last = place.path.rpartition("/")
                directory, name = paths.open_in(place.root, os.fsencode(parent or "/")), os.fsencode(last)
            undo.callback(os.close, directory)
            kept = undo.pop_all()
        archived = _archived(path)
        return _packed(directory, name, archived + "/" if is_directory else archived, kept)

    def put(
        self, reference: str, path: str, stream: Readable, *, keep_directories: bool = False, copy_owner: bool = False
    ) -> None:
        """Extract a tar, compressed or not, into a directory. Raises NotFound, Invalid, Forbidden, Conflict."""
        container = self._context.records.find(reference)
        with ExitStack() as undo:
            place = self._place(container, path, undo)
            _open(_Place(place.root, place.path + "/", place.mount), path, reference, undo, directory=True)
            if place.mount is not None and not place.mount.rw:
                raise Forbidden("mounted volume is marked read-only")
            if place.mount is None and container.host.readonly_rootfs:
                raise Forbidden("container rootfs is marked read-only")
            owner = self._owner(container, place.root) if copy_owner else None
            options = Options(keep_directories=keep_directories)
            if owner is not None:
                options = replace(options, owner=owner)
            _, plain = decompressed(stream)
            extract(place.root, plain, beneath=os.fsencode(place.path), options=options)

    def _owner(self, container: Container, root: int) -> Callable[[int, int], tuple[int, int]] | None:
        if not container.config.user:
            return None
        user = resolve(container.config.user, (), lambda path: container_root.read_small(root, path))
        return lambda uid, gid: (user.uid, user.gid)

    def _root(self, container: Container, pid: int, undo: ExitStack) -> int:
        process = self._context.live(container.id).process
        if pid and process is not None:
            with suppress(ProcessLookupError, FileNotFoundError):  # it has ended meanwhile
                return undo.enter_context(container_root.opened((), pid, process.pidfd))
        return undo.enter_context(container_root.opened(self._context.snapshots.mounts(container.id)))

    def _place(self, container: Container, path: str, undo: ExitStack) -> _Place:
        """What a running container sees through its root; of another one the layers, and mounts by their names."""
        if not path:
            raise Invalid("bad parameter: 'path' cannot be empty")
        if "\0" in path:
            raise Invalid("bad parameter: 'path' holds a NUL byte")
        clean = posixpath.normpath("/" + path.lstrip("/"))
        mount = _mount_of(container, clean)
        pid = process_of(container.status)
        if pid or mount is None or not os.path.isdir(mount.source):
            root = self._root(container, pid, undo)
            return _Place(root, _kept_slash(clean, path), mount)
        root = os.open(mount.source, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
        undo.callback(os.close, root)
        if mount.subpath:
            root = paths.open_in(root, os.fsencode(mount.subpath))
            undo.callback(os.close, root)
        return _Place(root, _kept_slash("/" + clean[len(mount.destination) :].lstrip("/"), path), mount)


def _mount_of(container: Container, path: str) -> MountPoint | None:
    """The innermost mount that the path is in."""
    found = None
    for point in container.mounts:
        inside = path == point.destination or path.startswith(point.destination + "/")
        if inside and (found is None or len(point.destination) > len(found.destination)):
            found = point
    return found


def _kept_slash(clean: str, path: str) -> str:
    """A slash or `/.` at the end asks for the directory behind a link."""
    return clean + "/" if path.endswith(("/", "/.")) and clean != "/" else clean


def _open(place: _Place, path: str, reference: str, undo: ExitStack, *, directory: bool = False) -> int:
    follows = place.path.endswith("/")
    flags = os.O_PATH | os.O_DIRECTORY if follows else _LSTAT
    try:
        fd = paths.open_in(place.root, os.fsencode(place.path.rstrip("/") or "/"), flags)
    except FileNotFoundError as error:
        raise NotFound(f"Could not find the file {path} in container {reference}") from error
    except NotADirectoryError as error:
        if directory:
            raise Invalid("extraction point is not a directory") from error
        raise Invalid(f"{path}: not a directory") from error
    except OSError as error:
        raise Invalid(f"{path}: {(error.strerror or '').lower()}") from error
    undo.callback(os.close, fd)
    return fd


def _target(place: _Place) -> str:
    """Where a link leads inside the container; as it is written when that does not exist."""
    try:
        fd = paths.open_in(place.root, os.fsencode(place.path))
    except OSError:
        parent, _, name = place.path.rpartition("/")
        directory = paths.open_in(place.root, os.fsencode(parent or "/"))
        try:
            return posixpath.normpath(posixpath.join(parent or "/", os.readlink(name, dir_fd=directory)))
        finally:
            os.close(directory)
    try:
        return os.readlink(f"/proc/self/fd/{fd}")
    finally:
        os.close(fd)


def _name(path: str) -> str:
    return posixpath.basename(posixpath.normpath("/" + path)) or "/"


def _archived(path: str) -> str:
    """The name in the archive: the path's last, `.` for `dir/.`, and nothing before the slash for the root."""
    if path.endswith("/."):
        return "."
    return posixpath.basename(posixpath.normpath("/" + path))


def _packed(directory: int, name: bytes, archived: str, kept: ExitStack) -> Iterator[bytes]:
    with kept:
        yield from Packer(precise=False).item(directory, name, os.fsencode(archived))
        yield END
