"""What of the second stage's outcome becomes the image: without what each run makes anew, times clamped."""

import re
from collections.abc import Iterable, Iterator

from tiffin.content.compression import Readable
from tiffin.snapshots.tar import END, Entry, Kind, TarReader, entry_header, padding

_SECOND = 1_000_000_000

_LEFT_OUT = re.compile(
    rb"""
      \.dockerenv
    | (?:dev|proc|sys|tmp)/.+                   # mounts, and what ran left there
    | run/bootstrap
    | var/tmp/.+
    | etc/(?:hostname|hosts|resolv\.conf|mtab)  # every container gets its own
    | etc/\.pwd\.lock
    | etc/(?:passwd|shadow|group|gshadow|subuid|subgid)-
    | var/cache/ldconfig/aux-cache              # inodes and times of this very file system
    | var/cache/apt/.+\.bin
    | var/cache/apt/archives/(?:lock|.+\.deb)
    | var/cache/debconf/.+-old
    | var/lib/apt/lists/.*(?:lock|_Packages.*|_(?:In)?Release.*)
    | var/lib/dpkg/(?:.+-old|lock|lock-frontend|triggers/Lock)
    | var/lib/systemd/random-seed
    | var/log/(?:alternatives|bootstrap|dpkg|fontconfig)\.log
    | var/log/apt/.+
    """,
    re.VERBOSE | re.DOTALL,
)
_EMPTIED = (b"etc/machine-id", b"var/lib/dbus/machine-id")
"""A container's first start, or nobody, gives it an identity: an image has none."""


class _Stream:
    """Pieces as a file to read."""

    def __init__(self, pieces: Iterator[bytes]) -> None:
        self._pieces = pieces
        self._rest = memoryview(b"")

    def read(self, size: int = -1, /) -> bytes:
        if size < 0:
            return bytes(self._rest) + b"".join(self._pieces)
        while not self._rest:
            piece = next(self._pieces, None)
            if piece is None:
                return b""
            self._rest = memoryview(piece)
        data, self._rest = self._rest[:size], self._rest[size:]
        return bytes(data)


def tidied(exported: Iterator[bytes], seconds: int) -> Iterator[bytes]:
    """The tar of an image's only layer out of that of a root file system; nothing in it is younger than `seconds`."""
    stream: Readable = _Stream(exported)
    reader = TarReader(stream)
    for entry in reader:
        if not _is_left_out(entry):
            yield from _written(entry, reader, seconds * _SECOND)
    yield END


def _is_left_out(entry: Entry) -> bool:
    # a container's /run is no tmpfs: directories that packages make there are needed, what ran left files
    if entry.name.startswith(b"run/") and entry.kind is not Kind.DIRECTORY:
        return True
    return bool(_LEFT_OUT.fullmatch(entry.name.rstrip(b"/")))


def _written(entry: Entry, reader: TarReader, latest: int) -> Iterable[bytes]:
    entry.mtime = min(entry.mtime, latest)
    emptied = entry.kind is Kind.FILE and entry.name in _EMPTIED
    if emptied:
        entry.size = 0
    yield entry_header(entry)
    if entry.kind is Kind.FILE and not emptied:
        while data := reader.read():
            yield data
        yield padding(entry.size)
