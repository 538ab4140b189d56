"""The registry's side doors: a socket for its owner's orders, an address for Prometheus."""

from __future__ import annotations

import socket
from collections.abc import Awaitable, Callable
from http.client import HTTPConnection

from tiffin import __version__
from tiffin.errors import Internal
from tiffin.http import response
from tiffin.http.distribution import Served, metrics
from tiffin.http.request import Request
from tiffin.http.response import Response
from tiffin.http.router import Route, Router
from tiffin.http.server import Server
from tiffin.registry.server.collection import Collected


def server(collect: Callable[[], Awaitable[Collected]], served: Served) -> Server:
    """Takes `POST /gc`, answers with what was removed."""

    async def sweep(request: Request) -> Response:
        return response.raw(str(await collect()).encode())

    router = Router()
    router.add(Route("POST", "/gc", sweep))
    return Server(router, served, __version__)


def metrics_server(served: Served) -> Server:
    """Has `GET /metrics` and nothing else."""

    async def show(request: Request) -> Response:
        return metrics(served)

    router = Router()
    router.add(Route("GET", "/metrics", show))
    return Server(router, served, __version__)


def ask(sock: socket.socket) -> str:
    """`POST /gc` over a connected socket: what was removed. Raises Internal with the server's reason."""
    connection = HTTPConnection("registry")
    connection.sock = sock
    connection.request("POST", "/gc", headers={"Content-Length": "0"})
    answer = connection.getresponse()
    text = answer.read().decode()
    if answer.status != 200:
        raise Internal(f"gc: {text}")
    return text
