"""The layers of the driver `erofs`: two files each, mounted when somebody first stands on them.

    layers/<hex of the diff ID>/{tar,index}
    mounts/                                  a private tmpfs; mounts/<hex of the diff ID> is the layer

A blob that is a plain tar is the layer's tar: it is linked, not copied, and lives until the last of both names is gone.
"""

import contextlib
import errno
import filecmp
import io
import os
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

from tiffin.content.blobs import file_digest, sync_directory
from tiffin.content.compression import Readable
from tiffin.content.verified import Verified
from tiffin.errors import Internal, Unavailable
from tiffin.linux import disk, mounts
from tiffin.model.digest import Digest, hex_of
from tiffin.snapshots import trees
from tiffin.snapshots.directories import Directories, opened
from tiffin.snapshots.erofs import index
from tiffin.snapshots.snapshotter import Content

_FULL = (errno.ENOSPC, errno.EDQUOT)
_STRING_LIMIT = 255  # of fsconfig(2)


class Indexed:
    """Implements `overlay.Layers`."""

    # Said, as kernels differ in what they do unasked. On, it would set the highest bit of inode numbers: programs that
    # keep them in a double (JavaScript's) could not tell two files apart, 32-bit ones could not stat them at all.
    options: tuple[str, ...] = ("xino=off",)
    indexed = True

    def __init__(self, directories: Directories) -> None:
        self._directories = directories
        self._mounts = Mounts(directories.root / "mounts")

    def has(self, diff: Digest) -> bool:
        return (self._directories.layers / hex_of(diff)).exists()

    def path(self, diff: Digest) -> Path:
        name = hex_of(diff)
        found = self._mounts.mounted.get(name)
        if found is None:
            directory = self._directories.layers / name
            found = self._mounts.path(name, directory / "index", directory / "tar")
        return found

    def measure(self, diff: Digest) -> int:
        with opened(self.path(diff)) as fd:
            return trees.usage(fd)[0]

    def bring(self, diff: Digest, stream: Readable, plain: Path | None) -> int:
        with self._directories.staged() as staged:
            size = self._fill(diff, staged, stream, plain)
            self._directories.settle(staged, self._directories.layers / hex_of(diff), synced=True)
        return size

    def _fill(self, diff: Digest, staged: Path, stream: Readable, plain: Path | None) -> int:
        try:
            if plain is not None and _linked(plain, staged / "tar"):
                return self._index(diff, staged, None)
            return self._index(diff, staged, stream)
        except OSError as error:
            if error.errno not in _FULL:
                raise Internal(f"failed to store layer {diff[7:19]}: {error.strerror}") from error
            raise Unavailable(
                f"no space left on device: storing layer {diff[7:19]}; remove images or containers first"
            ) from error

    def _index(self, diff: Digest, staged: Path, stream: Readable | None) -> int:
        flags = os.O_RDONLY if stream is None else os.O_RDWR | os.O_CREAT | os.O_EXCL
        tar = os.open(staged / "tar", flags | os.O_CLOEXEC, 0o640)
        try:
            image = os.open(staged / "index", os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o640)
            try:
                source = index.Lying(tar) if stream is None else index.Copied(stream, tar)
                size = index.write(source, image, hex_of(diff))
                os.fsync(image)
            finally:
                os.close(image)
            if stream is not None:
                os.fsync(tar)
        finally:
            os.close(tar)
        sync_directory(staged)
        return size

    def renew(self, diff: Digest, plain: Path | None) -> None:
        """Stand on the blob that has come: the one before was damaged, or compressed. Who runs keeps what he had."""
        tar = self._directories.layers / hex_of(diff) / "tar"
        if plain is None or not tar.exists() or tar.samefile(plain):
            return
        with self._directories.staged() as staged:
            if _linked(plain, staged / "tar"):
                (staged / "tar").rename(tar)
                sync_directory(tar.parent)
                self._mounts.drop(hex_of(diff))

    def bring_changes(self, diff: Digest, upper: Path, tar: Iterator[bytes]) -> int:
        return self.bring(diff, Verified(_Pieces(tar), diff, f"layer {diff[7:19]}"), None)

    def problem(self, diff: Digest, sound: Callable[[Path], bool], content: Content | None, *, thorough: bool) -> str:
        directory = self._directories.layers / hex_of(diff)
        tar, image = directory / "tar", directory / "index"
        for path in (tar, image):
            if not path.exists():
                return f"is missing: {path}"
        if not thorough:
            return ""
        if not sound(tar) and (found := file_digest(tar)) != diff:
            return f"is damaged: {tar} has digest {found}"
        with self._directories.staged() as staged:  # the index depends on nothing but the tar
            self._fill(diff, staged, _NOTHING, tar)
            same = filecmp.cmp(staged / "index", image, shallow=False)
        return "" if same else f"is damaged: {image} does not describe its tar"

    def rebuild(self, diff: Digest, stream: Readable, plain: Path | None, used: bool) -> None:
        target, own = self._directories.layers / hex_of(diff), self.tar(diff)
        if plain is None and own is not None and file_digest(own) == diff:
            plain = own
        with self._directories.staged() as staged:
            self._fill(diff, staged, stream, plain)
            # who runs on it keeps the files that he has mounted
            self.remove(diff)
            self._directories.settle(staged, target, synced=True)

    def tar(self, diff: Digest) -> Path | None:
        path = self._directories.layers / hex_of(diff) / "tar"
        return path if path.exists() else None

    def strays(self) -> list[Path]:
        return self._mounts.strays()

    def clear(self, stray: Path) -> bool:
        return self._mounts.clear(stray)

    def freed(self, diff: Digest, size: int) -> int:
        directory = self._directories.layers / hex_of(diff)
        return sum(disk.freed_by(path.stat()) for path in directory.iterdir()) if directory.exists() else 0

    def remove(self, diff: Digest) -> None:
        self._mounts.drop(hex_of(diff))
        self._directories.remove(self._directories.layers / hex_of(diff))

    def close(self) -> None:
        self._mounts.close()


_NOTHING: Readable = io.BytesIO()


class _Pieces:
    """Byte strings as a stream."""

    def __init__(self, pieces: Iterator[bytes]) -> None:
        self._pieces = pieces
        self._rest = b""

    def read(self, size: int = -1, /) -> bytes:
        while not self._rest:
            try:
                self._rest = next(self._pieces)
            except StopIteration:
                return b""
        data = self._rest if size < 0 else self._rest[:size]
        self._rest = self._rest[len(data) :]
        return data


def _linked(source: Path, target: Path) -> bool:
    """False where the two are on different file systems, or it has none of these links."""
    try:
        os.link(source, target)
    except OSError as error:
        if error.errno not in (errno.EXDEV, errno.EPERM, errno.ENOTSUP, errno.EMLINK, errno.ENOENT):
            raise
        return False
    return True


class Mounts:
    """Layers mounted below a tmpfs of their own, which is private: nothing of it travels to other mount namespaces.

    Each is mounted once, when it is first asked for. Containers keep what they stand on by themselves: an overlay holds
    its own references, so a mount here may go while they run, with the daemon too.
    """

    def __init__(self, place: Path) -> None:
        self._place = place
        self._guard = threading.Lock()
        self.mounted: dict[str, Path] = {}
        self._ready = False
        self.close()  # what an earlier daemon left when it was killed

    def path(self, name: str, image: Path, tar: Path) -> Path:
        """The directory at which a layer is mounted. Raises OSError."""
        with self._guard:
            target = self.mounted.get(name)
            if target is None:
                self._prepare()
                target = self._place / name
                target.mkdir(mode=0o755, exist_ok=True)
                attach(mount(image, tar), target)
                self.mounted[name] = target
        return target

    def _prepare(self) -> None:
        if self._ready:
            return
        self._place.mkdir(mode=0o700, exist_ok=True)
        # names exist only where the mounts do: in another mount namespace a layer is missing, never empty
        tmpfs = mounts.create(b"tmpfs", (b"source=tiffin-layers", b"size=64m", b"mode=0700"))
        attach(tmpfs, self._place, private=True)
        self._ready = True

    def drop(self, name: str) -> None:
        with self._guard:
            if self.mounted.pop(name, None) is not None:
                mounts.umount(os.fsencode(self._place / name), mounts.MNT_DETACH)
                (self._place / name).rmdir()

    def strays(self) -> list[Path]:
        """What lies there and was not mounted by this driver."""
        return [path for path in self._place.iterdir() if path.name not in self.mounted] if self._ready else []

    def clear(self, stray: Path) -> bool:
        if stray.parent != self._place:
            return False
        with contextlib.suppress(OSError):
            mounts.umount(os.fsencode(stray), mounts.MNT_DETACH)
        stray.rmdir()
        return True

    def close(self) -> None:
        with self._guard:
            self.mounted.clear()
            self._ready = False
            while True:
                try:
                    mounts.umount(os.fsencode(self._place), mounts.MNT_DETACH)
                except OSError:  # EINVAL: nothing is mounted there any more; ENOENT, EPERM: nothing ever was
                    return


def mount(image: Path, tar: Path) -> int:
    """A detached mount of a layer: fd. Raises OSError."""
    files: list[int] = []
    try:
        options = [b"ro"]
        for key, path in ((b"source", image), (b"device", tar)):
            named = os.fsencode(path)
            if len(named) > _STRING_LIMIT:
                files.append(os.open(path, os.O_RDONLY | os.O_CLOEXEC))
                named = b"/proc/self/fd/%d" % files[-1]
            options.append(key + b"=" + named)
        return mounts.create(b"erofs", tuple(options), mounts.MOUNT_ATTR_RDONLY | mounts.MOUNT_ATTR_NODEV)
    finally:
        for fd in files:
            os.close(fd)


def attach(mount_fd: int, target: Path, *, private: bool = False) -> None:
    """Attach a detached mount, and let go of its descriptor."""
    try:
        place = os.open(target, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            mounts.attach(mount_fd, place)
        finally:
            os.close(place)
        if private:
            mounts.set_attributes(mount_fd, 0, propagation=mounts.MS_PRIVATE)
    finally:
        os.close(mount_fd)
