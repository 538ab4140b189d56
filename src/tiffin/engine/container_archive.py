"""Files into and out of containers (`docker cp`), running or not, by descriptors of their root."""

from __future__ import annotations

import asyncio
import os
import posixpath
import stat
from collections.abc import Callable, Iterator
from contextlib import ExitStack, suppress
from dataclasses import dataclass, replace
from typing import TypeVar

from tiffin.containers.users import resolve
from tiffin.content.compression import Readable, decompressed
from tiffin.engine import container_files, container_root
from tiffin.engine.container_context import Context
from tiffin.engine.threads import in_thread
from tiffin.errors import Conflict, Forbidden, Invalid, NotFound
from tiffin.linux import paths
from tiffin.model.container import Container
from tiffin.model.container_host import MountPoint
from tiffin.model.container_status import Dead, Removing, process_of
from tiffin.snapshots.extract import Options, extract
from tiffin.snapshots.pack import END, Packer

T = TypeVar("T")
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


class _Ended(Exception):
    """The process whose root was to be opened is gone."""


class Archives:
    def __init__(self, context: Context) -> None:
        self._context = context

    async def stat(self, reference: str, path: str) -> PathStat:
        """Raises NotFound, Invalid, Conflict. The last component is followed only where the path ends with a slash."""

        def work(container: Container, pidfd: int) -> PathStat:
            with ExitStack() as undo:
                place = self._place(container, pidfd, path, undo)
                return _stat(place, path, _open(place, path, reference, undo))

        return await self._in_thread(reference, work)

    async def get(self, reference: str, path: str) -> tuple[PathStat, Iterator[bytes]]:
        """A path, and a tar of it under its last name. Raises NotFound, Invalid, Conflict; the tar is to be closed."""
        return await self._in_thread(reference, lambda container, pidfd: self._get(container, pidfd, reference, path))

    async def put(
        self, reference: str, path: str, stream: Readable, *, keep_directories: bool = False, copy_owner: bool = False
    ) -> None:
        """Extract a tar, compressed or not, into a directory. Raises NotFound, Invalid, Forbidden, Conflict."""
        options = Options(keep_directories=keep_directories)

        def work(container: Container, pidfd: int) -> None:
            with ExitStack() as undo:
                place = self._place(container, pidfd, path, undo, writing=True)
                self._extract(container, place, reference, path, stream, options, copy_owner)

        await self._in_thread(reference, work, writing=True)

    async def _in_thread(self, reference: str, work: Callable[[Container, int], T], *, writing: bool = False) -> T:
        """`work` with the container and a pidfd of its process, -1 where none runs.

        Nobody starts or removes one that does not run meanwhile: its start would mount the same upper directory a
        second time, and overlayfs leaves undefined what happens then.
        """
        context = self._context
        container_id = context.records.find(reference).id
        while True:
            async with context.records.lock(container_id):
                container = context.records.get(container_id)
                if isinstance(container.status, Removing | Dead):
                    raise Conflict(f"container {container_id} is marked for removal")
                if not process_of(container.status):
                    await context.early.drop(container_id)
                    if writing:
                        context.records.change(container_id, pristine=False)
                    return await _threaded(work, container, -1)
                live = context.live(container_id)
                ended, process = live.ended, live.process
                pidfd = os.dup(process.pidfd) if process is not None else -1  # that one is closed when it ends
            try:
                return await _threaded(work, container, pidfd)
            except _Ended:
                await ended.wait()
            finally:
                if pidfd >= 0:
                    os.close(pidfd)

    def _get(self, container: Container, pidfd: int, reference: str, path: str) -> tuple[PathStat, Iterator[bytes]]:
        with ExitStack() as undo:
            place = self._place(container, pidfd, path, undo)
            fd = _open(place, path, reference, undo)
            found = _stat(place, path, fd)
            is_directory = stat.S_ISDIR(found.status.st_mode)
            if is_directory:
                directory, name = os.dup(fd), b"."
            else:
                parent, _, last = place.path.rpartition("/")
                directory, name = paths.open_in(place.root, os.fsencode(parent or "/")), os.fsencode(last)
            undo.callback(os.close, directory)
            archived = _archived(path)
            mounted = {}
            if is_directory and not process_of(container.status):
                mounted = self._mounted(container, place, fd, os.fsencode(archived), undo)
            packer = Packer(precise=False, devices=_devices(container, fd), mounted=mounted)
            kept = undo.pop_all()
        pieces = _packed(packer, directory, name, archived + "/" if is_directory else archived, kept)
        next(pieces)  # begun: one that has not would leave its descriptors open when it is closed
        return found, pieces

    def _extract(
        self,
        container: Container,
        place: _Place,
        reference: str,
        path: str,
        stream: Readable,
        options: Options,
        copy_owner: bool,
    ) -> None:
        with ExitStack() as undo:
            _open(_Place(place.root, place.path + "/", place.mount), path, reference, undo, directory=True)
            if place.mount is not None and not place.mount.rw:
                raise Forbidden("mounted volume is marked read-only")
            if place.mount is None and container.host.readonly_rootfs:
                raise Forbidden("container rootfs is marked read-only")
            owner = self._owner(container, place.root) if copy_owner else None
            if owner is not None:
                options = replace(options, owner=owner)
            _, plain = decompressed(stream)
            extract(place.root, plain, beneath=os.fsencode(place.path), options=options)

    def _owner(self, container: Container, root: int) -> Callable[[int, int], tuple[int, int]] | None:
        if not container.config.user:
            return None
        user = resolve(container.config.user, (), lambda path: container_root.read_small(root, path))
        return lambda uid, gid: (user.uid, user.gid)

    def _own_file(self, container: Container, path: str, undo: ExitStack) -> _Place | None:
        """/etc/hosts and its like of a container that does not run: what it has mounted there when it does."""
        directory, name = posixpath.split(path)
        if directory != "/etc" or name not in container_files.MOUNTED or process_of(container.status):
            return None
        try:
            root = os.open(self._context.directory(container.id), os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
        except FileNotFoundError:
            return None
        undo.callback(os.close, root)
        return _Place(root, f"/{name}", None) if os.access(name, os.F_OK, dir_fd=root) else None

    def _mounted(
        self, container: Container, place: _Place, fd: int, archived: bytes, undo: ExitStack
    ) -> dict[bytes, tuple[int, bytes]]:
        """What is mounted beneath a directory of a container that does not run, when it does: see `Packer`."""
        in_mount = place.mount is not None and os.path.isdir(place.mount.source)
        top = place.mount.destination.rstrip("/") if place.mount is not None and in_mount else ""
        base = _within(place.root, fd)
        sources = [(one.destination, one.source, one.subpath) for one in container.mounts]
        if not in_mount:
            own = self._context.directory(container.id)
            sources += [(f"/etc/{name}", str(own / name), "") for name in container_files.MOUNTED]
        found = {}
        for destination, source, subpath in sorted(sources):
            if destination.startswith(top + "/"):
                inside = _resolved(place.root, destination[len(top) :])
                if inside.startswith(base.rstrip("/") + "/") and (there := _source(source, subpath, undo)):
                    relative = os.fsencode(inside[len(base.rstrip("/")) :])
                    found[archived.rstrip(b"/") + relative] = there
        return found

    def _root(self, container: Container, pidfd: int, undo: ExitStack, writing: bool) -> int:
        if pid := process_of(container.status):
            try:
                return undo.enter_context(container_root.opened((), pid, pidfd))
            except (ProcessLookupError, FileNotFoundError) as error:
                raise _Ended from error
        layers = self._context.snapshots.mounts(container.id)
        root = container_root.mount_detached(layers) if writing else container_root.mount_for_reading(layers)
        undo.callback(os.close, root)
        for point in sorted(container.mounts, key=lambda one: one.destination) if writing else ():
            if there := _source(point.source, point.subpath, undo):
                with suppress(OSError):  # before Linux 6.15, or the place is not there
                    container_root.attach(root, point.destination, *there, writable=point.rw)
        return root

    def _place(self, container: Container, pidfd: int, path: str, undo: ExitStack, *, writing: bool = False) -> _Place:
        """What a running container sees through its root; of another one the layers, and mounts by their names."""
        if not path:
            raise Invalid("bad parameter: 'path' cannot be empty")
        if "\0" in path:
            raise Invalid("bad parameter: 'path' holds a NUL byte")
        clean = posixpath.normpath("/" + path.lstrip("/"))
        if (own := self._own_file(container, clean, undo)) is not None:
            return own
        mount = _mount_of(container, clean)
        if process_of(container.status) or mount is None or not os.path.isdir(mount.source):
            root = self._root(container, pidfd, undo, writing)
            return _Place(root, _kept_slash(clean, path), mount)
        root = os.open(mount.source, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
        undo.callback(os.close, root)
        if mount.subpath:
            root = paths.open_in(root, os.fsencode(mount.subpath))
            undo.callback(os.close, root)
        return _Place(root, _kept_slash("/" + clean[len(mount.destination) :].lstrip("/"), path), mount)


async def _threaded(work: Callable[[Container, int], T], container: Container, pidfd: int) -> T:
    """In a thread, which is waited for even when nobody wants its result: what it stands on stays till then."""
    task = asyncio.create_task(in_thread(work, container, pidfd))
    try:
        return await asyncio.shield(task)
    finally:
        if not task.done():
            await asyncio.wait((task,))
            task.exception()  # retrieved: nobody is there to hear it


def _mount_of(container: Container, path: str) -> MountPoint | None:
    """The innermost mount that the path is in."""
    found = None
    for point in container.mounts:
        inside = path == point.destination or path.startswith(point.destination + "/")
        if inside and (found is None or len(point.destination) > len(found.destination)):
            found = point
    return found


def _within(root: int, fd: int) -> str:
    """The path of what is open, from a root that it is in."""
    top = os.readlink(f"/proc/self/fd/{root}").rstrip("/")
    return os.readlink(f"/proc/self/fd/{fd}")[len(top) :] or "/"


def _resolved(root: int, path: str) -> str:
    """A path without links, as far as there is one."""
    try:
        fd = paths.open_in(root, os.fsencode(path))
    except OSError:
        parent, _, name = path.rpartition("/")
        return posixpath.join(_resolved(root, parent), name) if parent else path
    try:
        return _within(root, fd)
    finally:
        os.close(fd)


def _source(path: str, subpath: str, undo: ExitStack) -> tuple[int, bytes] | None:
    """Where the files of a mount are: (directory, name). None where that is nowhere now, as with tmpfs."""
    if not path:
        return None
    try:
        if not subpath and not os.path.isdir(path):
            path, _, name = path.rpartition("/")
        else:
            name = "."
        directory = os.open(path or "/", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
        undo.callback(os.close, directory)
        if subpath:
            directory = paths.open_in(directory, os.fsencode(subpath))
            undo.callback(os.close, directory)
        os.stat(name, dir_fd=directory)
    except OSError:
        return None
    return directory, os.fsencode(name)


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
        raise Invalid(f"lstat {path}: not a directory") from error
    except OSError as error:
        raise Invalid(f"lstat {path}: {(error.strerror or '').lower()}") from error
    undo.callback(os.close, fd)
    return fd


def _stat(place: _Place, path: str, fd: int) -> PathStat:
    status = os.fstat(fd)
    return PathStat(_name(path), status, _target(place) if stat.S_ISLNK(status.st_mode) else "")


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


def _devices(container: Container, fd: int) -> set[int]:
    """The file systems that a copy goes into: that of the path, and those of volumes and binds. Not /proc and /sys."""
    found = {os.fstat(fd).st_dev}
    for point in container.mounts:
        with suppress(OSError):
            found.add(os.stat(point.source).st_dev)
    return found


def _packed(packer: Packer, directory: int, name: bytes, archived: str, kept: ExitStack) -> Iterator[bytes]:
    with kept:
        yield b""
        yield from packer.item(directory, name, os.fsencode(archived))
        yield END
