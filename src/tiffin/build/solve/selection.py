"""Which files a COPY takes of a tree, told once for those who hash them and those who copy them.

Everything goes by descriptors: a source and what its links lead to stay inside the root.
"""

import os
import stat
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

from tiffin.build.dockerfile.ignore import Patterns
from tiffin.build.dockerfile.wildcards import match, split_wildcards
from tiffin.errors import NotFound
from tiffin.linux import paths

_LOOK = os.O_PATH | os.O_NOFOLLOW
_LIST = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


@dataclass(frozen=True, slots=True)
class Found:
    """A source after wildcards: its path in the root, links not followed; name is its last component."""

    path: str

    @property
    def name(self) -> bytes:
        return os.fsencode(self.path.rstrip("/").rpartition("/")[2])


def sources(root: int, source: str, *, wildcards: bool) -> list[Found]:
    """What a source means, sorted; nothing where wildcards match nothing. NotFound in BuildKit's words."""
    fixed, pattern = split_wildcards(source) if wildcards else (source, "")
    if pattern:
        return [Found(path) for path in _matching(root, fixed, pattern)]
    check(root, source)
    return [Found(source)]


def check(root: int, path: str) -> None:
    """NotFound where a path does not exist in the root."""
    try:
        with opened(root, Found(path)):
            pass
    except (FileNotFoundError, NotADirectoryError):
        raise NotFound(f'"{path}": not found') from None


@contextmanager
def opened(root: int, found: Found) -> Iterator[int]:
    """An O_PATH descriptor of what a source means, links followed inside the root."""
    fd = paths.open_in(root, os.fsencode(found.path.lstrip("/")))
    try:
        yield fd
    finally:
        os.close(fd)


def _matching(root: int, fixed: str, pattern: str) -> Iterator[str]:
    try:
        top = paths.open_in(root, os.fsencode(fixed.lstrip("/")), os.O_RDONLY | os.O_DIRECTORY)
    except (FileNotFoundError, NotADirectoryError):
        return
    try:
        yield from _matching_below(top, fixed.rstrip("/"), "", pattern)
    finally:
        os.close(top)


def _matching_below(directory: int, above: str, relative: str, pattern: str) -> Iterator[str]:
    for name in sorted(os.listdir(directory)):
        here = f"{relative}/{name}" if relative else name
        if match(pattern, here):
            yield f"{above}/{here}"
        elif here.count("/") < pattern.count("/") and _is_directory(directory, name):
            with below(directory, os.fsencode(name)) as deeper:
                yield from _matching_below(deeper, above, here, pattern)


def _is_directory(directory: int, name: str) -> bool:
    return stat.S_ISDIR(os.stat(name, dir_fd=directory, follow_symlinks=False).st_mode)


@contextmanager
def below(directory: int, name: bytes) -> Iterator[int]:
    """A directory beneath an open one, no link followed."""
    fd = os.open(name, _LIST, dir_fd=directory)
    try:
        yield fd
    finally:
        os.close(fd)


@dataclass(frozen=True, slots=True)
class Rules:
    """include and exclude patterns of one COPY, by paths relative to its source."""

    include: Patterns | None = None
    exclude: Patterns | None = None

    @classmethod
    def of(cls, include: Sequence[str], exclude: Sequence[str]) -> "Rules":
        return cls(Patterns(include) if include else None, Patterns(exclude) if exclude else None)


@dataclass(slots=True)
class Entry:
    """Something beneath a source. taken: False for a directory that only may hold what is taken.

    directory, name   the open directory that holds it, valid until the next entry
    relative          its path below the source
    """

    directory: int
    name: bytes
    relative: bytes
    status: os.stat_result
    taken: bool = True
    state: tuple[object, object] = field(default=(None, None))

    @property
    def is_directory(self) -> bool:
        return stat.S_ISDIR(self.status.st_mode)


def entries(directory: int, rules: Rules, above: Entry | None = None) -> Iterator[Entry]:
    """What one directory holds, sorted, less what the rules leave out. Directories are not entered."""
    prefix = above.relative + b"/" if above else b""
    before = above.state if above else (None, None)
    for name in sorted(map(os.fsencode, os.listdir(directory))):
        relative = prefix + name
        taken, state, excluded = True, before, False
        if rules.include or rules.exclude:
            text = os.fsdecode(relative)
            included, inner = rules.include.step(text, before[0]) if rules.include else (True, None)  # type: ignore[arg-type]
            excluded, outer = rules.exclude.step(text, before[1]) if rules.exclude else (False, None)  # type: ignore[arg-type]
            taken, state = included and not excluded, (inner, outer)
        status = os.stat(name, dir_fd=directory, follow_symlinks=False)
        if not taken:
            # something beneath may be taken all the same
            hopeless = excluded and not (rules.exclude and rules.exclude.has_exceptions)
            if hopeless or not stat.S_ISDIR(status.st_mode):
                continue
        yield Entry(directory, name, relative, status, taken, state)
