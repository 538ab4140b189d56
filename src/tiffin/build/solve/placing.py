"""Where things go in a root that a step changes: links followed inside it, missing directories made."""

import os
import stat
from dataclasses import dataclass

from tiffin.errors import Invalid
from tiffin.linux import paths
from tiffin.snapshots import trees

_LINKS = 255
Parts = tuple[bytes, ...]


@dataclass(frozen=True, slots=True)
class Stamp:
    """What is made gets: owner as (uid, gid), None to keep a source's (root's for directories); time in ns, or None."""

    owner: tuple[int, int] | None = None
    time: int | None = None


def resolved(root: int, path: bytes) -> Parts:
    """The path as components without links or `..`, what does not exist included. Invalid for a loop of links."""
    pending = path.split(b"/")[::-1]
    found: list[bytes] = []
    links = 0
    while pending:
        part = pending.pop()
        if part in (b"", b"."):
            continue
        if part == b"..":
            del found[-1:]
            continue
        link = _link(root, found, part)
        if link is None:
            found.append(part)
            continue
        links += 1
        if links > _LINKS:
            raise Invalid(f"too many levels of symbolic links: {os.fsdecode(path)}")
        if link.startswith(b"/"):
            found.clear()
        pending += link.split(b"/")[::-1]
    return tuple(found)


def _link(root: int, above: list[bytes], name: bytes) -> bytes | None:
    try:
        directory = paths.open_in(root, b"/".join(above), os.O_PATH | os.O_DIRECTORY)
    except (FileNotFoundError, NotADirectoryError):
        return None
    try:
        return os.readlink(name, dir_fd=directory)
    except OSError:  # EINVAL: no link; ENOENT
        return None
    finally:
        os.close(directory)


def status(root: int, parts: Parts) -> os.stat_result | None:
    """lstat of resolved components; None where there is nothing."""
    try:
        fd = paths.open_in(root, b"/".join(parts), os.O_PATH | os.O_NOFOLLOW)
    except (FileNotFoundError, NotADirectoryError):
        return None
    try:
        return os.fstat(fd)
    finally:
        os.close(fd)


def directory(root: int, parts: Parts, stamp: Stamp, mode: int = 0o755) -> int:
    """The directory, made with its parents where missing: an O_RDONLY fd. Invalid where a file stands in the way."""
    try:
        current = os.open(".", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC, dir_fd=root)
        for part in parts:
            made = False
            try:
                try:
                    os.mkdir(part, mode, dir_fd=current)
                    made = True
                except FileExistsError:
                    pass
                flags = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
                deeper = os.open(part, flags, dir_fd=current)
            finally:
                os.close(current)
            current = deeper
            if made:
                os.fchown(current, *(stamp.owner or (0, 0)))
                os.fchmod(current, mode)
                stamp_time(current, stamp)
    except NotADirectoryError:
        raise Invalid(f"mkdir /{os.fsdecode(b'/'.join(parts))}: not a directory") from None
    return current


def stamp_time(fd: int, stamp: Stamp) -> None:
    if stamp.time is not None:
        os.utime(fd, ns=(stamp.time, stamp.time))


def remove_file(directory_fd: int, name: bytes, shown: bytes) -> None:
    """Make way for a file. Invalid where a directory is there."""
    try:
        found = os.stat(name, dir_fd=directory_fd, follow_symlinks=False)
    except FileNotFoundError:
        return
    if stat.S_ISDIR(found.st_mode):
        raise Invalid(f"cannot replace to directory /{os.fsdecode(shown)} with file")
    trees.remove(directory_fd, name)


def changed_mode(mode: int, asked: int | str | None, *, is_directory: bool) -> int:
    """Permission bits after --chmod: a number, or chmod(1)'s symbolic form."""
    bits = stat.S_IMODE(mode)
    if asked is None:
        return bits
    if isinstance(asked, int):
        return asked
    for clause in asked.split(","):
        bits = _clause(bits, clause, is_directory)
    return bits


def _clause(bits: int, clause: str, is_directory: bool) -> int:
    who = clause[: len(clause) - len(clause.lstrip("ugoa"))]
    rest = clause[len(who) :]
    shifts = [shift for shift, on in ((6, "u"), (3, "g"), (0, "o")) if not who or "a" in who or on in who]
    while rest:
        operator, rest = rest[0], rest[1:]
        end = next((index for index, character in enumerate(rest) if character in "-+="), len(rest))
        letters, rest = rest[:end], rest[end:]
        before = bits
        for shift in shifts:
            value = _letters(before, letters, is_directory) << shift
            bits = {"+": bits | value, "-": bits & ~value, "=": bits & ~(7 << shift) | value}[operator]
        bits = _special(bits, operator, letters, shifts)
    return bits


def _letters(bits: int, letters: str, is_directory: bool) -> int:
    copied = {"u": bits >> 6 & 7, "g": bits >> 3 & 7, "o": bits & 7}
    values = {"r": 4, "w": 2, "x": 1, "X": 1 if is_directory or bits & 0o111 else 0, **copied}
    found = 0
    for letter in letters:
        found |= values.get(letter, 0)
    return found


def _special(bits: int, operator: str, letters: str, shifts: list[int]) -> int:
    setting = 0
    if "s" in letters:
        setting |= (0o4000 if 6 in shifts else 0) | (0o2000 if 3 in shifts else 0)
    if "t" in letters:
        setting |= 0o1000
    if operator == "=" and "s" not in letters:
        bits &= ~((0o4000 if 6 in shifts else 0) | (0o2000 if 3 in shifts else 0))
    return bits & ~setting if operator == "-" else bits | setting
