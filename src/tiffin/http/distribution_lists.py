"""The registry's lists: repositories, tags, referrers."""

from __future__ import annotations

import asyncio
import json
from functools import partial
from typing import TYPE_CHECKING, Any

from tiffin.http import response
from tiffin.http.request import Request
from tiffin.http.response import Response
from tiffin.model.descriptor import MAX_DOCUMENT, OCI_INDEX
from tiffin.registry.server import names, targets
from tiffin.registry.server.refusals import Refusal
from tiffin.registry.server.rights import PULL, Grant
from tiffin.registry.server.targets import Target

if TYPE_CHECKING:
    from tiffin.http.distribution import Served

_MOST = 1000
_MOST_TAGS = 10_000
_ENVELOPE = 1024


async def catalog(served: Served, request: Request, wanted: Target) -> Response:
    """GET /v2/_catalog: the repositories that one may read."""
    count = targets.count(request.query.text("n"), _MOST)
    grant = served.grant
    readable = None if grant is None or grant.rights is None else partial(_readable, grant)
    found, more = await asyncio.to_thread(served.repositories.catalog, request.query.text("last"), count, readable)
    headers = {"Link": targets.next_page("/v2/_catalog", count, found[-1])} if more else {}
    return response.json({"repositories": found}, headers=headers)


async def tags(served: Served, request: Request, wanted: Target) -> Response:
    """GET /v2/NAME/tags/list. A cache asks its upstream, and lists what it holds where that does not answer."""
    count, last = targets.count(request.query.text("n"), _MOST_TAGS), request.query.text("last")
    path = f"/v2/{wanted.name}/tags/list"
    listed = None if served.upstream is None else await asyncio.to_thread(served.upstream.tags, wanted.name)
    if listed is not None:
        behind = [tag for tag in listed if tag > last]
        found, more = behind[:count], 0 < count < len(behind)
    else:
        found, more = await asyncio.to_thread(served.repositories.tags, wanted.name, last, count)
    headers = {"Link": targets.next_page(path, count, found[-1])} if more else {}
    return response.json({"name": wanted.name, "tags": found}, headers=headers)


async def referrers(served: Served, request: Request, wanted: Target) -> Response:
    """GET /v2/NAME/referrers/DIGEST."""
    subject = names.digest(wanted.reference)
    kind = request.query.text("artifactType")
    count, last = targets.count(request.query.text("n"), _MOST), request.query.text("last")
    headers = {"OCI-Filters-Applied": "artifactType"} if kind else {}
    if not count:
        raise Refusal("PAGINATION_NUMBER_INVALID", 400, "n must be at least 1 here")
    listed = None
    if served.upstream is not None:
        listed = await asyncio.to_thread(served.upstream.referrers, wanted.name, subject, kind)
    if listed is not None:
        found, following = _page([one for one in listed if one["digest"] > last], count)
    else:
        found, following = await asyncio.to_thread(
            served.repositories.referrers, wanted.name, subject, kind, last, count, MAX_DOCUMENT - _ENVELOPE
        )
    if following:
        more = {"artifactType": kind} if kind else {}
        headers["Link"] = targets.next_page(f"/v2/{wanted.name}/referrers/{subject}", count, following, **more)
    body = b'{"schemaVersion":2,"mediaType":"%s","manifests":[%s]}' % (OCI_INDEX.encode(), b",".join(found))
    return Response(200, body, OCI_INDEX, headers)


def _readable(grant: Grant, name: str) -> bool:
    # a token for the catalog names no repositories
    return PULL in Grant(grant.user, grant.rights).allowed(name)


def _page(listed: list[dict[str, Any]], count: int) -> tuple[list[bytes], str]:
    """The first descriptors of a list that fit into an answer, and behind which the next page begins ("" for none)."""
    found: list[bytes] = []
    size = _ENVELOPE
    for number, one in enumerate(listed):
        document = json.dumps(one, separators=(",", ":")).encode()
        size += len(document) + 1
        if found and (len(found) == count or size > MAX_DOCUMENT):
            return found, str(listed[number - 1]["digest"])
        found.append(document)
    return found, ""
