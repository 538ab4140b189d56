"""The registry's front: requests of the distribution protocol to what `tiffin.registry.server` does, and its answers.

Everything is one route: paths, methods and error documents are the protocol's own. What blocks runs in threads, a piece
at a time, so that a slow client holds none.
"""

from __future__ import annotations

import json
import logging
import secrets
import sys
import time
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass, field, replace
from typing import TextIO

from tiffin import __version__
from tiffin.errors import TiffinError
from tiffin.http import distribution_access, distribution_content, distribution_lists, distribution_uploads, response
from tiffin.http.distribution_access import TOKEN
from tiffin.http.distribution_uploads import Turns
from tiffin.http.errors import ClientGone
from tiffin.http.request import Request, Version
from tiffin.http.response import Response
from tiffin.http.router import MAXIMUM, Route, Router
from tiffin.http.server import Server
from tiffin.registry.failures import out_of_space
from tiffin.registry.server import refusals
from tiffin.registry.server.counters import CONTENT_TYPE, Counters
from tiffin.registry.server.refusals import Refusal
from tiffin.registry.server.repositories import Repositories
from tiffin.registry.server.rights import Grant, Rights
from tiffin.registry.server.targets import Kind, Target, target
from tiffin.registry.server.tokens import Tokens
from tiffin.registry.server.uploads import Uploads
from tiffin.registry.server.upstream import Upstream
from tiffin.registry.server.upstreams import Upstreams
from tiffin.registry.server.users import Users

log = logging.getLogger(__name__)

_READING = ("GET", "HEAD")
_METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE")


@dataclass(slots=True)
class Served:
    """What the handlers work on. access: where a line for each request goes; None for nowhere."""

    repositories: Repositories
    uploads: Uploads
    counters: Counters
    upstream: Upstream | None = None
    """Where what is asked for comes from, of `upstreams`."""
    users: Users | None = None
    read_only: bool = False
    metrics: bool = True
    access: TextIO | None = sys.stdout
    turns: Turns = field(default_factory=dict)
    rights: Rights | None = None
    """None: whoever has a password may do everything."""
    tokens: Tokens | None = None
    realm: str = ""
    """Where tokens are to be had; empty: here, as the client calls it."""
    secure: bool = False
    upstreams: Upstreams | None = None
    grant: Grant | None = None
    """Whose request it is that is answered."""


def server(served: Served) -> Server:
    """A server of the protocol; its sockets are the caller's to give."""
    made = Server(_One(), served, __version__)
    made.headers = [
        (b"Docker-Distribution-Api-Version", b"registry/2.0"),
        (b"X-Content-Type-Options", b"nosniff"),
        (b"Server", f"tiffin/{__version__}".encode()),
    ]
    return made


class _One(Router):
    """Leads everything to one handler."""

    def resolve(self, method: str, path: str) -> tuple[Route, dict[str, str], str, Version]:
        return Route(method, path, _serve), {}, path, MAXIMUM


async def _serve(request: Request) -> Response:
    served: Served = request.services
    began = time.perf_counter()
    user = ""
    kind = "other"
    try:
        if request.path == "/healthz":
            answer, kind = response.raw(b"ok\n"), "health"
        else:
            if request.path == TOKEN and served.tokens is not None:
                kind = "token"
                answer = await distribution_access.token(served, request)
            else:
                grant = await distribution_access.admitted(served, request)
                user = grant.user if grant else ""
                if request.path == "/metrics" and served.metrics and (user or grant is None):
                    answer, kind = metrics(served), "metrics"
                else:
                    wanted = target(request.path)
                    kind = wanted.kind.value
                    answer = await _permitted(served, request, wanted, grant)
    except ClientGone:
        raise
    except TiffinError as error:
        answer = refused(refusals.of(error))
    except OSError as error:
        log.error("%s %s: %s", request.method, request.path, error)
        answer = refused(refusals.of(out_of_space(error, "the registry's storage")))
    except Exception:
        log.exception("%s %s failed", request.method, request.path)
        answer = refused(Refusal("UNKNOWN", 500, "the registry has failed; its log says how"))
    answer.after = _Account(served, request, user, kind, answer.status, began)
    return answer


def refused(refusal: Refusal) -> Response:
    """The error document."""
    return Response(refusal.status, refusal.body(), response.JSON, refusal.headers)


def metrics(served: Served) -> Response:
    """What Prometheus reads."""
    return response.raw(served.counters.text().encode(), CONTENT_TYPE)


async def _permitted(served: Served, request: Request, wanted: Target, grant: Grant | None) -> Response:
    upstream = None
    if served.upstreams is not None and wanted.name:
        name, upstream = served.upstreams.of(wanted.name, request.query.text("ns"))
        wanted = replace(wanted, name=name)
    distribution_access.check(served, request, wanted, grant)
    return await _answer(replace(served, grant=grant, upstream=upstream), request, wanted)


async def _answer(served: Served, request: Request, wanted: Target) -> Response:
    if request.method not in _METHODS:
        raise refusals.unsupported(f"method {request.method}", ", ".join(_METHODS))
    if request.method not in _READING:
        if served.upstream is not None:
            raise refusals.unsupported("this registry is a cache of another; push to that one")
        if served.read_only:
            raise refusals.unsupported("this registry is read-only")
    handlers = _HANDLERS[wanted.kind]
    handler = handlers.get("GET" if request.method == "HEAD" else request.method)
    if handler is None:
        raise refusals.unsupported(f"{request.method} here", ", ".join(handlers))
    return await handler(served, request, wanted)


async def _base(served: Served, request: Request, wanted: Target) -> Response:
    return Response(200, b"{}", response.JSON)


Handler = Callable[[Served, Request, Target], Awaitable[Response]]
_HANDLERS: dict[Kind, dict[str, Handler]] = {
    Kind.BASE: {"GET": _base},
    Kind.CATALOG: {"GET": distribution_lists.catalog},
    Kind.TAGS: {"GET": distribution_lists.tags},
    Kind.REFERRERS: {"GET": distribution_lists.referrers},
    Kind.MANIFEST: {
        "GET": distribution_content.manifest,
        "PUT": distribution_content.put_manifest,
        "DELETE": distribution_content.delete_manifest,
    },
    Kind.BLOB: {"GET": distribution_content.blob, "DELETE": distribution_content.delete_blob},
    Kind.UPLOADS: {"POST": distribution_uploads.start},
    Kind.UPLOAD: {
        "GET": distribution_uploads.status,
        "PATCH": distribution_uploads.append,
        "PUT": distribution_uploads.finish,
        "DELETE": distribution_uploads.cancel,
    },
}


class _Account:
    """Counts a request and writes its line, when its answer has been sent."""

    def __init__(self, served: Served, request: Request, user: str, kind: str, status: int, began: float) -> None:
        self._served, self._request, self._user, self._kind = served, request, user, kind
        self._status, self._began = status, began

    def __call__(self, sent: int) -> None:
        request, counters = self._request, self._served.counters
        seconds = time.perf_counter() - self._began
        method = request.method if request.method in _METHODS else "OTHER"
        counters.add("requests_total", method=method, kind=self._kind, code=str(self._status))
        counters.add("sent_bytes_total", sent)
        counters.took(seconds)
        if self._served.access is not None and self._kind not in ("health", "metrics"):
            line = json.dumps(dict(self._fields(sent, seconds)), ensure_ascii=True, separators=(",", ":"))
            print(line, file=self._served.access, flush=True)

    def _fields(self, sent: int, seconds: float) -> Iterator[tuple[str, object]]:
        request = self._request
        now = time.time()
        yield "time", time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(now)) + f".{int(now % 1 * 1000):03d}Z"
        yield "id", secrets.token_hex(6)
        yield "from", request.exchange.peer
        yield "user", self._user
        yield "method", request.method
        yield "path", request.path[:1024]
        yield "status", self._status
        yield "received", int(length) if (length := request.headers.get("content-length", "0")).isdigit() else None
        yield "sent", sent
        yield "seconds", round(seconds, 6)
        yield "agent", request.headers.get("user-agent", "")[:200]
