"""/containers/ID/archive, export, changes: a container's files."""

from __future__ import annotations

import asyncio
import base64
import os
import stat

import msgspec

from tiffin.engine.container_archive import PathStat
from tiffin.engine.moments import rfc3339
from tiffin.http import response
from tiffin.http.containers import containers_of
from tiffin.http.flows import Inflow, outflow
from tiffin.http.request import Request
from tiffin.http.response import Response
from tiffin.http.router import route

TAR = "application/x-tar"
_HEADER = "X-Docker-Container-Path-Stat"

# Go's os.FileMode: what is not a permission bit has places of its own
_KINDS = (
    (stat.S_IFDIR, 1 << 31),
    (stat.S_IFLNK, 1 << 27),
    (stat.S_IFBLK, 1 << 26),
    (stat.S_IFCHR, 1 << 26 | 1 << 21),
    (stat.S_IFIFO, 1 << 25),
    (stat.S_IFSOCK, 1 << 24),
)
_BITS = ((stat.S_ISUID, 1 << 23), (stat.S_ISGID, 1 << 22), (stat.S_ISVTX, 1 << 20))


def go_mode(mode: int) -> int:
    """A mode as Go's FileMode."""
    found = mode & 0o777
    for kind, bit in _KINDS:
        if stat.S_IFMT(mode) == kind:
            found |= bit
    for flag, bit in _BITS:
        if mode & flag:
            found |= bit
    return found


def _shown(name: str) -> str:
    """As Go puts a name into JSON: bytes that are no UTF-8 are told as replaced."""
    return os.fsencode(name).decode("utf-8", "replace")


def _header(found: PathStat) -> dict[str, str]:
    body = {
        "name": _shown(found.name),
        "size": found.status.st_size,
        "mode": go_mode(found.status.st_mode),
        "mtime": rfc3339(found.status.st_mtime_ns),
        "linkTarget": _shown(found.link_target),
    }
    return {_HEADER: base64.b64encode(msgspec.json.encode(body)).decode()}


@route("HEAD", "/containers/{id}/archive")
async def stat_path(request: Request) -> Response:
    archives = containers_of(request).archives
    found = await archives.stat(request["id"], request.query.text("path"))
    return response.empty(200, headers=_header(found))


@route("GET", "/containers/{id}/archive")
async def get_archive(request: Request) -> Response:
    containers = containers_of(request)
    container = containers.get(request["id"])
    found, pieces = await containers.archives.get(request["id"], request.query.text("path"))
    containers.context.publish(container, "archive-path")
    return response.stream(outflow(pieces), TAR, headers=_header(found))


@route("PUT", "/containers/{id}/archive")
async def put_archive(request: Request) -> Response:
    containers = containers_of(request)
    container = containers.get(request["id"])
    query = request.query
    flow = Inflow(request)
    try:
        await containers.archives.put(
            request["id"],
            query.text("path"),
            flow,
            keep_directories=query.flag("noOverwriteDirNonDir"),
            copy_owner=query.flag("copyUIDGID"),
        )
    finally:
        await flow.close()
    containers.context.publish(container, "extract-to-dir")
    return response.empty(200)


@route("GET", "/containers/{id}/export")
async def export(request: Request) -> Response:
    pieces = await asyncio.to_thread(containers_of(request).exports.export, request["id"])
    return response.stream(outflow(pieces), "application/octet-stream")


@route("GET", "/containers/{id}/changes")
async def changes(request: Request) -> Response:
    found = await containers_of(request).exports.changes(request["id"])
    shown = [{"Path": one.path.decode("utf-8", "replace"), "Kind": one.kind.value} for one in found]
    return response.json(shown or None)
