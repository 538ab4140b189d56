""".deb files (deb(5)): an ar archive of debian-binary, control.tar, data.tar."""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from tiffin.content.compression import decompressed
from tiffin.errors import Invalid
from tiffin.snapshots.tar import Limits, TarReader

_MAGIC = b"!<arch>\n"
_HEADER = 60
_NUMBER = re.compile(rb"\d{1,12}", re.ASCII)
_LIMITS = Limits(entries=1_000_000)


class _Member:
    """Part of a file as a stream."""

    def __init__(self, file: BinaryIO, size: int) -> None:
        self._file = file
        self._left = size

    def read(self, size: int = -1, /) -> bytes:
        data = self._file.read(self._left if size < 0 else min(size, self._left))
        self._left -= len(data)
        return data


def _members(file: BinaryIO, name: str) -> Iterator[tuple[str, _Member]]:
    """Names and streams, one at a time."""
    if file.read(len(_MAGIC)) != _MAGIC:
        raise Invalid(f"{name} is no .deb: it does not begin as an ar archive")
    while header := file.read(_HEADER):
        size = header[48:58].strip()
        if len(header) != _HEADER or header[58:] != b"`\n" or not _NUMBER.fullmatch(size):
            raise Invalid(f"{name}: damaged ar header")
        start = file.tell()
        yield header[:16].decode("ascii", "replace").rstrip().rstrip("/"), _Member(file, int(size))
        file.seek(start + int(size) + int(size) % 2)


@contextmanager
def data(path: Path, name: str) -> Iterator[TarReader]:
    """What a package installs, as an archive to be read. Raises Invalid where the file is damaged."""
    with path.open("rb") as file:
        members = _members(file, name)
        version = next(members, None)
        if version is None or version[0] != "debian-binary" or not version[1].read(16).startswith(b"2."):
            raise Invalid(f"{name} is no .deb of format 2")
        for member, stream in members:
            if member.partition(".")[0] == "data" and member[4:8] == ".tar":
                yield TarReader(decompressed(stream)[1], _LIMITS)
                return
    raise Invalid(f"{name} has no data.tar")
