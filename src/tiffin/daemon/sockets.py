"""Where the daemon listens: unix sockets, tcp with or without TLS, sockets that systemd hands over."""

from __future__ import annotations

import contextlib
import grp
import ipaddress
import logging
import os
import socket
import ssl
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from tiffin.daemon.config import Config
from tiffin.errors import Invalid, Unavailable

log = logging.getLogger(__name__)

_FIRST_PASSED = 3
_PORT, _TLS_PORT = 2375, 2376


@dataclass(frozen=True, slots=True)
class Listener:
    """A bound socket, and whether it speaks TLS."""

    socket: socket.socket
    address: str
    tls: ssl.SSLContext | None = None
    path: Path | None = None
    """Of a unix socket that we made, to be unlinked at the end."""

    def close(self) -> None:
        """Close, and take the path away."""
        self.socket.close()
        if self.path is not None:
            with contextlib.suppress(FileNotFoundError):
                self.path.unlink()


def listeners(config: Config) -> list[Listener]:
    """Bind every address. Raises Invalid for what is not allowed, Unavailable for what is taken; then binds none."""
    made: list[Listener] = []
    try:
        for address in config.addresses:
            made.extend(_bind(config, address))
    except BaseException:
        for listener in made:
            listener.close()
        raise
    return made


def _bind(config: Config, address: str) -> Iterator[Listener]:
    scheme, _, rest = address.partition("://")
    if scheme == "unix":
        yield _unix(Path(rest), config.group)
    elif scheme == "fd":
        yield from _passed(config, rest)
    else:
        yield _tcp(config, address)


def _unix(path: Path, group: str) -> Listener:
    """A socket for root and the group, or for root alone where there is no such group."""
    path.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
    _replace_stale(path)
    sock = socket.socket(socket.AF_UNIX)
    # the mode must be right from the first moment: connect(2) asks for write permission
    previous = os.umask(0o177)
    try:
        sock.bind(str(path))
    except OSError as error:
        sock.close()
        raise Unavailable(f"cannot listen on {path}: {error.strerror}") from error
    finally:
        os.umask(previous)
    number = _group(group)
    if number is not None:
        try:
            os.chown(path, os.geteuid(), number)
            path.chmod(0o660)
        except OSError as error:
            log.warning("cannot give %s to the group %s: %s", path, group, error.strerror)
    return Listener(sock, f"unix://{path}", path=path)


def _replace_stale(path: Path) -> None:
    if not path.is_socket():
        if path.exists():
            raise Unavailable(f"cannot listen on {path}: something that is not a socket is there; move it away")
        return
    with socket.socket(socket.AF_UNIX) as probe:
        try:
            probe.connect(str(path))
        except ConnectionRefusedError:
            path.unlink()  # whoever made it is gone
            return
        except FileNotFoundError:
            return
    raise Unavailable(f"cannot listen on {path}: another daemon answers there; stop it or choose another -H")


def _group(name: str) -> int | None:
    if not name:
        return None
    try:
        return int(name) if name.isdigit() else grp.getgrnam(name).gr_gid
    except KeyError:
        if name != "docker":
            raise Invalid(f"group {name} not found; create it or choose another with --group") from None
        return None


def _tcp(config: Config, address: str) -> Listener:
    try:
        parts = urlsplit(address)
        host = parts.hostname or "127.0.0.1"
        tls = tls_context(config)
        port = parts.port if parts.port is not None else (_TLS_PORT if tls else _PORT)
    except ValueError as error:
        raise Invalid(f"invalid host {address!r}: {error}") from error
    if not config.tlsverify:
        _permit_unauthenticated(config, address, host)
    try:
        family, _, _, _, place = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)[0]
        sock = socket.create_server(place[:2], family=family, backlog=1024)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)  # inherited: no answer waits for its header's ACK
    except OSError as error:
        raise Unavailable(f"cannot listen on {address}: {error.strerror}") from error
    return Listener(sock, f"tcp://{host}:{sock.getsockname()[1]}", tls)


def _permit_unauthenticated(config: Config, address: str, host: str) -> None:
    """Whoever reaches such a socket is root on this machine."""
    try:
        local = ipaddress.ip_address(host).is_loopback
    except ValueError:
        local = host == "localhost"
    if not local and not config.allow_insecure_tcp:
        raise Invalid(
            f"refusing to listen on {address} without client authentication: anyone who reaches it becomes root here; "
            "use --tlsverify with --tlscacert, --tlscert and --tlskey, or say --allow-insecure-tcp"
        )
    log.warning("%s accepts anyone who can connect: every local user is root through it", address)


def tls_context(config: Config) -> ssl.SSLContext | None:
    """The context that --tls or --tlsverify ask for. Raises Invalid for missing or unreadable files."""
    if not (config.tls or config.tlsverify):
        return None
    if not (config.tlscert and config.tlskey) or (config.tlsverify and not config.tlscacert):
        raise Invalid("TLS needs --tlscert and --tlskey, and --tlsverify needs --tlscacert as well")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_alpn_protocols(["http/1.1"])
    try:
        context.load_cert_chain(config.tlscert, config.tlskey)
        if config.tlsverify:
            context.verify_mode = ssl.CERT_REQUIRED
            context.load_verify_locations(config.tlscacert)
    except (OSError, ssl.SSLError) as error:
        raise Invalid(f"cannot load the TLS certificates: {error}") from error
    return context


def _passed(config: Config, which: str) -> Iterator[Listener]:
    """Sockets by systemd's protocol (sd_listen_fds(3)): all of them, or `fd://NUMBER`."""
    count = int(os.environ.get("LISTEN_FDS", "0")) if os.environ.get("LISTEN_PID") == str(os.getpid()) else 0
    numbers = range(_FIRST_PASSED, _FIRST_PASSED + count)
    if which and which != "*":
        if not which.isdigit() or int(which) not in numbers:
            raise Invalid(f"fd://{which}: no such socket was passed; {count} were, from fd 3 on")
        numbers = range(int(which), int(which) + 1)
    if not numbers:
        raise Invalid("fd:// is given, but no sockets were passed: start the daemon by its systemd socket unit")
    for number in numbers:
        os.set_inheritable(number, False)
        sock = socket.socket(fileno=number)
        remote = sock.family in (socket.AF_INET, socket.AF_INET6)
        if remote and not config.tlsverify:
            _permit_unauthenticated(config, f"fd://{number}", str(sock.getsockname()[0]))
        yield Listener(sock, f"fd://{number}", tls_context(config) if remote else None)
