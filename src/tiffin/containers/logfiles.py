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
class Position:
    """Where reading goes on: which file (by inode), and how far."""

    inode: int
    offset: int


def files(path: str) -> list[str]:
    """The log's files that exist, oldest first."""
    found = [path] if os.path.exists(path) else []
    number = 1
    while True:
        for name in (f"{path}.{number}", f"{path}.{number}.gz"):
            if os.path.exists(name):
                found.append(name)
                break
        else:
            return found[::-1]
        number += 1


def opened(path: str) -> BinaryIO:
    if path.endswith(".gz"):
        return cast(BinaryIO, gzip.open(path, "rb"))
    return open(path, "rb", buffering=0)


def tail_start(path: str, count: int) -> list[tuple[str, int]]:
    """The files and offsets at which the last `count` entries begin, oldest first."""
    found: list[tuple[str, int]] = []
    for name in reversed(files(path)):
        if count <= 0:
            break
        try:
            with opened(name) as file:
                offset, entries = _backwards(file, count)
        except FileNotFoundError:
            continue  # rotated away at this moment
        found.append((name, offset))
        count -= entries
    return found[::-1]


def _backwards(file: BinaryIO, count: int) -> tuple[int, int]:
    """The offset of the last `count` lines of a file, and how many lines there are from there on."""
    end = file.seek(0, os.SEEK_END)
    position, seen = end, 0
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
