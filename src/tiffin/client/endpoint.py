"""Where a daemon is: `unix://`, `tcp://` (with TLS or without), `ssh://`; and how to open a socket to it."""

from __future__ import annotations

import os
import socket

from tiffin.errors import Invalid, Unavailable

TYPE_CHECKING = False
if TYPE_CHECKING:
    import ssl

    from tiffin.client.tls import TlsSocket

DEFAULT_SOCKET = "/run/tiffin/tiffin.sock"


class Tls:
    """Paths of PEM files (empty when not given) and whether the server's certificate is checked."""

    def __init__(self, ca: str = "", cert: str = "", key: str = "", verify: bool = True) -> None:
        self.ca, self.cert, self.key, self.verify = ca, cert, key, verify

    def context(self) -> ssl.SSLContext:
        import ssl

        context = ssl.create_default_context(cafile=self.ca or None)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        if not self.verify:
            context.check_hostname = False
            context.verify_mode = ssl.CERT_NONE
        if self.cert and self.key:
            context.load_cert_chain(self.cert, self.key)
        return context


class Endpoint:
    """A parsed host. `host` is the text as users see it in messages."""

    def __init__(self, host: str, tls: Tls | None = None) -> None:
        scheme, separator, rest = host.partition("://")
        if not separator:
            raise Invalid(f"unable to parse docker host `{host}`")
        if scheme not in ("unix", "tcp", "ssh", "http", "https"):
            raise Invalid(f"invalid bind address format: {host}")
        self.host, self.scheme, self.tls = host, scheme, tls
        self.address, _, path = (rest, "", "") if scheme == "unix" else rest.partition("/")
        self.prefix = "/" + path.rstrip("/") if path.rstrip("/") and scheme != "ssh" else ""

    @property
    def host_header(self) -> str:
        """What goes into `Host:`; dockerd wants any valid name for sockets without one."""
        return self.address if self.scheme in ("tcp", "http", "https") else "api.moby.localhost"

    def open(self) -> socket.socket | TlsSocket:
        """A connected socket. Raises Unavailable, worded as clients know it."""
        try:
            if self.scheme == "unix":
                return _open_unix(self.address)
            if self.scheme == "ssh":
                return _open_ssh(self.address)
            return self._open_tcp()
        except OSError as error:
            raise Unavailable(self._failure(error)) from error

    def _open_tcp(self) -> socket.socket | TlsSocket:
        name, _, port = self.address.rpartition(":")
        if not port.isdigit():
            name, port = self.address, "2376" if self.tls else "2375"
        name = name.strip("[]")
        sock = socket.create_connection((name, int(port)), timeout=30)
        sock.settimeout(None)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if self.tls or self.scheme == "https":
            from tiffin.client.tls import TlsSocket

            return TlsSocket(sock, (self.tls or Tls()).context(), name)
        return sock

    def _failure(self, error: OSError) -> str:
        if isinstance(error, PermissionError):
            return (
                "permission denied while trying to connect to the tiffin daemon socket at "
                f"{self.host}: dial unix {self.address}: connect: permission denied"
            )
        if self.tls is not None and type(error).__module__ == "ssl":
            return f"error during connect: {error}"
        if self.scheme == "ssh":
            return f"error during connect: {error}"
        return f"Cannot connect to the tiffin daemon at {self.host}. Is the tiffin daemon running?"


def _open_unix(path: str) -> socket.socket:
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC)
    try:
        sock.connect(path)
    except OSError:
        sock.close()
        raise
    return sock


_REMOTE = (
    "if command -v tiffin >/dev/null 2>&1; then exec tiffin system dial-stdio; else exec docker system dial-stdio; fi"
)


def _open_ssh(address: str) -> socket.socket:
    """A socket whose other end is the remote's `system dial-stdio`, run by the user's own ssh."""
    import subprocess

    user, _, name = address.rpartition("@")
    host, _, port = name.partition(":")
    if host.startswith("-") or user.startswith("-"):
        raise OSError(f"not a host name: {address}")
    command = ["ssh", *(["-l", user] if user else []), *(["-p", port] if port else []), "--", host, _REMOTE]
    ours, theirs = socket.socketpair()
    with theirs:
        # a session of its own: Ctrl-C is for the container, not for the transport
        subprocess.Popen(command, stdin=theirs.fileno(), stdout=theirs.fileno(), start_new_session=True)
    return ours


def from_environment(environment: dict[str, str] | None = None) -> tuple[str, Tls | None]:
    """The host that TIFFIN_HOST or DOCKER_HOST names (empty: none) and the TLS settings DOCKER_TLS_VERIFY asks for."""
    env = os.environ if environment is None else environment
    host = env.get("TIFFIN_HOST") or env.get("DOCKER_HOST") or ""
    certificates = env.get("DOCKER_CERT_PATH", "")
    verify = bool(env.get("DOCKER_TLS_VERIFY"))
    if not certificates and not verify:
        return host, None
    folder = certificates or os.path.join(os.path.expanduser("~"), ".docker")
    if not verify:
        return host, None
    files = (os.path.join(folder, name) for name in ("ca.pem", "cert.pem", "key.pem"))
    ca, cert, key = (path if os.path.exists(path) else "" for path in files)
    return host, Tls(ca, cert, key)


def default_host() -> str:
    """Where this user's own daemon listens: /run/tiffin for root, the XDG runtime directory for others."""
    if os.geteuid() == 0:
        return f"unix://{DEFAULT_SOCKET}"
    runtime = os.environ.get("XDG_RUNTIME_DIR") or f"/run/user/{os.getuid()}"
    return f"unix://{runtime}/tiffin/tiffin.sock"
