"""One HTTP/1.1 exchange at a time over kept connections. No redirects, no credentials, no retries: see `session`.

Failures are told in Go's words (`Get "https://…": dial tcp …: connect: connection refused`), as clients show them.
"""

import functools
import os
import select
import socket
import string
import threading
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol
from urllib.parse import quote, urlsplit

from tiffin import __version__
from tiffin.errors import Invalid
from tiffin.registry import tls
from tiffin.registry.cancellation import Cancellation, shutting_down
from tiffin.registry.failures import Cancelled, Unreachable

if TYPE_CHECKING:
    import http.client

CHUNK = 1 << 18
_SECONDS = 60.0  # without a single byte
_CONNECT_SECONDS = 15.0
_IDLE = 8  # connections kept to one origin
USER_AGENT = f"docker/28.2.2 tiffin/{__version__}"  # some registries serve nothing but what calls itself docker


class Body(Protocol):
    """What is sent: read from its beginning once for each attempt."""

    def read(self, size: int = -1, /) -> bytes: ...


@dataclass(frozen=True, slots=True)
class Proxies:
    """URLs, empty for none; exempt is the text of NO_PROXY."""

    http: str = ""
    https: str = ""
    exempt: str = ""

    def url(self, scheme: str, host: str) -> str:
        chosen = self.https if scheme == "https" else self.http
        return "" if not chosen or self._is_exempt(host) else chosen

    def _is_exempt(self, host: str) -> bool:
        if host == "localhost" or host.startswith("127.") or host == "::1":
            return True
        items = [item.strip().lower() for item in self.exempt.split(",") if item.strip()]
        return any(item == "*" or host == item.lstrip(".") or host.endswith("." + item.lstrip(".")) for item in items)


class Answer:
    """Status, headers, and a body that must be read or closed."""

    def __init__(
        self,
        method: str,
        url: str,
        raw: "http.client.HTTPResponse",
        sock: socket.socket,
        cancellation: Cancellation,
        done: Callable[[bool], None],
    ) -> None:
        self.method = method
        self._socket = sock
        self._cancellation = cancellation
        self.url = url
        self.status = raw.status
        self.reason = raw.reason
        self.headers = raw.headers
        self._raw = raw
        self._done: Callable[[bool], None] | None = done

    @property
    def length(self) -> int | None:
        """Bytes of the body where the server has said so."""
        return self._raw.length

    def read(self, size: int = CHUNK) -> bytes:
        """b"" at the end. Raises Cancelled, Unreachable when the connection breaks before the announced end."""
        import http.client

        try:
            with self._cancellation.ending(shutting_down(self._socket)):
                data = self._raw.read(size)
        except (OSError, http.client.HTTPException, ValueError) as error:
            self._finish(False)
            self._cancellation.check()
            raise broken(self.method, self.url, error) from error
        if not data and size:
            whole = not self._raw.length  # read(size) does not complain about a body that is too short
            self._finish(whole)
            if not whole:
                self._cancellation.check()
                raise Unreachable(f'{verb(self.method)} "{self.url}": unexpected EOF')
        return data

    def body(self, limit: int) -> bytes:
        """All of it. Invalid above `limit` bytes."""
        parts, size = [], 0
        while data := self.read(min(CHUNK, limit + 1 - size)):
            parts.append(data)
            size += len(data)
            if size > limit:
                self.close()
                raise Invalid(f'{verb(self.method)} "{self.url}": the answer is larger than {limit} bytes')
        return b"".join(parts)

    def close(self) -> None:
        """Let go; a short rest is read so that the connection can be kept."""
        if self._done is None:
            return
        with suppress(Unreachable, Cancelled):
            if self._raw.length is not None and self._raw.length <= CHUNK:
                while self.read():
                    pass
        self._finish(False)

    def _finish(self, whole: bool) -> None:
        done, self._done = self._done, None
        if not whole:
            self._raw.close()  # the connection no longer knows a body that only ends with it
        if done is not None:
            done(whole and not self._raw.will_close)

    def __enter__(self) -> "Answer":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def encoded(url: str, charset: str = "utf-8") -> str:
    """What is not printable ASCII of a URL in per cent signs, as net/url writes it; all else stays as it is."""
    return quote(url, safe=string.punctuation, encoding=charset)


def verb(method: str) -> str:
    return method.capitalize()


class Transport:
    """Connections by origin, shared by threads, each used by one at a time."""

    def __init__(self, proxies: Proxies | None = None, certificates: tuple[str, ...] = tls.CERTIFICATES) -> None:
        self._proxies = proxies or Proxies()
        self._certificates = certificates
        self._lock = threading.Lock()
        self._idle: dict[tuple[str, str, bool], list[http.client.HTTPConnection]] = {}

    def exchange(
        self,
        method: str,
        url: str,
        *,
        headers: Mapping[str, str],
        cancellation: Cancellation,
        body: Callable[[], Body] | None = None,
        verify: bool = True,
    ) -> Answer:
        """Send a request, wait for the header of its answer. Raises Unreachable, Cancelled.

        body gives a new reader for each attempt; its length is in the headers.
        """
        import http.client

        parts = urlsplit(url)
        key = (parts.scheme, parts.netloc, verify)
        while True:
            cancellation.check()
            connection, fresh = self._connection(key, url, method)
            try:
                raw, sock = self._send(connection, method, url, headers, body, cancellation)
            except (OSError, UnicodeError, http.client.HTTPException) as error:  # UnicodeError: a host that is no name
                connection.close()
                cancellation.check()
                if fresh or method not in ("GET", "HEAD"):  # what was sent may have been taken
                    raise broken(method, url, error) from error
                continue  # the server has closed an idle connection
            except BaseException:
                connection.close()
                raise
            release = functools.partial(self._release, key, connection)
            return Answer(method, url, raw, sock, cancellation, release)

    def _send(
        self,
        connection: "http.client.HTTPConnection",
        method: str,
        url: str,
        headers: Mapping[str, str],
        body: Callable[[], Body] | None,
        cancellation: Cancellation,
    ) -> tuple["http.client.HTTPResponse", socket.socket]:
        import http.client

        parts = urlsplit(url)
        target = encoded((parts.path or "/") + (f"?{parts.query}" if parts.query else ""))
        plain_proxy = parts.scheme == "http" and self._proxies.url("http", parts.hostname or "")
        connection.timeout = _CONNECT_SECONDS
        if connection.sock is None:
            connection.connect()
        sock: socket.socket = connection.sock
        sock.settimeout(_SECONDS)
        with cancellation.ending(shutting_down(sock)):
            sent = body() if body is not None else None
            given = {"User-Agent": USER_AGENT, **headers}
            try:
                connection.request(method, encoded(url) if plain_proxy else target, sent, given)
            except (BrokenPipeError, ConnectionResetError):
                # the server did not wait for the end of the body; it may have said why
                with suppress(OSError, http.client.HTTPException):
                    return connection.getresponse(), sock
                raise
            return connection.getresponse(), sock

    def _connection(
        self, key: tuple[str, str, bool], url: str, method: str
    ) -> tuple["http.client.HTTPConnection", bool]:
        with self._lock:
            idle = self._idle.get(key)
            while idle:
                connection = idle.pop()
                if not _ended(connection.sock):
                    return connection, False
                connection.close()
        return self._made(*key, url, method), True

    def _made(self, scheme: str, authority: str, verify: bool, url: str, method: str) -> "http.client.HTTPConnection":
        import http.client

        try:
            parts = urlsplit(f"{scheme}://{authority}")
            host, port = parts.hostname or "", parts.port
        except ValueError as error:
            raise Unreachable(f'{verb(method)} "{url}": invalid address: {error}') from error
        if scheme not in ("http", "https") or not host:
            raise Unreachable(f'{verb(method)} "{url}": unsupported protocol scheme "{scheme}"')
        proxy = urlsplit(self._proxies.url(scheme, host))
        context = tls.context(authority, verify=verify, directories=self._certificates) if scheme == "https" else None
        target, target_port = (proxy.hostname, proxy.port) if proxy.hostname else (host, port)
        options: dict[str, Any] = {"timeout": _CONNECT_SECONDS, "blocksize": CHUNK}
        if context is None:
            return http.client.HTTPConnection(target, target_port, **options)
        made = http.client.HTTPSConnection(target, target_port, context=context, **options)
        if proxy.hostname:
            made.set_tunnel(host, port or 443, _proxy_headers(proxy.username, proxy.password))
        return made

    def _release(self, key: tuple[str, str, bool], connection: "http.client.HTTPConnection", reusable: bool) -> None:
        with self._lock:
            idle = self._idle.setdefault(key, [])
            if reusable and len(idle) < _IDLE:
                idle.append(connection)
                return
        connection.close()

    def close(self) -> None:
        """Close the connections that nobody uses."""
        with self._lock:
            connections = [one for idle in self._idle.values() for one in idle]
            self._idle.clear()
        for one in connections:
            one.close()


def _ended(sock: socket.socket) -> bool:
    """Whether an idle connection's other end has closed it (or sends what nobody asked for)."""
    poll = select.poll()
    poll.register(sock, select.POLLIN)
    return bool(poll.poll(0))


def _proxy_headers(username: str | None, password: str | None) -> dict[str, str]:
    from tiffin.registry.credentials import Credentials

    return {"Proxy-Authorization": Credentials(username, password or "").basic()} if username else {}


def broken(method: str, url: str, error: BaseException) -> Unreachable | Cancelled:
    """An exchange's failure in Go's words."""
    return Unreachable(f'{verb(method)} "{url}": {_reason(url, error)}')


def _reason(url: str, error: BaseException) -> str:
    import ssl

    parts = urlsplit(url)
    address = f"{parts.hostname}:{parts.port or (443 if parts.scheme == 'https' else 80)}"
    if isinstance(error, socket.gaierror):
        return _unknown_host(parts.hostname or "", error)
    if isinstance(error, UnicodeError):
        return f"dial tcp: lookup {parts.hostname}: no such host"
    if isinstance(error, ssl.SSLError):
        return tls.reason(error)
    if isinstance(error, TimeoutError):
        return f"dial tcp {address}: i/o timeout"
    if isinstance(error, ConnectionRefusedError):
        return f"dial tcp {address}: connect: connection refused"
    if isinstance(error, ConnectionResetError):
        # http.client's RemoteDisconnected is one of these
        return "EOF" if error.errno is None else f"read tcp {address}: connection reset by peer"
    if isinstance(error, BrokenPipeError):
        return f"write tcp {address}: write: broken pipe"
    if isinstance(error, OSError) and error.errno:
        return f"dial tcp {address}: connect: {os.strerror(error.errno).lower()}"
    return f"net/http: HTTP/1.x transport connection broken: {type(error).__name__} {error}".rstrip()


def _unknown_host(host: str, error: socket.gaierror) -> str:
    server = next(iter(_name_servers()), "")
    where = f"dial tcp: lookup {host}" + (f" on {server}:53" if server else "")
    if error.errno in (socket.EAI_NONAME, getattr(socket, "EAI_NODATA", -5)):
        return f"{where}: no such host"
    if server:
        # connecting a datagram socket sends nothing; it tells whether there is a route
        family = socket.AF_INET6 if ":" in server else socket.AF_INET
        try:
            with socket.socket(family, socket.SOCK_DGRAM) as probe:
                probe.connect((server, 53))
        except OSError as unreachable:
            reason = os.strerror(unreachable.errno or 0).lower()
            return f"{where}: dial udp {server}:53: connect: {reason}"
    return f"{where}: {(error.strerror or str(error)).lower()}"


def _name_servers() -> Iterable[str]:
    try:
        with open("/etc/resolv.conf", encoding="utf-8", errors="replace") as file:
            for line in file:
                words = line.split()
                if len(words) >= 2 and words[0] == "nameserver":
                    yield words[1]
    except OSError:
        return
