"""The log file of a container: Docker's json-file format, bounded by rotation. Drivers json-file and local write it.

    {"log":"text\n","stream":"stdout","attrs":{...},"time":"2026-01-02T03:04:05.123456789Z"}

A line longer than 16 KiB is split into entries whose text lacks the newline, as Docker's is. `path` is the newest file,
`path.1` (with compression `path.1.gz`) the one before, up to max_file files. Nothing here ever blocks the container:
when the disk is full, lines are dropped and counted.
"""

import os
import time
from _json import encode_basestring  # json itself loads re and enum
from collections.abc import Callable

LINE = 16 * 1024
_PLAIN = bytes(code for code in range(0x20, 0x7F) if code not in b'"\\') + b"\n"
_BEYOND = bytes(range(0x80, 0x100))
_ESCAPES = ((b"\\", b"\\\\"), (b'"', b'\\"'), (b"\t", b"\\t"), (b"\r", b"\\r"), (b"\x1b", b"\\u001b"))
_NAMES = ("stdout", "stderr")


class LogFile:
    """One container's log, open for appending."""

    def __init__(self, settings: dict[str, object], size: int | None) -> None:
        """settings: plan["log"]. size: what the journal recorded; the file is cut to it. None: a start, append."""
        self.path: str = settings["path"]  # type: ignore[assignment]
        self.max_size = int(settings.get("max_size") or 0)  # type: ignore[call-overload]
        self.max_file = max(1, int(settings.get("max_file") or 1))  # type: ignore[call-overload]
        self.compress = bool(settings.get("compress"))
        attrs: bytes | None = settings.get("attrs")  # type: ignore[assignment]
        self._attrs = f',"attrs":{attrs.decode()}' if attrs else ""
        self._second, self._stamp = -1, ""
        self.dropped = self._unsaid = 0
        self.on_rotated: Callable[[str], None] = lambda path: None
        self.fd = self._open()
        self.size = os.fstat(self.fd).st_size
        if size is not None:
            # Shorter than recorded: it was rotated after the record was made, and nothing is in the new file.
            self.size = size if size <= self.size else 0
            os.ftruncate(self.fd, self.size)

    def _open(self) -> int:
        return os.open(self.path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o640)

    def write(self, stream: int, data: bytes, *, final: bool = False) -> tuple[int, bool]:
        """Write what can be written of data now: (bytes of it that are done with, whether the file is full).

        A last line without its newline stays undone, unless it is final or too long.
        """
        end = len(data) if final else data.rfind(b"\n") + 1
        if end == 0 or len(data) - end >= LINE:
            end = len(data) - (len(data) - end) % LINE if not final else end
        if end == 0:
            return 0, False
        text = self._encode(stream, data[:end])
        if 0 < self.max_size < self.size + len(text) and self.size + len(text) > self.max_size:
            end, text = self._fitting(stream, data[:end])
            if end == 0:
                return 0, True
            self._append(text)
            return end, True
        self._append(text)
        return end, False

    def _append(self, text: bytes) -> None:
        try:
            written = os.write(self.fd, text)
        except OSError:
            written = 0
        if written == len(text):
            self.size += written
            if self._unsaid:
                self._say()
            return
        # The disk is full. Keep whole lines; a container must not wait for someone to tidy up.
        kept = text.rfind(b"\n", 0, written) + 1
        lost = text.count(b"\n", kept)
        self.dropped += lost
        self._unsaid += lost
        self.size += kept
        try:
            os.ftruncate(self.fd, self.size)
        except OSError:
            pass

    def _say(self) -> None:
        """There is space again: what is missing is said in the daemon's log, to which stderr goes."""
        lost, self._unsaid = self._unsaid, 0
        try:
            os.write(2, f"tiffin monitor: {lost} lines dropped, could not be written to {self.path}\n".encode())
        except OSError:
            pass

    def _time(self) -> str:
        now = time.time_ns()
        second, rest = divmod(now, 1_000_000_000)
        if second != self._second:
            self._second, self._stamp = second, time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(second))
        fraction = f".{rest:09d}".rstrip("0") if rest else ""
        return f"{self._stamp}{fraction}Z"

    def _encode(self, stream: int, data: bytes) -> bytes:
        tail = f',"stream":"{_NAMES[stream]}"{self._attrs},"time":"{self._time()}"}}\n'.encode()
        if len(max(data.split(b"\n"), key=len)) < LINE:
            # A few calls for the whole batch: this is what makes a log of short lines fast.
            body = escape(data)
            ended = body.endswith(b"\n")
            body = (body[:-1] if ended else body).replace(b"\n", b'\\n"' + tail + b'{"log":"')
            return b'{"log":"' + body + (b'\\n"' if ended else b'"') + tail
        return b"".join(b'{"log":"' + escape(piece).replace(b"\n", b"\\n") + b'"' + tail for piece in pieces(data))

    def _fitting(self, stream: int, data: bytes) -> tuple[int, bytes]:
        """As many whole entries as the file still takes; at least one in an empty file."""
        done, out, room = 0, bytearray(), self.max_size - self.size
        for piece in pieces(data):
            text = self._encode(stream, piece)
            if len(out) + len(text) > room and (out or self.size):
                break
            out += text
            done += len(piece)
        return done, bytes(out)

    def rotate(self) -> None:
        """Begin a new file; the oldest goes. Every step is a rename."""
        os.close(self.fd)
        try:
            if self.max_file == 1:
                os.truncate(self.path, 0)
            else:
                self._shift()
        except OSError:
            pass  # a directory that can't be written is no reason to stop the container
        self.fd = self._open()
        self.size = os.fstat(self.fd).st_size
        if self.size:
            self.max_size += self.size  # it could not be moved; try again when it has grown as much again

    def _shift(self) -> None:
        for number in range(self.max_file - 1, 0, -1):
            for suffix in ("", ".gz"):
                older = f"{self.path}.{number}{suffix}"
                newer = self.path if number == 1 else f"{self.path}.{number - 1}{suffix}"
                if number == 1 and suffix:
                    continue
                try:
                    os.rename(newer, older)
                except FileNotFoundError:
                    pass
        if self.compress:
            self.on_rotated(f"{self.path}.1")


def escape(data: bytes) -> bytes:
    """The content of a JSON string for this text, except that newlines stay; what is not UTF-8 becomes U+FFFD."""
    special = data.translate(None, _PLAIN)
    if not special:
        return data
    if special.translate(None, b'"\\\t\r\x1b') and not _is_text(special, data):
        text = data.decode("utf-8", "replace")
        return b"\n".join(encode_basestring(line)[1:-1].encode() for line in text.split("\n"))
    for character, escaped in _ESCAPES:
        if character in special:
            data = data.replace(character, escaped)
    return data


def _is_text(special: bytes, data: bytes) -> bool:
    """Whether everything beyond the usual is valid UTF-8."""
    if special.translate(None, b'"\\\t\r\x1b' + _BEYOND):
        return False
    try:
        data.decode()
    except UnicodeDecodeError:
        return False
    return True


def pieces(data: bytes) -> list[bytes]:
    """Lines with their newlines; a long one in pieces of 16 KiB, not cut inside a character."""
    out: list[bytes] = []
    for line in _lines(data):
        start = 0
        while len(line) - start > LINE:
            end = start + LINE
            while end > start + LINE - 4 and line[end] & 0xC0 == 0x80:
                end -= 1
            out.append(line[start:end])
            start = end
        out.append(line[start:])
    return out


def _lines(data: bytes) -> list[bytes]:
    lines = [line + b"\n" for line in data.split(b"\n")]
    lines[-1] = lines[-1][:-1]
    return lines if lines[-1] else lines[:-1]
