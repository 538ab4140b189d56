"""Tar archives for `cp`: made from local files as they are sent, extracted as they arrive.

What comes from a container is not trusted: names never lead out of the target, nor through a symbolic link.
"""

from __future__ import annotations

import os
import stat
import tarfile

from tiffin.cli.command import Failed

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

_PIECE = 1 << 20


def create(path: str, name: str) -> Iterator[bytes]:
    """The archive of a file or a tree, its top entry called `name`."""
    for entry, inside in _tree(path, name):
        yield from _entry(entry, inside)
    yield bytes(2 * tarfile.BLOCKSIZE)


def _tree(path: str, name: str) -> Iterator[tuple[str, str]]:
    yield path, name
    if os.path.isdir(path) and not os.path.islink(path):
        for child in sorted(os.listdir(path)):
            yield from _tree(os.path.join(path, child), f"{name}/{child}")


def _entry(path: str, name: str) -> Iterator[bytes]:
    found = os.lstat(path)
    info = tarfile.TarInfo(name)
    info.mode, info.uid, info.gid = stat.S_IMODE(found.st_mode), found.st_uid, found.st_gid
    info.mtime = found.st_mtime
    if stat.S_ISDIR(found.st_mode):
        info.type = tarfile.DIRTYPE
    elif stat.S_ISLNK(found.st_mode):
        info.type, info.linkname = tarfile.SYMTYPE, os.readlink(path)
    elif stat.S_ISFIFO(found.st_mode):
        info.type = tarfile.FIFOTYPE
    elif stat.S_ISCHR(found.st_mode) or stat.S_ISBLK(found.st_mode):
        info.type = tarfile.CHRTYPE if stat.S_ISCHR(found.st_mode) else tarfile.BLKTYPE
        info.devmajor, info.devminor = os.major(found.st_rdev), os.minor(found.st_rdev)
    elif stat.S_ISSOCK(found.st_mode):
        return  # an archive can't hold them
    else:
        info.size = found.st_size
    try:
        for key in os.listxattr(path, follow_symlinks=False):
            if key == "security.capability":
                value = os.getxattr(path, key, follow_symlinks=False)
                info.pax_headers = {f"SCHILY.xattr.{key}": value.decode("utf-8", "surrogateescape")}
    except OSError:
        pass
    yield info.tobuf(tarfile.PAX_FORMAT, "utf-8", "surrogateescape")
    if info.isreg():
        yield from _contents(path, info.size)


def _contents(path: str, size: int) -> Iterator[bytes]:
    """Exactly `size` bytes, whatever happens to the file meanwhile, and the padding to a whole block."""
    left = size
    with open(path, "rb", buffering=0) as file:
        while left:
            data = file.read(min(_PIECE, left))
            if not data:
                raise Failed(f"{path} shrank while it was read")
            left -= len(data)
            yield data
    yield bytes(-size % tarfile.BLOCKSIZE)


class _Stream:
    """An iterable of bytes as a file to read from."""

    def __init__(self, parts: Iterable[bytes]) -> None:
        self._parts, self._rest = iter(parts), b""

    def read(self, count: int) -> bytes:
        pieces = [self._rest]
        held = len(self._rest)
        while held < count:
            part = next(self._parts, b"")
            if not part:
                break
            pieces.append(part)
            held += len(part)
        data = b"".join(pieces)
        self._rest = data[count:]
        return data[:count]


def extract(parts: Iterable[bytes], folder: str, rename: str, keep_owner: bool) -> None:
    """Unpack into `folder`; `rename` replaces the top entry's name. Raises Failed for a name that leads elsewhere."""
    stream = _Stream(parts)
    folders: list[tuple[str, tarfile.TarInfo]] = []
    with tarfile.open(fileobj=stream, mode="r|") as archive:  # type: ignore[call-overload]
        for info in archive:
            target = _place(folder, _renamed(info.name, rename))
            if info.islnk():
                os.link(_place(folder, _renamed(info.linkname, rename)), _cleared(target), follow_symlinks=False)
                continue
            _make(archive, info, folder, target)
            if info.isdir():
                folders.append((target, info))
            else:
                _attributes(target, info, keep_owner)
    for part in stream._parts:
        del part  # the padding behind the end: a body left unread would cost the connection
    # a folder's time changes with every file put into it, and its mode may forbid writing
    for target, info in reversed(folders):
        _attributes(target, info, keep_owner)


def _renamed(name: str, rename: str) -> str:
    if not rename:
        return name
    _, slash, rest = name.partition("/")
    return f"{rename}{slash}{rest}"


def _place(folder: str, name: str) -> str:
    parts = [part for part in name.split("/") if part not in ("", ".")]
    if ".." in parts:
        raise Failed(f"the archive holds a name that leads out of it: {name}")
    path = folder
    for part in parts[:-1]:
        path = os.path.join(path, part)
        if os.path.islink(path):
            raise Failed(f"the archive holds a name that leads through a symbolic link: {name}")
        if not os.path.isdir(path):
            os.mkdir(path)
    return os.path.join(path, parts[-1]) if parts else folder


def _cleared(target: str) -> str:
    if os.path.lexists(target):
        if os.path.isdir(target) and not os.path.islink(target):
            raise Failed(f'cannot overwrite directory "{target}" with non-directory')
        os.unlink(target)
    return target


def _make(archive: tarfile.TarFile, info: tarfile.TarInfo, folder: str, target: str) -> None:
    if info.isdir():
        through_link = os.path.islink(target) and target != folder  # the user may name a link, an archive may not
        if through_link or (os.path.lexists(target) and not os.path.isdir(target)):
            raise Failed(f'cannot overwrite non-directory "{target}" with directory "{info.name}"')
        os.makedirs(target, exist_ok=True)
    elif info.issym():
        os.symlink(info.linkname, _cleared(target))
    elif info.isfifo():
        os.mkfifo(_cleared(target))
    elif info.ischr() or info.isblk():
        kind = stat.S_IFCHR if info.ischr() else stat.S_IFBLK
        os.mknod(_cleared(target), info.mode | kind, os.makedev(info.devmajor, info.devminor))
    else:
        source = archive.extractfile(info)
        descriptor = os.open(_cleared(target), os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
        with open(descriptor, "wb") as file:
            while source is not None and (data := source.read(_PIECE)):
                file.write(data)


def _attributes(target: str, info: tarfile.TarInfo, keep_owner: bool) -> None:
    if keep_owner:
        os.chown(target, info.uid, info.gid, follow_symlinks=False)
    if not info.issym():
        os.chmod(target, info.mode & 0o7777)
    os.utime(target, (info.mtime, info.mtime), follow_symlinks=False)
