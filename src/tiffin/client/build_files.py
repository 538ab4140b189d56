"""A directory as BuildKit's FileSync sends it: which of its files are listed, and their packets.

The daemon asks for paths (`followpaths`) and names patterns to leave out. Here the paths are followed, links on the way
included; of the patterns only plain names are heeded, which keeps .git and node_modules from being walked: the daemon
leaves out the rest itself, so that the rules of .dockerignore exist once.
"""

from __future__ import annotations

import os
import re
import stat

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence
    from typing import Any

STAT, REQUEST, DATA, FINISHED, FAILED = range(5)

_CHUNK = 64 << 10
_LINKS = 255
_DIRECTORY, _SYMLINK, _DEVICE, _FIFO, _CHARACTER = 1 << 31, 1 << 27, 1 << 26, 1 << 25, 1 << 21
_KINDS = {
    stat.S_IFDIR: _DIRECTORY,
    stat.S_IFLNK: _SYMLINK,
    stat.S_IFIFO: _FIFO,
    stat.S_IFBLK: _DEVICE,
    stat.S_IFCHR: _DEVICE | _CHARACTER,
}
_BITS = ((stat.S_ISUID, 1 << 23), (stat.S_ISGID, 1 << 22), (stat.S_ISVTX, 1 << 20))


class Listing:
    """The files of one directory. `paths` relative, with wildcards; none: all of it."""

    def __init__(self, root: str, paths: Iterable[str], exclude: Iterable[str], packet: Any) -> None:
        self._root = root
        self._packet = packet
        self._wanted = followed(root, paths)
        self._skipped = plain_names(list(exclude))
        self._files: dict[int, str] = {}
        self._names: dict[tuple[int, int], str] = {}
        self._index = 0

    def packets(self) -> Iterator[bytes]:
        """A STAT for each entry, parents first, in the order of their names; then the empty one."""
        yield from self._directory("")
        yield self._packet(type=STAT).SerializeToString()

    def _directory(self, path: str) -> Iterator[bytes]:
        with os.scandir(os.path.join(self._root, path) if path else self._root) as entries:
            found = sorted((entry.name, entry.stat(follow_symlinks=False)) for entry in entries)
        for name, status in found:
            inner = f"{path}/{name}" if path else name
            if inner in self._skipped or not self._is_wanted(inner) or stat.S_ISSOCK(status.st_mode):
                continue
            yield self._entry(inner, status)
            if stat.S_ISDIR(status.st_mode):
                yield from self._directory(inner)

    def _is_wanted(self, path: str) -> bool:
        if self._wanted is None:
            return True
        return path in self._wanted.parents or any(part in self._wanted.whole for part in _parts(path))

    def _entry(self, path: str, status: os.stat_result) -> bytes:
        packet = self._packet(type=STAT)
        entry = packet.stat
        # what is not UTF-8 can't be sent in a message
        entry.path = path.encode("utf-8", "surrogateescape").decode("utf-8", "replace")
        mode = status.st_mode
        entry.mode = mode & 0o777 | _KINDS.get(stat.S_IFMT(mode), 0) | sum(bit for ours, bit in _BITS if mode & ours)
        entry.modTime = status.st_mtime_ns
        if stat.S_ISREG(mode):
            first = path
            if status.st_nlink > 1:
                first = self._names.setdefault((status.st_dev, status.st_ino), path)
            if first != path:
                entry.linkname = first
            entry.size = status.st_size
            self._files[self._index] = path
        elif stat.S_ISLNK(mode):
            entry.linkname = os.readlink(os.path.join(self._root, path))
        elif stat.S_ISCHR(mode) or stat.S_ISBLK(mode):
            entry.devmajor, entry.devminor = os.major(status.st_rdev), os.minor(status.st_rdev)
        self._index += 1
        return bytes(packet.SerializeToString())

    def content(self, index: int) -> Iterator[bytes]:
        """The DATA packets of a listed file, the last of them empty. A file that went meanwhile is empty."""
        try:
            with open(os.path.join(self._root, self._files[index]), "rb", buffering=0) as file:
                while data := file.read(_CHUNK):
                    yield self._packet(type=DATA, ID=index, data=data).SerializeToString()
        except FileNotFoundError:
            pass
        yield self._packet(type=DATA, ID=index).SerializeToString()

    def knows(self, index: int) -> bool:
        return index in self._files


class Wanted:
    """whole: paths with all that is beneath them; parents: directories on the way there."""

    def __init__(self, whole: set[str]) -> None:
        self.whole = whole
        self.parents = {path[:end] for path in whole for end in range(len(path)) if path[end] == "/"}


def followed(root: str, paths: Iterable[str]) -> Wanted | None:
    """What the paths lead to, every link on the way included. None for everything."""
    pending = [path.strip("/") for path in paths]
    if not pending:
        return None
    whole: set[str] = set()
    for _ in range(_LINKS * max(1, len(pending))):
        if not pending:
            break
        path = os.path.normpath(pending.pop())
        if path in (".", ""):
            return None
        if path.startswith("../"):
            continue
        for found, rest in _matches(root, path.split("/")):
            if found in whole and not rest:
                continue
            whole.add(found)
            if os.path.islink(os.path.join(root, found)):
                pending.append(_behind(root, found, rest))
    return Wanted(whole)


def _behind(root: str, link: str, rest: Sequence[str]) -> str:
    """Where a link leads, seen from the root and never out of it, and on along `rest`."""
    target = os.readlink(os.path.join(root, link))
    above = "" if target.startswith("/") else os.path.dirname(link)
    path = os.path.join("/", above, target.lstrip("/"), *rest)
    return os.path.normpath(path).lstrip("/") or "."


def _matches(root: str, parts: Sequence[str]) -> Iterator[tuple[str, Sequence[str]]]:
    """What exists under a path with wildcards: whole paths, or a link on the way and what is left behind it."""
    pending: list[tuple[str, Sequence[str]]] = [("", parts)]
    while pending:
        path, (first, *rest) = pending.pop()
        directory = os.path.join(root, path) if path else root
        if any(mark in first for mark in "*?[\\"):
            expression = go_pattern(first)
            try:
                names = [name for name in os.listdir(directory) if expression is None or expression.fullmatch(name)]
            except OSError:
                continue
        else:
            names = [first]
        for name in names:
            inner = f"{path}/{name}" if path else name
            full = os.path.join(root, inner)
            if not os.path.lexists(full):
                continue
            if not rest or os.path.islink(full):
                yield inner, rest
            elif os.path.isdir(full):
                pending.append((inner, rest))


def go_pattern(text: str) -> re.Pattern[str] | None:
    """One component of a filepath.Match pattern; None for a bad one, which the daemon will complain about."""
    out, at = "", 0
    while at < len(text):
        letter = text[at]
        at += 1
        if letter == "*":
            out += "[^/]*" if not out.endswith("[^/]*") else ""
        elif letter == "?":
            out += "[^/]"
        elif letter == "[":
            end = text.find("]", at + 1)
            if end < 0:
                return None
            inner = text[at:end]
            out += f"[{inner}]"
            at = end + 1
        elif letter == "\\" and at < len(text):
            out += re.escape(text[at])
            at += 1
        else:
            out += re.escape(letter)
    try:
        return re.compile(out)
    except re.error:
        return None


def plain_names(exclude: list[str]) -> set[str]:
    """Paths that are left out for sure: no wildcards, and nothing that takes a path back."""
    if any(pattern.startswith("!") for pattern in exclude):
        return set()
    return {pattern for pattern in exclude if not any(mark in pattern for mark in "*?[\\")}


def _parts(path: str) -> Iterator[str]:
    """The path, and the directories above it."""
    while path:
        yield path
        path = path.rpartition("/")[0]
