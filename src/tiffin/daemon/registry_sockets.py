"""Where `tiffin registry serve` listens: TCP with or without TLS, and a socket for its owner's orders."""

from __future__ import annotations

import ipaddress
import logging
import os
import socket
import ssl
from collections.abc import Callable
from pathlib import Path

from tiffin.daemon.registry_options import Options, place
from tiffin.errors import Invalid, Unavailable
from tiffin.http.server import Server

log = logging.getLogger("tiffin.registry")

CONTROL = "control.sock"
_OPTIONS = (
    (socket.TCP_NODELAY, 1),
    (socket.TCP_KEEPIDLE, 60),
    (socket.TCP_KEEPINTVL, 15),
    (socket.TCP_KEEPCNT, 4),
)


async def listen(server: Server, address: str, tls: ssl.SSLContext | None, scheme: str) -> None:
    """Bind HOST:PORT and serve there. Raises Unavailable."""
    host, port = place(address)
    try:
        family, _, _, _, where = socket.getaddrinfo(
            host or None, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        sock = socket.create_server(where[:2], family=family, backlog=1024, dualstack_ipv6=False)
    except OSError as error:
        raise Unavailable(f"cannot listen on {address}: {error.strerror or error}") from error
    # accepted sockets inherit them: a peer that has gone without a word is noticed, no header waits for an ACK
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for option, value in _OPTIONS:
        sock.setsockopt(socket.IPPROTO_TCP, option, value)
    bound = sock.getsockname()
    await server.listen(sock, tls)
    log.info("listening on %s://%s:%d", scheme, f"[{bound[0]}]" if ":" in bound[0] else bound[0], bound[1])


def warn(address: str, options: Options) -> None:
    """Say what an address that others reach lets them do."""
    host, _ = place(address)
    try:
        local = ipaddress.ip_address(host).is_loopback
    except ValueError:
        local = host == "localhost"
    if not local and not (options.htpasswd or options.read_only or options.upstream):
        log.warning("everyone who reaches %s may push and delete: --htpasswd asks for a password", address)
    if not local and options.htpasswd and not options.tls_cert:
        log.warning("passwords pass %s unencrypted: give --tls-cert and --tls-key", address)


def tls_context(options: Options) -> ssl.SSLContext | None:
    """The context that --tls-cert asks for. Raises Invalid for files that can't be used."""
    if not options.tls_cert:
        return None
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_alpn_protocols(["http/1.1"])
    try:
        context.load_cert_chain(options.tls_cert, options.tls_key)
    except (OSError, ssl.SSLError) as error:
        raise Invalid(f"cannot load the TLS certificate: {error}") from error
    return context


def reload(context: ssl.SSLContext, options: Options) -> None:
    """SIGHUP: a renewed certificate, for connections from now on."""
    try:
        context.load_cert_chain(options.tls_cert, options.tls_key)
        log.info("the certificate was read again")
    except (OSError, ssl.SSLError) as error:
        log.error("the certificate was not reloaded: %s", error)


def control_socket(directory: Path) -> socket.socket:
    """Bound, for this user alone. The directory's lock is the caller's."""
    path = directory / CONTROL
    path.unlink(missing_ok=True)
    sock = socket.socket(socket.AF_UNIX)
    previous = os.umask(0o177)
    try:
        at_control_socket(directory, sock.bind)
    finally:
        os.umask(previous)
    return sock


def at_control_socket(directory: Path, act: Callable[[str], None]) -> None:
    """Bind or connect: a directory's own path may be too long for a socket's."""
    folder = os.open(directory, os.O_PATH | os.O_DIRECTORY)
    try:
        act(f"/proc/self/fd/{folder}/{CONTROL}")
    finally:
        os.close(folder)
