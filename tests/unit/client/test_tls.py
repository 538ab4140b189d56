"""TLS with one direction closed."""

from __future__ import annotations

import socket
import ssl
import subprocess
import threading
from pathlib import Path

import pytest

from tiffin.client.endpoint import Endpoint, Tls
from tiffin.client.tls import TlsSocket


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("tls")
    command = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=localhost"]
    command += ["-addext", "subjectAltName=DNS:localhost", "-keyout", "key.pem", "-out", "cert.pem"]
    subprocess.run(command, cwd=folder, check=True, capture_output=True)
    return folder


def peer(certificate: Path, theirs: socket.socket, talk: object) -> threading.Thread:
    """The other end, in a thread: talk(its TLS socket)."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate / "cert.pem", certificate / "key.pem")

    def run() -> None:
        with context.wrap_socket(theirs, server_side=True) as secured:
            talk(secured)  # type: ignore[operator]

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    return thread


def test_output_survives_the_end_of_input(certificate: Path) -> None:
    ours, theirs = socket.socketpair()
    received = []

    def talk(secured: ssl.SSLSocket) -> None:
        # sent before the client's end of input arrives: it must not be lost
        secured.sendall(b"early")
        while data := secured.recv(65536):
            received.append(data)
        secured.sendall(b"late" * 50_000)

    thread = peer(certificate, theirs, talk)
    client = TlsSocket(ours, Tls(ca=str(certificate / "cert.pem")).context(), "localhost")
    client.sendall(b"input")
    client.shutdown(socket.SHUT_WR)
    output = b""
    while data := client.recv(65536):
        output += data
    thread.join()
    assert b"".join(received) == b"input"
    assert output == b"early" + b"late" * 50_000


def test_both_sides_may_talk_at_once(certificate: Path) -> None:
    ours, theirs = socket.socketpair()
    amount = 4_000_000

    def talk(secured: ssl.SSLSocket) -> None:
        # writes first and reads afterwards: the client's writes must make room for it
        secured.sendall(b"x" * amount)
        left = amount
        while left:
            left -= len(secured.recv(65536))

    thread = peer(certificate, theirs, talk)
    client = TlsSocket(ours, Tls(ca=str(certificate / "cert.pem")).context(), "localhost")
    client.setblocking(False)
    client.sendall(b"y" * amount)
    client.setblocking(True)
    left = amount
    while left:
        left -= len(client.recv(65536))
    thread.join()


def test_a_certificate_of_somebody_elses_is_refused(certificate: Path) -> None:
    server = socket.create_server(("127.0.0.1", 0))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate / "cert.pem", certificate / "key.pem")

    def accept() -> None:
        connection, _ = server.accept()
        try:
            context.wrap_socket(connection, server_side=True)
        except OSError:
            pass

    threading.Thread(target=accept, daemon=True).start()
    endpoint = Endpoint(f"tcp://127.0.0.1:{server.getsockname()[1]}", Tls())
    with pytest.raises(Exception, match=r"error during connect: .*CERTIFICATE_VERIFY_FAILED"):
        endpoint.open()
    server.close()
