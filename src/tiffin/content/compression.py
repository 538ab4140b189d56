"""Compressed streams, told apart by their first bytes, decompressed in this process: never by a program in PATH."""

import bz2
import importlib
import lzma
import zlib
from collections.abc import Callable
from types import ModuleType
from typing import Protocol

import zstandard

from tiffin.errors import Invalid

_inflate: ModuleType
_InflateError: type[Exception]
try:
    _inflate = importlib.import_module("isal.isal_zlib")
    _InflateError = _inflate.error
except ImportError:  # not built for this machine
    _inflate, _InflateError = zlib, zlib.error

CHUNK = 1 << 18
_OUTPUT = 1 << 20
_LZMA_MEMORY = 256 << 20
_ZSTD_WINDOW = 1 << 27
_MAGIC = (
    (b"\x1f\x8b\x08", "gzip"),
    (b"\x28\xb5\x2f\xfd", "zstd"),
    (b"\xfd7zXZ\x00", "xz"),
    (b"BZh", "bzip2"),
)
_PEEK = 6


class Readable(Protocol):
    def read(self, size: int = -1, /) -> bytes: ...


class _Decoder(Protocol):
    """bz2's and lzma's decompressors; zlib's in `_Zlib`. Output is bounded, so that a bomb does not fill the memory."""

    @property
    def eof(self) -> bool: ...
    @property
    def needs_input(self) -> bool: ...
    @property
    def unused_data(self) -> bytes: ...
    def decompress(self, data: bytes, /, max_length: int = -1) -> bytes: ...


class _Zlib:
    def __init__(self) -> None:
        # wbits 31: a gzip header and trailer, checked
        self._decoder = _inflate.decompressobj(wbits=31)

    @property
    def eof(self) -> bool:
        return bool(self._decoder.eof)

    @property
    def needs_input(self) -> bool:
        return not self._decoder.unconsumed_tail

    @property
    def unused_data(self) -> bytes:
        return bytes(self._decoder.unused_data)

    def decompress(self, data: bytes, /, max_length: int = -1) -> bytes:
        return bytes(self._decoder.decompress(self._decoder.unconsumed_tail + data, max_length))


class Prefixed:
    """A stream with bytes put back in front."""

    def __init__(self, prefix: bytes, stream: Readable) -> None:
        self._prefix = prefix
        self._stream = stream

    def read(self, size: int = -1, /) -> bytes:
        if not self._prefix:
            return self._stream.read(size)
        if size < 0:
            data, self._prefix = self._prefix + self._stream.read(), b""
            return data
        data, self._prefix = self._prefix[:size], self._prefix[size:]
        return data


class _Members:
    """Decompresses members one after another (gzip, xz and bzip2 files may hold several)."""

    def __init__(self, stream: Readable, make: Callable[[], _Decoder], name: str) -> None:
        self._stream = stream
        self._make = make
        self._name = name
        self._decoder: _Decoder | None = make()
        self._output = b""
        self._position = 0

    def read(self, size: int = -1, /) -> bytes:
        if size < 0:
            return b"".join(iter(lambda: self.read(_OUTPUT), b""))
        while self._position == len(self._output) and self._decoder is not None:
            self._output, self._position = self._step(self._decoder), 0
        data = self._output[self._position : self._position + size]
        self._position += len(data)
        return data

    def _step(self, decoder: _Decoder) -> bytes:
        if not decoder.eof:
            data = self._stream.read(CHUNK) if decoder.needs_input else b""
            if not data and decoder.needs_input:
                raise Invalid(f"{self._name} stream ends in the middle: unexpected EOF")
            return self._decode(decoder, data)
        rest = decoder.unused_data.lstrip(b"\0")  # padding after the last member is allowed
        while not rest and (more := self._stream.read(CHUNK)):
            rest = more.lstrip(b"\0")
        self._decoder = self._make() if rest else None
        return self._decode(self._decoder, rest) if self._decoder else b""

    def _decode(self, decoder: _Decoder, data: bytes) -> bytes:
        try:
            return decoder.decompress(data, max_length=_OUTPUT)
        except (_InflateError, lzma.LZMAError, OSError, EOFError, ValueError) as error:
            raise Invalid(f"damaged {self._name} stream: {error}") from error


class _Zstandard:
    def __init__(self, stream: Readable) -> None:
        decompressor = zstandard.ZstdDecompressor(max_window_size=_ZSTD_WINDOW)
        self._reader = decompressor.stream_reader(stream, read_size=CHUNK, read_across_frames=True)  # type: ignore[arg-type]

    def read(self, size: int = -1, /) -> bytes:
        try:
            return self._reader.read(size)
        except zstandard.ZstdError as error:
            raise Invalid(f"damaged zstd stream: {error}") from error


def detect(head: bytes) -> str:
    """`gzip`, `zstd`, `xz`, `bzip2`, or `` for anything else."""
    return next((name for magic, name in _MAGIC if head.startswith(magic)), "")


def decompressed(stream: Readable) -> tuple[str, Readable]:
    """The compression found and the plain stream. Reading raises Invalid where the data is damaged."""
    head = b""
    while len(head) < _PEEK and (more := stream.read(_PEEK - len(head))):
        head += more
    whole = Prefixed(head, stream)
    match detect(head):
        case "gzip":
            return "gzip", _Members(whole, _Zlib, "gzip")
        case "zstd":
            return "zstd", _Zstandard(whole)
        case "xz":
            return "xz", _Members(whole, lambda: lzma.LZMADecompressor(memlimit=_LZMA_MEMORY), "xz")
        case "bzip2":
            return "bzip2", _Members(whole, bz2.BZ2Decompressor, "bzip2")
        case _:
            return "", whole


def read_exactly(stream: Readable, size: int) -> bytes:
    """Up to `size` bytes, fewer only at the end of the stream."""
    data = stream.read(size)
    if len(data) == size or not data:
        return data
    parts = [data]
    missing = size - len(data)
    while missing and (data := stream.read(missing)):
        parts.append(data)
        missing -= len(data)
    return b"".join(parts)
