"""The first stage: packages unpacked into one root file system, as a tar. Nothing of them has run.

What comes out is enough for the image's own dpkg to run in a container, which then installs the same packages properly.
"""

from collections.abc import Callable, Iterable
from pathlib import Path

from tiffin.errors import Invalid
from tiffin.images.bootstrap import deb
from tiffin.images.bootstrap.packages import Package
from tiffin.images.bootstrap.product import Write
from tiffin.snapshots.tar import END, Entry, Kind, TarReader, entry_header, padding

_MERGED = (b"bin", b"sbin", b"lib", b"lib32", b"lib64", b"libx32", b"libo32")
"""Directories that are links into /usr since Debian 12 and Ubuntu 20.04, whatever a package's own paths say."""


class Rootfs:
    """Files and whole packages, written as they come; the first of a name stays. seconds: the time of what is made."""

    def __init__(self, write: Write, seconds: int) -> None:
        self._write = write
        self._time = seconds * 1_000_000_000
        self._seen: dict[bytes, Kind] = {}

    def directory(self, name: bytes, mode: int = 0o755) -> None:
        self._add(Entry(name, Kind.DIRECTORY, mode, mtime=self._time))

    def file(self, name: bytes, content: bytes, mode: int = 0o644) -> None:
        """With the directories above it."""
        for end, byte in enumerate(name):
            if byte == ord("/"):
                self.directory(name[:end])
        self._add(Entry(name, Kind.FILE, mode, size=len(content), mtime=self._time), lambda: (content,))

    def link(self, name: bytes, target: bytes) -> None:
        self._add(Entry(name, Kind.SYMLINK, 0o777, link=target, mtime=self._time))

    def unpack(self, package: Package, path: Path, only: Callable[[bytes], bytes | None] | None = None) -> None:
        """What a .deb installs: all of it, or what `only` gives a name to.

        Raises Invalid for one that is damaged or whose names lead out of the root.
        """
        with deb.data(path, f"{package.name}'s .deb") as reader:
            for entry in reader:
                name = _name(entry.name, package)
                wanted = only(name) if only is not None else self._placed(name)
                if not wanted:
                    continue
                entry.name = wanted
                if entry.kind is Kind.LINK:
                    entry.link = _merged(_name(entry.link, package))
                self._add(entry, lambda: _pieces(reader))

    def _placed(self, name: bytes) -> bytes | None:
        """Where a package's file goes; None for the root and for the links that are made here."""
        top, slash, _ = name.partition(b"/")
        if top not in _MERGED:
            return name or None
        self._merge(top)
        return _merged(name) if slash else None

    def _merge(self, top: bytes) -> None:
        self.directory(b"usr")
        self.directory(b"usr/" + top)
        self.link(top, b"usr/" + top)

    def _add(self, entry: Entry, data: Callable[[], Iterable[bytes]] = tuple) -> None:
        if entry.name in self._seen:
            return
        if entry.kind is Kind.FILE and entry.sparse is not None:
            raise Invalid(f"{entry.name.decode('utf-8', 'replace')}: packages have no sparse files")
        self._seen[entry.name] = entry.kind
        self._write(entry_header(entry))
        if entry.kind is Kind.FILE:
            for piece in data():
                self._write(piece)
            self._write(padding(entry.size))

    def close(self) -> None:
        self._write(END)


def _pieces(reader: TarReader) -> Iterable[bytes]:
    while data := reader.read():
        yield data


def _merged(name: bytes) -> bytes:
    return b"usr/" + name if name.partition(b"/")[0] in _MERGED else name


def _name(name: bytes, package: Package) -> bytes:
    """Without the leading ./; empty for the root itself. Raises Invalid for what no package has any business with."""
    parts = [part for part in name.split(b"/") if part not in (b"", b".")]
    if name.startswith(b"/") or b".." in parts or b"\0" in name:
        raise Invalid(f"{package.name}'s .deb has the name {name[:200].decode('utf-8', 'replace')!r}: refused")
    return b"/".join(parts)
