"""Manifests and blobs of the registry: read, published, removed."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Callable
from contextlib import suppress
from typing import TYPE_CHECKING, BinaryIO

from tiffin.errors import NotFound
from tiffin.http import response
from tiffin.http.flows import outflow
from tiffin.http.request import Request
from tiffin.http.response import File, Response
from tiffin.model.descriptor import MAX_DOCUMENT
from tiffin.model.digest import Digest
from tiffin.registry.server import names, targets
from tiffin.registry.server.downloads import Download
from tiffin.registry.server.refusals import Refusal, blob_unknown, manifest_unknown, too_large
from tiffin.registry.server.targets import Target

if TYPE_CHECKING:
    from tiffin.http.distribution import Served

_Body = Callable[[int, int], bytes | File | AsyncIterator[bytes]]
_Release = Callable[[], None]
_OCTETS = "application/octet-stream"
_PIECE = 1 << 20
_MOST_TAGS = 100
_SMALL = 64 << 10
_FOREVER = "public, max-age=31536000, immutable"
_SECONDS = 60.0


async def manifest(served: Served, request: Request, wanted: Target) -> Response:
    """GET, HEAD /v2/NAME/manifests/REFERENCE."""
    warning = ""
    if served.upstream is not None:
        found, warning = await asyncio.to_thread(served.upstream.manifest, wanted.name, wanted.reference)
    else:
        found = await asyncio.to_thread(served.repositories.find, wanted.name, wanted.reference)
    by_digest = names.is_digest(wanted.reference)
    if not by_digest and not targets.accepts(request.headers.get("accept", ""), found.media_type):
        raise manifest_unknown(f"the tag has a manifest of type {found.media_type}, which Accept does not list")
    headers = _headers(found.digest)
    if by_digest:
        headers["Cache-Control"] = _FOREVER
    if warning:
        headers["Warning"] = warning
    if _unchanged(request, found.digest):
        return response.empty(304, headers)
    if request.method == "HEAD":
        return Response(200, _nothing(), found.media_type, headers, length=found.size)
    raw = await asyncio.to_thread(served.repositories.read, found)
    return Response(200, raw, found.media_type, headers)


def _headers(digest: Digest) -> dict[str, str]:
    return {"Docker-Content-Digest": digest, "ETag": f'"{digest}"'}


def _unchanged(request: Request, digest: Digest) -> bool:
    given = request.headers.get("if-none-match", "")
    return any(word.strip().removeprefix("W/") in (f'"{digest}"', "*") for word in given.split(",") if word.strip())


async def _nothing() -> AsyncIterator[bytes]:
    return
    yield b""


async def put_manifest(served: Served, request: Request, wanted: Target) -> Response:
    """PUT /v2/NAME/manifests/REFERENCE."""
    length = request.headers.get("content-length", "")
    if length.isdigit() and int(length) > MAX_DOCUMENT:
        raise too_large("MANIFEST_INVALID", MAX_DOCUMENT)
    raw = bytearray()
    while piece := await received(served, request):
        raw += piece
        if len(raw) > MAX_DOCUMENT:
            raise too_large("MANIFEST_INVALID", MAX_DOCUMENT)
    tags = request.query.texts("tag")
    if len(tags) > _MOST_TAGS:
        raise Refusal("MANIFEST_INVALID", 414, f"more than {_MOST_TAGS} tags at once")
    kind = request.headers.get("content-type", "")
    put = served.repositories.put_manifest
    found, described = await asyncio.to_thread(put, wanted.name, wanted.reference, bytes(raw), kind, tags)
    headers = {
        "Location": targets.manifest_path(wanted.name, found.digest),
        "Docker-Content-Digest": found.digest,
    }
    if described.subject:
        headers["OCI-Subject"] = described.subject
    if tags:
        headers["OCI-Tag"] = ", ".join(tags)
    return response.empty(201, headers)


async def received(served: Served, request: Request) -> bytes:
    """The next piece of the body; b"" at its end. Raises Invalid when none comes for a minute."""
    try:
        async with asyncio.timeout(_SECONDS):
            piece = await request.exchange.receive()
    except TimeoutError as error:
        text = f"no byte of the body has come for {_SECONDS:.0f} seconds"
        raise Refusal("BLOB_UPLOAD_INVALID", 408, text) from error
    served.counters.add("received_bytes_total", len(piece))
    return piece


async def delete_manifest(served: Served, request: Request, wanted: Target) -> Response:
    """DELETE /v2/NAME/manifests/REFERENCE: a tag, or a manifest with its tags."""
    if names.is_digest(wanted.reference):
        digest = names.digest(wanted.reference)
        await asyncio.to_thread(served.repositories.delete_manifest, wanted.name, digest)
    else:
        await asyncio.to_thread(served.repositories.delete_tag, wanted.name, wanted.reference)
    return response.empty(202)


async def delete_blob(served: Served, request: Request, wanted: Target) -> Response:
    """DELETE /v2/NAME/blobs/DIGEST."""
    digest = names.digest(wanted.reference)
    await asyncio.to_thread(served.repositories.delete_blob, wanted.name, digest)
    return response.empty(202)


async def blob(served: Served, request: Request, wanted: Target) -> Response:
    """GET, HEAD /v2/NAME/blobs/DIGEST, whole or in part."""
    digest = names.digest(wanted.reference)
    headers = {**_headers(digest), "Cache-Control": _FOREVER, "Accept-Ranges": "bytes"}
    if _unchanged(request, digest):
        await asyncio.to_thread(_size, served, wanted.name, digest)
        return response.empty(304, headers)
    if request.method == "HEAD":
        size = await asyncio.to_thread(_size, served, wanted.name, digest)
        return Response(200, _nothing(), _OCTETS, headers, length=size)
    held: int | Download
    if served.upstream is not None:
        held = await asyncio.to_thread(served.upstream.blob, wanted.name, digest)
    else:
        held = await asyncio.to_thread(served.repositories.blob, wanted.name, digest)
    if isinstance(held, Download):
        return _part(request, held.size, headers, lambda *part: _Following(held, *part), held.leave)
    try:
        file = await asyncio.to_thread(served.repositories.storage.open, digest)
    except NotFound as error:
        raise blob_unknown(digest) from error
    if file is not None:
        opened = file
        return _part(request, held, headers, lambda *part: _from_file(opened, *part), opened.close)
    storage = served.repositories.storage
    return _part(request, held, headers, lambda *part: outflow(storage.pieces(digest, *part)), lambda: None)


def _part(request: Request, size: int, headers: dict[str, str], body: _Body, release: _Release) -> Response:
    try:
        part = targets.part(request.headers.get("range", ""), size)
    except BaseException:
        release()
        raise
    if part is None:
        return Response(200, body(0, size), _OCTETS, headers, length=size)
    offset, length = part
    headers["Content-Range"] = f"bytes {offset}-{offset + length - 1}/{size}"
    return Response(206, body(offset, length), _OCTETS, headers, length=length)


def _from_file(file: BinaryIO, offset: int, length: int) -> bytes | File:
    if length > _SMALL:
        return File(file, offset, length)
    with file:
        return os.pread(file.fileno(), length, offset)  # leaves in one packet with its header


def _size(served: Served, name: str, digest: Digest) -> int:
    if served.upstream is not None:
        return served.upstream.size(name, digest)
    return served.repositories.blob(name, digest)


class _Following:
    """What has come of a blob, and then what comes. Raises what ended the download: the answer breaks off."""

    def __init__(self, download: Download, offset: int, length: int) -> None:
        self._download = download
        self._at, self._end = offset, offset + length
        self._news = asyncio.Event()
        self._loop = asyncio.get_running_loop()
        download.watch(self._changed)

    def _changed(self) -> None:
        with suppress(RuntimeError):  # the loop has gone
            self._loop.call_soon_threadsafe(self._news.set)

    def __aiter__(self) -> AsyncIterator[bytes]:
        return self

    async def __anext__(self) -> bytes:
        if self._at >= self._end:
            raise StopAsyncIteration
        while (ready := min(self._download.available(), self._end) - self._at) <= 0:
            await self._news.wait()
            self._news.clear()
        data = await asyncio.to_thread(self._download.read, self._at, min(ready, _PIECE))
        self._at += len(data)
        return data

    async def aclose(self) -> None:
        self._download.unwatch(self._changed)
        self._download.leave()
