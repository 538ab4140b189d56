"""The Engine API for commands: requests by path and query, errors as tiffin.errors, streams and hijacked sockets.

    engine = Engine(Endpoint("unix:///run/tiffin/tiffin.sock"))
    engine.get("/containers/json", all=True)          # -> list of dicts, as the API documents them

One Engine keeps one idle connection; each stream takes a connection of its own.
"""

from __future__ import annotations

import json
import os

from tiffin import errors
from tiffin.client.wire_http import Connection, Response

TYPE_CHECKING = False
if TYPE_CHECKING:
    import socket
    from collections.abc import Iterable, Iterator
    from typing import Any

    from tiffin.client.endpoint import Endpoint
    from tiffin.client.tls import TlsSocket

NEWEST_API = (1, 51)
OLDEST_API = (1, 24)

_BY_STATUS = {
    304: errors.NotModified,
    400: errors.Invalid,
    401: errors.Unauthorized,
    403: errors.Forbidden,
    404: errors.NotFound,
    409: errors.Conflict,
    501: errors.Unsupported,
    503: errors.Unavailable,
}


def _check_name(path: str) -> None:
    """Raises Invalid where a path lacks the name it is about: the daemon would know no such route."""
    kind, slash, rest = path[1:].partition("/")
    if slash and (not rest or rest.startswith("/")) and kind in ("containers", "networks", "volumes"):
        raise errors.Invalid(f"invalid {kind[:-1]} name or ID: value is empty")


class Hijacked:
    """A socket that carries a container's streams after the HTTP exchange.

    `first` are bytes that came with the answer's head; `framed` says whether stdout and stderr are multiplexed.
    """

    def __init__(self, sock: socket.socket | TlsSocket, first: bytes, framed: bool) -> None:
        self.socket, self.first, self.framed = sock, first, framed


class Engine:
    """A daemon, reached over `endpoint`. `api_version` None: agreed with the daemon on first use."""

    def __init__(self, endpoint: Endpoint, api_version: str | None = None) -> None:
        self.endpoint = endpoint
        self._version = api_version
        self._idle: Connection | None = None
        self.ping_headers: dict[str, str] = {}
        self.extra_headers: dict[str, str] = {}

    # -- plumbing

    def _open(self) -> Connection:
        if self._idle is not None:
            connection, self._idle = self._idle, None
            return connection
        return Connection(self.endpoint.open())

    def _exchange(
        self, method: str, target: str, headers: dict[str, str], body: bytes | Iterable[bytes] | None
    ) -> Response:
        reused = self._idle is not None
        connection = self._open()
        try:
            connection.send(method, target, headers, body)
            return connection.response(method)
        except OSError as error:
            connection.close()
            # an idle connection may have been closed meanwhile; a body that is a stream can't be sent twice
            if reused and (body is None or isinstance(body, bytes)):
                return self._exchange(method, target, headers, body)
            text = f"error during connect: {method} {self.endpoint.host}{target}: {error}"
            raise errors.Unavailable(text) from error

    def release(self, response: Response) -> None:
        """Keep the connection for the next request when the answer was read to its end."""
        if response.done and response.reusable and not response.connection.closed and self._idle is None:
            self._idle = response.connection
        else:
            response.connection.close()

    @property
    def version(self) -> str:
        """The API version spoken, such as `1.51`. Asks the daemon once."""
        if self._version is None:
            self._version = os.environ.get("DOCKER_API_VERSION") or self._agree()
        return self._version

    def _agree(self) -> str:
        self.ping()
        offered = self.ping_headers.get("api-version", "1.24")
        theirs = tuple(int(part) for part in offered.split("."))
        return ".".join(str(part) for part in min(theirs, NEWEST_API))

    def ping(self) -> None:
        """Ask `/_ping`; the answer's headers stay in `ping_headers`. Raises Unavailable."""
        headers = {"Host": self.endpoint.host_header, "User-Agent": "Tiffin-Client"}
        response = self._exchange("HEAD", f"{self.endpoint.prefix}/_ping", headers, None)
        self.ping_headers = response.headers
        self.release(response)

    def at_least(self, version: str) -> bool:
        """Whether the agreed API is `version` or newer."""
        return tuple(map(int, self.version.split("."))) >= tuple(map(int, version.split(".")))

    def request(
        self,
        method: str,
        path: str,
        query: dict[str, Any] | None = None,
        body: Any = None,
        headers: dict[str, str] | None = None,
    ) -> Response:
        """Send and return the answer with its body unread; an answer of 400 and above is raised.

        `body`: bytes or an iterable of bytes go as they are, anything else as JSON. None in `query` leaves the key out.
        """
        _check_name(path)
        target = f"{self.endpoint.prefix}/v{self.version}{path}{encode_query(query)}"
        sent = {"Host": self.endpoint.host_header, "User-Agent": "Tiffin-Client"} | self.extra_headers | (headers or {})
        data = body
        if isinstance(body, dict | list):
            data = json.dumps(body, separators=(",", ":")).encode()
            sent["Content-Type"] = "application/json"
        response = self._exchange(method, target, sent, data)
        if response.status >= 400 or response.status == 304:
            raise self._error(response)
        return response

    def _error(self, response: Response) -> errors.TiffinError:
        raw = response.read()
        self.release(response)
        kind = _BY_STATUS.get(response.status, errors.Internal)
        text = raw.decode("utf-8", "replace").strip()
        try:
            document = json.loads(text) if text else {}
        except ValueError:
            document = {"message": text}
        message = document.get("message", "") if isinstance(document, dict) else text
        if not message and response.status == 304:
            message = "not modified"
        if not message:
            message = f"request returned {response.reason or response.status} for API route and version {self.version}"
        return kind(f"Error response from daemon: {message.strip()}")

    # -- whole answers

    def call(
        self,
        method: str,
        path: str,
        query: dict[str, Any] | None = None,
        body: Any = None,
        headers: dict[str, str] | None = None,
    ) -> Any:
        """The answer decoded from JSON, or None when there is no body."""
        response = self.request(method, path, query, body, headers)
        raw = response.read()
        self.release(response)
        return json.loads(raw) if raw.strip() else None

    def get(self, path: str, **query: Any) -> Any:
        return self.call("GET", path, query)

    def post(self, path: str, body: Any = None, **query: Any) -> Any:
        return self.call("POST", path, query, body)

    def delete(self, path: str, **query: Any) -> Any:
        return self.call("DELETE", path, query)

    # -- streams

    def documents(
        self,
        method: str,
        path: str,
        query: dict[str, Any] | None = None,
        body: Any = None,
        headers: dict[str, str] | None = None,
    ) -> Iterator[dict[str, Any]]:
        """The JSON documents of a streamed answer, one at a time (events, stats, pull, load)."""
        response = self.request(method, path, query, body, headers)
        return self._documents(response)

    def _documents(self, response: Response) -> Iterator[dict[str, Any]]:
        decoder = json.JSONDecoder()
        for line in response.lines():
            text = line.decode("utf-8", "replace").strip()
            while text:
                document, end = decoder.raw_decode(text)
                yield document
                text = text[end:].lstrip()
        self.release(response)

    def hijack(self, path: str, query: dict[str, Any] | None = None, body: Any = None) -> Hijacked:
        """POST and take the socket over. Raises the daemon's error when it refuses."""
        headers = {"Upgrade": "tcp", "Connection": "Upgrade"}
        if body is None:
            headers["Content-Type"] = "text/plain"
        response = self.request("POST", path, query, body, headers)
        kind = response.headers.get("content-type", "")
        connection = response.connection
        return Hijacked(connection.socket, connection.leftover(), kind != "application/vnd.docker.raw-stream")

    def fork(self) -> Engine:
        """An Engine for another thread: same daemon, same version, a connection of its own."""
        other = Engine(self.endpoint, self.version)
        other.extra_headers = self.extra_headers
        return other


_SAFE = frozenset(b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~")


def quote(text: str, keep: bytes = b"") -> str:
    """Percent-encode for a path or query component (urllib costs 8 ms to import)."""
    data = text.encode("utf-8", "surrogateescape")
    return "".join(chr(byte) if byte in _SAFE or byte in keep else f"%{byte:02X}" for byte in data)


def encode_query(query: dict[str, Any] | None) -> str:
    """`?a=1&b=x`: True as 1, False and None left out, dicts as JSON, lists repeated."""
    pairs = []
    for key, value in (query or {}).items():
        if value is None or value is False:
            continue
        for item in value if isinstance(value, list) else [value]:
            if item is True:
                item = "1"
            elif isinstance(item, dict):
                item = json.dumps(item, separators=(",", ":"))
            pairs.append(f"{quote(key)}={quote(str(item))}")
    return "?" + "&".join(pairs) if pairs else ""
