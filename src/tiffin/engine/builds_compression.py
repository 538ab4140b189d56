"""Layers in the form in which they travel. All of it blocks."""

from __future__ import annotations

import hashlib
import importlib
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import zstandard

from tiffin.build.solve.solved import LayerBlob
from tiffin.content.blobs import BlobStore, require_free_space
from tiffin.content.compression import Readable, decompressed
from tiffin.model.descriptor import Descriptor
from tiffin.model.digest import Digest

SUFFIXES = {"uncompressed": "", "gzip": "+gzip", "zstd": "+zstd"}
"""Of layers' media types, by compression."""

LEVELS = {"uncompressed": 0, "gzip": 9, "zstd": 22}
"""The highest of each."""

_CHUNK = 1 << 20
_OFTEN = 64 << 20


def compressed(
    blobs: BlobStore, layer: LayerBlob, scratch: Path, wanted: str, *, level: int | None, force: bool
) -> tuple[Descriptor, Path]:
    """A layer's blob and the file that holds it; the descriptor's media type is the compression.

    What lies plain in the store is compressed into `scratch`; what is compressed otherwise stays, unless forced. The
    same layer always gives the same bytes.
    """
    with blobs.open(layer.blob) as file:
        found = decompressed(file)[0] or "uncompressed"
    travels = found in SUFFIXES and found != "uncompressed"
    if found == wanted or (travels and not force):
        return Descriptor(found, layer.blob, blobs.size(layer.blob)), blobs.path(layer.blob)
    path = scratch / layer.diff.replace(":", "-")
    sha256, size, checked = hashlib.sha256(), 0, 0
    with blobs.open(layer.blob) as file, path.open("wb", buffering=0) as target:
        for piece in _pieces(decompressed(file)[1], wanted, level):
            if size >= checked:
                require_free_space(blobs.root)
                checked = size + _OFTEN
            target.write(piece)
            sha256.update(piece)
            size += len(piece)
    return Descriptor(wanted, Digest("sha256:" + sha256.hexdigest()), size), path


def _pieces(plain: Readable, wanted: str, level: int | None) -> Iterator[bytes]:
    compress: Any = _plain
    finish: Callable[[], bytes] = bytes
    if wanted == "gzip":
        packer = _gzip(level)
        compress, finish = packer.compress, packer.flush
    elif wanted == "zstd":
        stream = zstandard.ZstdCompressor(level=3 if level is None else level).compressobj()
        compress, finish = stream.compress, stream.flush
    while data := plain.read(_CHUNK):
        if piece := compress(data):
            yield piece
    if piece := finish():
        yield piece


def _gzip(level: int | None) -> Any:
    if level is not None:
        return zlib.compressobj(level, wbits=31)
    try:
        isal = importlib.import_module("isal.isal_zlib")
    except ImportError:  # not built for this machine
        return zlib.compressobj(wbits=31)
    return isal.compressobj(2, wbits=31)


def _plain(data: bytes) -> bytes:
    return data
