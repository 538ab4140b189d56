"""Paths resolved beneath a directory: openat2(2), and what is built on it. Raises OSError with the path."""

import os
import stat
import struct

from tiffin.linux.syscalls import INT, SIZE, TEXT, syscall

RESOLVE_NO_XDEV, RESOLVE_NO_MAGICLINKS, RESOLVE_NO_SYMLINKS, RESOLVE_BENEATH, RESOLVE_IN_ROOT = 1, 2, 4, 8, 16
IN_ROOT = RESOLVE_IN_ROOT | RESOLVE_NO_MAGICLINKS
BENEATH = RESOLVE_BENEATH | RESOLVE_NO_MAGICLINKS | RESOLVE_NO_SYMLINKS
O_PATH = os.O_PATH

_openat2 = syscall("openat2", INT, TEXT, TEXT, SIZE)
_EAGAIN_TRIES = 128


def openat2(directory: int, path: bytes, flags: int, resolve: int, mode: int = 0) -> int:
    """openat2(2), always O_CLOEXEC."""
    how = struct.pack("QQQ", flags | os.O_CLOEXEC, mode, resolve)
    for _ in range(_EAGAIN_TRIES):
        try:
            return _openat2(directory, path or b".", how, len(how), path=path)
        except BlockingIOError:
            # A rename somewhere on the machine raced with "..": the kernel could not prove that we stayed inside.
            continue
    return _openat2(directory, path or b".", how, len(how), path=path)


def open_in(root: int, path: bytes, flags: int = O_PATH, mode: int = 0) -> int:
    """Open a path inside a root: symbolic links, absolute ones too, and ".." stay inside. No magic links."""
    return openat2(root, path, flags, IN_ROOT, mode)


def open_beneath(root: int, path: bytes, flags: int = O_PATH, mode: int = 0) -> int:
    """Open a path strictly beneath a directory: no symbolic link anywhere."""
    return openat2(root, path, flags, BENEATH, mode)


def normal(path: bytes) -> tuple[bytes, ...]:
    """The components of a path, cleaned lexically as Go's filepath.Clean does for one rooted at /."""
    parts: list[bytes] = []
    for part in path.split(b"/"):
        if part == b"..":
            del parts[-1:]
        elif part not in (b"", b"."):
            parts.append(part)
    return tuple(parts)


def ensure_directory(root: int, path: bytes, mode: int = 0o755) -> tuple[int, bool]:
    """Open a directory inside a root, making what is missing one component at a time: (O_PATH fd, made).

    What exists may lead through symbolic links (inside the root); what is made never does: a dangling link is ELOOP.
    """
    return ensure_directories(root, normal(path), mode)


def ensure_directories(root: int, parts: tuple[bytes, ...], mode: int = 0o755) -> tuple[int, bool]:
    """As `ensure_directory`, from components."""
    there = len(parts)
    while True:
        try:
            current = open_in(root, b"/".join(parts[:there]), O_PATH | os.O_DIRECTORY)
            break
        except FileNotFoundError:
            there -= 1  # the root itself exists, so this ends
    made = False
    for part in parts[there:]:
        try:
            try:
                os.mkdir(part, mode, dir_fd=current)
                made = True
            except FileExistsError:
                made = False
            deeper = openat2(current, part, O_PATH | os.O_DIRECTORY | os.O_NOFOLLOW, BENEATH)
        finally:
            os.close(current)
        current = deeper
    return current, made


def ensure_file(root: int, path: bytes) -> int:
    """Open a file inside a root as O_PATH, making it (empty, 0644) and its directories where missing."""
    try:
        return open_in(root, path)
    except FileNotFoundError:
        pass
    *parents, name = normal(path)
    directory, _ = ensure_directories(root, tuple(parents))
    try:
        os.close(os.open(name, os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_CLOEXEC, 0o644, dir_fd=directory))
        return open_beneath(directory, name)
    finally:
        os.close(directory)


def is_directory(fd: int) -> bool:
    """Whether an open file descriptor refers to a directory."""
    return stat.S_ISDIR(os.fstat(fd).st_mode)
