"""HTTP servers of the tests' own, in this process, that listen in an engine's network namespace."""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from rig.engine import Engine
from rig.netns import in_thread
from tiffin.linux.namespaces import CLONE_NEWNET, setns


class Quiet(BaseHTTPRequestHandler):
    """Keeps connections, prints nothing."""

    protocol_version = "HTTP/1.1"

    def log_message(self, format: str, *args: object) -> None:
        pass


@contextlib.contextmanager
def answering(
    engine: Engine, handler: type[BaseHTTPRequestHandler], address: str = "127.0.0.1", port: int = 0
) -> Iterator[int]:
    """A thread a connection; the port, a free one for 0."""

    def listen() -> socket.socket:
        with open(f"/proc/{engine.machine.pid}/ns/net") as namespace:
            setns(namespace.fileno(), CLONE_NEWNET)
        return socket.create_server((address, port), backlog=64)

    server = ThreadingHTTPServer((address, port), handler, bind_and_activate=False)
    server.socket.close()
    server.socket = in_thread(listen)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield int(server.socket.getsockname()[1])
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
