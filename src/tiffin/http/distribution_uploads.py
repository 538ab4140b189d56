"""Blobs on their way into the registry: whole, in chunks, as a stream, or mounted from another repository."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from tiffin.http import response
from tiffin.http.distribution_content import received
from tiffin.http.request import Request
from tiffin.http.response import Response
from tiffin.model.digest import Digest
from tiffin.registry.server import names, targets
from tiffin.registry.server.refusals import Refusal, size_invalid
from tiffin.registry.server.targets import Target
from tiffin.registry.server.uploads import Upload

if TYPE_CHECKING:
    from tiffin.http.distribution import Served

_BLOCK = 1 << 20

Turns = dict[str, tuple["asyncio.Task[Any]", asyncio.Event]]
"""By the upload's id: the request that writes to it, and what tells that it has stopped."""


async def start(served: Served, request: Request, wanted: Target) -> Response:
    """POST /v2/NAME/blobs/uploads/: begin one, send one whole (`digest`), or mount (`mount`, `from`)."""
    query = request.query
    if query.text("mount") and query.text("from"):
        digest, source = names.digest(query.text("mount")), names.repository(query.text("from"))
        if await asyncio.to_thread(served.repositories.mount, wanted.name, digest, source):
            return _created(wanted.name, digest)
    algorithm = query.text("digest-algorithm", "sha256")
    digest_given = query.text("digest")
    if digest_given:
        algorithm = names.algorithm_of(names.digest(digest_given))
    names.new_hash(algorithm)
    upload = await asyncio.to_thread(served.uploads.start, wanted.name, algorithm)
    if not digest_given:
        return _progress(202, wanted.name, upload)
    try:
        return await _finish(served, request, wanted.name, upload, names.digest(digest_given))
    except BaseException:
        await asyncio.to_thread(served.uploads.end, upload)
        raise


async def status(served: Served, request: Request, wanted: Target) -> Response:
    """GET /v2/NAME/blobs/uploads/ID: how much has come."""
    return _progress(204, wanted.name, served.uploads.get(wanted.name, wanted.reference))


async def cancel(served: Served, request: Request, wanted: Target) -> Response:
    """DELETE /v2/NAME/blobs/uploads/ID."""
    upload = served.uploads.get(wanted.name, wanted.reference)
    async with _Turn(served.turns, upload):
        await asyncio.to_thread(served.uploads.end, upload)
    return response.empty(204)


async def append(served: Served, request: Request, wanted: Target) -> Response:
    """PATCH /v2/NAME/blobs/uploads/ID: a chunk, or a stream of any length."""
    upload = served.uploads.get(wanted.name, wanted.reference)
    async with _Turn(served.turns, upload):
        await _chunk(served, request, wanted.name, upload)
    return _progress(202, wanted.name, upload)


async def finish(served: Served, request: Request, wanted: Target) -> Response:
    """PUT /v2/NAME/blobs/uploads/ID?digest=…: the last chunk, if any, and what all of it is."""
    upload = served.uploads.get(wanted.name, wanted.reference)
    digest = names.digest(request.query.text("digest"))
    return await _finish(served, request, wanted.name, upload, digest)


async def _finish(served: Served, request: Request, name: str, upload: Upload, digest: Digest) -> Response:
    async with _Turn(served.turns, upload):
        await _chunk(served, request, name, upload)
        try:
            await _thread(upload.verify, digest)
        except Refusal:
            await asyncio.to_thread(served.uploads.end, upload)
            raise
        await _thread(_keep, served, name, upload, digest)
    return _created(name, digest)


def _keep(served: Served, name: str, upload: Upload, digest: Digest) -> None:
    served.repositories.add_blob(name, upload.path, digest)
    served.uploads.end(upload)


def _created(name: str, digest: Digest) -> Response:
    return response.empty(201, {"Location": targets.blob_path(name, digest), "Docker-Content-Digest": digest})


def _progress(status: int, name: str, upload: Upload) -> Response:
    headers = {
        "Location": targets.upload_path(name, upload.id),
        "Range": f"0-{max(upload.size - 1, 0)}",  # docker's way to say "nothing yet"
        "Docker-Upload-UUID": upload.id,
    }
    return response.empty(status, headers)


class _Turn:
    """One request at a time writes to an upload. A later one ends an earlier: its client has given that up."""

    def __init__(self, turns: Turns, upload: Upload) -> None:
        self._turns = turns
        self._id = upload.id
        self._done = asyncio.Event()

    async def __aenter__(self) -> None:
        while (earlier := self._turns.get(self._id)) is not None:
            task, done = earlier
            task.cancel()
            await done.wait()
        task_here = asyncio.current_task()
        assert task_here is not None
        self._turns[self._id] = (task_here, self._done)

    async def __aexit__(self, *_: object) -> None:
        del self._turns[self._id]
        self._done.set()


async def _thread(work: Callable[..., None], *arguments: object) -> None:
    """In a thread, to its end also when this is cancelled meanwhile: nothing else may touch the file until then."""
    await _settled(asyncio.create_task(asyncio.to_thread(work, *arguments)))


async def _settled(writing: asyncio.Task[None]) -> None:
    cancelled = None
    while not writing.done():
        try:
            await asyncio.wait([writing])
        except asyncio.CancelledError as error:
            cancelled = error
    if cancelled is not None:
        raise cancelled
    writing.result()


async def _chunk(served: Served, request: Request, name: str, upload: Upload) -> None:
    """Add the body. Refusal 416 for one that does not begin where the last has ended, SIZE_INVALID for a short one."""
    if not request.has_body:
        return
    given = targets.chunk(request.headers.get("content-range", ""), request.headers.get("content-length"))
    began = upload.size
    if given is not None and given[0] != began:
        headers = dict(_progress(416, name, upload).headers)
        text = f"blob upload invalid: the chunk begins at {given[0]}, {began} bytes are here"
        raise Refusal("BLOB_UPLOAD_INVALID", 416, text, headers=headers)
    await _absorb(served, request, upload)
    if given is not None and upload.size - began != given[1]:
        text = f"{upload.size - began} bytes have come, Content-Range has {given[1]}"
        upload.rewind(began)
        raise size_invalid(text)


async def _absorb(served: Served, request: Request, upload: Upload) -> None:
    """Write the body to the file, a block while the next one comes. What has come is kept when the rest does not."""
    fd = await asyncio.to_thread(upload.open)
    writing: asyncio.Task[None] | None = None
    gathered: list[bytes] = []
    size = 0
    try:
        try:
            while piece := await received(served, request):
                gathered.append(piece)
                size += len(piece)
                if size >= _BLOCK:
                    block, gathered, size = gathered, [], 0
                    if writing is not None:
                        before, writing = writing, None
                        await _settled(before)
                    writing = asyncio.create_task(asyncio.to_thread(upload.write, fd, block))
        finally:
            if writing is not None:
                await _settled(writing)
            await _thread(upload.write, fd, gathered)
    finally:
        os.close(fd)
