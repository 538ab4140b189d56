"""The layers of the driver `overlay`: directories, which overlayfs takes as they are."""

from collections.abc import Callable, Iterator
from pathlib import Path

from tiffin.content.compression import Readable
from tiffin.errors import Conflict
from tiffin.model.digest import Digest, hex_of
from tiffin.snapshots import trees
from tiffin.snapshots.compare import difference, outline
from tiffin.snapshots.directories import Directories, opened
from tiffin.snapshots.extract import extract
from tiffin.snapshots.snapshotter import Content
from tiffin.snapshots.whiteouts import OverlayWhiteouts


class Unpacked:
    """Implements `overlay.Layers`. userxattr: for overlays in a user namespace."""

    options: tuple[str, ...] = ()
    indexed = False

    def __init__(self, directories: Directories, *, userxattr: bool = False) -> None:
        self._directories = directories
        self._userxattr = userxattr

    def has(self, diff: Digest) -> bool:
        return self.path(diff).exists()

    def path(self, diff: Digest) -> Path:
        return self._directories.layers / hex_of(diff)

    def measure(self, diff: Digest) -> int:
        with opened(self.path(diff)) as fd:
            return trees.usage(fd)[0]

    def bring(self, diff: Digest, stream: Readable, plain: Path | None) -> int:
        with self._directories.staged() as staged, opened(staged) as root:
            size = extract(root, stream, whiteouts=OverlayWhiteouts(userxattr=self._userxattr))
            self._directories.settle(staged, self.path(diff))
        return size

    def renew(self, diff: Digest, plain: Path | None) -> None:
        pass

    def bring_changes(self, diff: Digest, upper: Path, tar: Iterator[bytes]) -> int:
        with opened(upper) as fd:
            size, _ = trees.usage(fd)
        self._directories.settle(upper, self.path(diff))
        return size

    def problem(self, diff: Digest, sound: Callable[[Path], bool], content: Content | None, *, thorough: bool) -> str:
        if not self.path(diff).is_dir():
            return f"is missing: {self.path(diff)}"
        if not thorough or content is None:
            return ""
        with self._directories.staged() as staged, opened(staged) as root, content() as stream:
            contents = outline(root, stream, OverlayWhiteouts(userxattr=self._userxattr))
            found = difference(staged, self.path(diff), contents)
        return f"is damaged: {self.path(diff)}: {found}" if found else ""

    def rebuild(self, diff: Digest, stream: Readable, plain: Path | None, used: bool) -> None:
        if self.path(diff).exists():
            if used:
                raise Conflict(f"layer {diff[7:19]}: containers stand on it; remove them first")
            self.remove(diff)
        self.bring(diff, stream, plain)

    def tar(self, diff: Digest) -> Path | None:
        return None

    def strays(self) -> list[Path]:
        return []

    def clear(self, stray: Path) -> bool:
        return False

    def freed(self, diff: Digest, size: int) -> int:
        return size

    def remove(self, diff: Digest) -> None:
        self._directories.remove(self.path(diff))

    def close(self) -> None:
        pass
