"""Reading log files, rotated ones included (Docker's json-file format, which the driver `local` writes too)."""

from __future__ import annotations

import gzip
import os
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import BinaryIO, cast

import msgspec

BLOCK = 1 << 16
_BACK = 1 << 16


class Entry(msgspec.Struct):
    """One line of the file; `time` is RFC 3339 with up to nine digits, in UTC."""

    log: str = ""
    stream: str = "stdout"
    time: str = ""
    attrs: dict[str, str] | None = None


_decoder = msgspec.json.Decoder(Entry)


def decode(line: bytes) -> Entry | None:
    """None for a line that is cut off or foreign: a log is no reason to fail."""
    try:
        return _decoder.decode(line)
    except msgspec.DecodeError:
        return None


def nanoseconds(text: str) -> int:
    """An entry's time since the epoch; 0 where it can't be read."""
    try:
        whole = datetime.fromisoformat(text[:19]).replace(tzinfo=UTC)
    except ValueError:
        return 0
    fraction = text[20:].rstrip("Z") if text[19:20] == "." else ""
    return int(whole.timestamp()) * 10**9 + (int(fraction.ljust(9, "0")[:9]) if fraction.isdigit() else 0)


@dataclass(frozen=True, slots=True)
class Part:
    """One file of a log, open at its beginning."""

    file: BinaryIO
    inode: int

    def close(self) -> None:
        self.file.close()


def opened(path: str) -> Part:
    raw = open(path, "rb", buffering=0)
    inode = os.fstat(raw.fileno()).st_ino
    return Part(cast(BinaryIO, gzip.GzipFile(fileobj=raw) if path.endswith(".gz") else raw), inode)


def parts(path: str, after: int = 0) -> list[Part]:
    """The log's files, oldest first; only those newer than the one with the inode `after`.

    They are opened from the newest on: a rotation meanwhile then shows a file twice, which is noticed, and hides none.
    """
    found: dict[int, Part] = {}
    number, missing = 0, 0
    while missing < 2:  # the newest may be between its rename and its successor
        try:
            part = _numbered(path, number)
        except FileNotFoundError:
            missing += 1
        else:
            if part.inode == after:
                part.close()
                break
            if found.setdefault(part.inode, part) is not part:
                part.close()
        number += 1
    return list(found.values())[::-1]


def _numbered(path: str, number: int) -> Part:
    if number == 0:
        return opened(path)
    try:
        return opened(f"{path}.{number}")
    except FileNotFoundError:
        return opened(f"{path}.{number}.gz")


def seek_tail(log: list[Part], count: int) -> list[Part]:
    """The parts that hold the last `count` entries, oldest first, each at the first of them. The others are closed."""
    kept: list[Part] = []
    for part in reversed(log):
        if count <= 0 and kept:
            part.close()
            continue
        offset, entries = _backwards(part.file, count)
        part.file.seek(offset)
        kept.append(part)
        count -= entries
    return kept[::-1]


def _backwards(file: BinaryIO, count: int) -> tuple[int, int]:
    """The offset of the last `count` lines of a file, and how many lines there are from there on."""
    end = position = file.seek(0, os.SEEK_END) if not isinstance(file, gzip.GzipFile) else _length(file)
    seen = 0
    if count <= 0:
        return end, 0
    while position > 0:
        size = min(_BACK, position)
        position -= size
        file.seek(position)
        block = file.read(size)
        if position + size == end and block.endswith(b"\n"):
            block = block[:-1]
        index = len(block)
        while (index := block.rfind(b"\n", 0, index)) >= 0:
            seen += 1
            if seen == count:
                return position + index + 1, count
    return 0, seen + (1 if end else 0)


def _length(file: gzip.GzipFile) -> int:
    while file.read(1 << 20):
        pass
    return file.tell()


def blocks(file: BinaryIO) -> Iterator[list[bytes]]:
    """Whole lines, some 64 KiB at a time, up to what is there now. The file stands after the last whole line."""
    rest = b""
    while data := file.read(BLOCK):
        lines = (rest + data).split(b"\n")
        rest = lines.pop()
        if lines:
            yield lines
    if rest and file.seekable():
        file.seek(-len(rest), os.SEEK_CUR)
