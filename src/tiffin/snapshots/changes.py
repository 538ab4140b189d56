"""What a container changed: an overlay's upper directory read against the layers below, or two whole trees compared."""

import os
import re
import stat
from collections.abc import Collection, Iterator, Sequence
from pathlib import Path

from tiffin.linux import paths
from tiffin.snapshots import trees
from tiffin.snapshots.pack import CHANGED, END, Packer
from tiffin.snapshots.snapshotter import Change, ChangeKind

_OPAQUE = ("trusted.overlay.opaque", "user.overlay.opaque")


class Ignored:
    """Paths that the engine made in a container. A directory that was made or written to for them is not changed."""

    def __init__(self, paths_made: Collection[bytes]) -> None:
        self._made = frozenset(path.lstrip(b"/") for path in paths_made)
        self._above = {path[: match.start()] for path in self._made for match in re.finditer(rb"/", path)}

    def __contains__(self, path: bytes) -> bool:
        return path in self._made

    def same_time(self, path: bytes, status: os.stat_result, below: os.stat_result) -> bool:
        return path in self._above or status.st_mtime_ns == below.st_mtime_ns

    def settle(self, path: bytes, found: dict[bytes, ChangeKind]) -> None:
        """After a directory was walked: one that is new and holds nothing else is the engine's too."""
        made = path in self._above and found.get(path) is ChangeKind.ADDED
        if made and not any(other.startswith(path + b"/") for other in found):
            del found[path]


def is_whiteout(status: os.stat_result) -> bool:
    return stat.S_ISCHR(status.st_mode) and status.st_rdev == 0


def is_opaque(path: str | Path) -> bool:
    for attribute in _OPAQUE:
        try:
            return os.getxattr(path, attribute, follow_symlinks=False) == b"y"
        except OSError:
            continue
    return False


class Lower:
    """The layers below, topmost first, as one tree. Layers never change, so their paths may be looked at by name."""

    def __init__(self, layers: Sequence[Path]) -> None:
        self._layers = layers

    def stat(self, path: bytes) -> os.stat_result | None:
        """lstat of a relative path; None where no layer has it or one hides it."""
        for layer in self._layers:
            status, ends = _lookup(layer, path)
            if status is not None or ends:
                return status
        return None

    def names(self, path: bytes) -> set[bytes]:
        """The visible entries of a directory."""
        found: set[bytes] = set()
        hidden: set[bytes] = set()
        for layer in self._layers:
            status, ends = _lookup(layer, path)
            if status is not None and stat.S_ISDIR(status.st_mode):
                directory = os.path.join(os.fsencode(layer), path)
                for entry in os.scandir(directory):
                    if is_whiteout(entry.stat(follow_symlinks=False)):
                        hidden |= {entry.name} - found
                    elif entry.name not in hidden:
                        found.add(entry.name)
                ends = ends or is_opaque(os.fsdecode(directory))
            if ends or (status is not None and not stat.S_ISDIR(status.st_mode)):
                break
        return found


def _lookup(layer: Path, path: bytes) -> tuple[os.stat_result | None, bool]:
    """(status in this layer, whether the layers below are hidden)."""
    current = os.fsencode(layer)
    status = os.lstat(current)
    ends = False
    for part in path.split(b"/") if path else ():
        if not stat.S_ISDIR(status.st_mode):
            return None, True
        ends = ends or is_opaque(os.fsdecode(current))
        current = os.path.join(current, part)
        try:
            status = os.lstat(current)
        except FileNotFoundError:
            return None, ends
        if is_whiteout(status):
            return None, True
    return status, ends


def same(one: os.stat_result, other: os.stat_result) -> bool:
    """Whether nothing that a user sees differs, as docker compares."""
    alike = (one.st_mode, one.st_uid, one.st_gid, one.st_rdev) == (
        other.st_mode,
        other.st_uid,
        other.st_gid,
        other.st_rdev,
    )
    if not alike or stat.S_ISDIR(one.st_mode):
        return alike
    return (one.st_mtime_ns, one.st_size) == (other.st_mtime_ns, other.st_size)


def of_overlay(upper: int, lower: Lower, ignore: Collection[bytes]) -> list[Change]:
    """upper: an fd. Its container may change it meanwhile, so it is walked by fds and never by name."""
    found: dict[bytes, ChangeKind] = {}
    _walk_upper(upper, b"", lower, Ignored(ignore), found)
    return _with_parents(found)


def _walk_upper(directory: int, path: bytes, lower: Lower, ignore: Ignored, found: dict[bytes, ChangeKind]) -> None:
    present = {os.fsencode(name) for name in os.listdir(directory)}
    for name in present:
        here = os.path.join(path, name)
        if here in ignore:
            continue
        try:
            status = os.stat(name, dir_fd=directory, follow_symlinks=False)
            below = lower.stat(here)
            is_directory = stat.S_ISDIR(status.st_mode)
            if is_whiteout(status):
                if below is not None:
                    found[here] = ChangeKind.DELETED
                continue
            if below is None:
                found[here] = ChangeKind.ADDED
            elif not (is_directory and same(status, below) and ignore.same_time(here, status, below)):
                found[here] = ChangeKind.MODIFIED
            if is_directory:
                with trees.opened(name, directory) as fd:
                    _walk_upper(fd, here, lower, ignore, found)
                ignore.settle(here, found)
        except (FileNotFoundError, NotADirectoryError):
            continue  # it changed under us
    if path and is_opaque(f"/proc/self/fd/{directory}/."):
        for name in lower.names(path) - present:
            found[os.path.join(path, name)] = ChangeKind.DELETED


def of_trees(current: int, parent: int, ignore: Collection[bytes]) -> list[Change]:
    """Both trees as fds; the parent's does not change."""
    found: dict[bytes, ChangeKind] = {}
    _compare(current, parent, b"", Ignored(ignore), found)
    return _with_parents(found)


def _compare(current: int, parent: int, path: bytes, ignore: Ignored, found: dict[bytes, ChangeKind]) -> None:
    mine = {os.fsencode(name) for name in os.listdir(current)}
    theirs = {os.fsencode(name) for name in os.listdir(parent)}
    for name in mine | theirs:
        here = os.path.join(path, name)
        if here in ignore:
            continue
        if name not in mine:
            found[here] = ChangeKind.DELETED
            continue
        status = os.stat(name, dir_fd=current, follow_symlinks=False)
        if name not in theirs:
            found[here] = ChangeKind.ADDED
            if stat.S_ISDIR(status.st_mode):
                with trees.opened(name, current) as fd:
                    _added(fd, here, ignore, found)
                ignore.settle(here, found)
            continue
        before = os.stat(name, dir_fd=parent, follow_symlinks=False)
        attributes = [trees.xattrs(trees.at(fd, name)) for fd in (current, parent)]
        if not same(status, before) or attributes[0] != attributes[1]:
            found[here] = ChangeKind.MODIFIED
        if stat.S_ISDIR(status.st_mode):
            if not stat.S_ISDIR(before.st_mode):
                with trees.opened(name, current) as fd:
                    _added(fd, here, ignore, found)
                continue
            with trees.opened(name, current) as mine_fd, trees.opened(name, parent) as theirs_fd:
                _compare(mine_fd, theirs_fd, here, ignore, found)


def _added(directory: int, path: bytes, ignore: Ignored, found: dict[bytes, ChangeKind]) -> None:
    for name in map(os.fsencode, os.listdir(directory)):
        here = os.path.join(path, name)
        if here in ignore:
            continue
        found[here] = ChangeKind.ADDED
        if stat.S_ISDIR(os.stat(name, dir_fd=directory, follow_symlinks=False).st_mode):
            with trees.opened(name, directory) as fd:
                _added(fd, here, ignore, found)
            ignore.settle(here, found)


def _with_parents(found: dict[bytes, ChangeKind]) -> list[Change]:
    """A changed entry makes its directories changed, as docker lists it."""
    for path in list(found):
        parent = path.rpartition(b"/")[0]
        while parent and parent not in found:
            found[parent] = ChangeKind.MODIFIED
            parent = parent.rpartition(b"/")[0]
    return [Change(b"/" + path, kind) for path, kind in sorted(found.items(), key=lambda item: item[0].split(b"/"))]


def layer_tar(root: int, changes: Sequence[Change]) -> Iterator[bytes]:
    """The changes as a layer: what is there from `root` (an fd), what is gone as whiteouts."""
    packer = Packer()
    for change in changes:
        name = change.path.lstrip(b"/")
        if change.kind is ChangeKind.DELETED:
            yield packer.whiteout(name)
            continue
        directory, _, base = name.rpartition(b"/")
        try:
            parent = paths.open_beneath(root, directory, paths.O_PATH | os.O_DIRECTORY)
            try:
                yield from packer.entry(parent, base, name)
            finally:
                os.close(parent)
        except OSError as error:
            if error.errno not in CHANGED:
                raise
            # its container has replaced it since
    yield END


def file_size(root: int, path: bytes) -> int:
    """Bytes of a regular file beneath `root`; 0 for anything else."""
    try:
        fd = paths.open_beneath(root, path.lstrip(b"/"), paths.O_PATH | os.O_NOFOLLOW)
    except OSError:
        return 0
    try:
        status = os.fstat(fd)
        return status.st_size if stat.S_ISREG(status.st_mode) else 0
    finally:
        os.close(fd)
