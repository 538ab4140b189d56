"""Registries for the tests, on loopback in an engine's network namespace: Debian's docker-registry and a liar."""

from __future__ import annotations

import contextlib
import hashlib
import itertools
import json
import os
import shutil
import socket
import subprocess
import tarfile
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any

from rig import archives
from rig.answering import Quiet, answering
from rig.commands import Cli
from rig.engine import Engine
from rig.waiting import eventually

_ports = itertools.count(6100)  # beyond the ports that tests name themselves
_CONFIG = """\
version: 0.1
log: {{level: info, fields: {{}}, accesslog: {{disabled: false}}}}
storage: {{delete: {{enabled: true}}, filesystem: {{rootdirectory: {root}}}}}
http: {{addr: "{address}"{tls}}}
{rest}
"""


class Registry:
    """docker-registry. address: host:port; log: what it printed, a line for each request."""

    def __init__(
        self,
        engine: Engine,
        directory: Path,
        port: int,
        *,
        users: dict[str, str] | None = None,
        certificate: tuple[Path, Path] | None = None,
        bind: str = "127.0.0.1",
    ) -> None:
        self.address = f"{bind}:{port}"
        self.root = directory
        self.root.mkdir()
        self.log = self.root / "log"
        rest = ""
        if users:
            for name, password in users.items():
                with (self.root / "users").open("ab") as file:
                    file.write(subprocess.check_output(["htpasswd", "-Bbn", name, password]).strip() + b"\n")
            rest += f"auth: {{htpasswd: {{realm: test, path: {self.root}/users}}}}\n"
        tls = f", tls: {{certificate: {certificate[0]}, key: {certificate[1]}}}" if certificate else ""
        (self.root / "config.yml").write_text(
            _CONFIG.format(root=self.root / "data", address=self.address, tls=tls, rest=rest)
        )
        with self.log.open("ab") as log:
            self._process = engine.machine.popen(
                ["docker-registry", "serve", self.root / "config.yml"],
                mounts=not engine.suite,  # among those of another suite there is no docker-registry
                stdout=log,
                stderr=log,
            )
        scheme = "https" if certificate else "http"
        probe = ["curl", "-sk", "-o", "/dev/null", f"{scheme}://{self.address}/v2/"]
        eventually(lambda: engine.machine.run(probe, check=False).returncode == 0, what="the registry answers")
        # the probe's request doesn't count; its line comes after the answer
        eventually(lambda: self.requests("GET"), what="a line about it in the registry's log")
        self.forget()

    def requests(self, method: str, part: str = "") -> list[str]:
        """Lines of the access log with this method and this part of a path."""
        return [line for line in self.log.read_text().splitlines() if f'"{method} /v2/' in line and part in line]

    def forget(self) -> None:
        """Begin to count anew."""
        os.truncate(self.log, 0)

    def close(self) -> None:
        self._process.terminate()
        self._process.wait(60)


def certificate(directory: Path, *names: str) -> tuple[Path, Path, Path]:
    """A CA of its own, and a certificate of it for these names: (CA, certificate, key)."""
    directory.mkdir()
    ca, ca_key, cert, key = (directory / name for name in ("ca.crt", "ca.key", "server.crt", "server.key"))

    def openssl(*arguments: str | Path) -> None:
        subprocess.run(["openssl", *arguments], check=True, capture_output=True)

    curve = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "30"]
    openssl("req", "-x509", *curve, "-keyout", ca_key, "-out", ca, "-subj", "/CN=test authority")
    request = directory / "request"
    openssl("req", *curve, "-keyout", key, "-out", request, "-subj", "/CN=registry")
    alternatives = directory / "names"
    listed = ",".join(f"IP:{name}" if name[0].isdigit() else f"DNS:{name}" for name in names)
    alternatives.write_text(f"subjectAltName={listed}\n")
    signing = ["-CA", ca, "-CAkey", ca_key, "-CAcreateserial", "-days", "30", "-extfile", alternatives]
    openssl("x509", "-req", "-in", request, "-out", cert, *signing)
    return ca, cert, key


@dataclass
class Exchange:
    """A request to the fake registry and the means to answer it."""

    method: str
    path: str
    headers: Any
    handler: BaseHTTPRequestHandler

    def answer(self, status: int, body: bytes = b"", **headers: str) -> None:
        """Underscores in names of headers stand for dashes."""
        self.begin(status, **{"Content_Length": str(len(body)), **headers})
        if self.method != "HEAD":
            self.handler.wfile.write(body)

    def begin(self, status: int, **headers: str) -> None:
        self.handler.send_response(status)
        for name, value in headers.items():
            self.handler.send_header(name.replace("_", "-"), value)
        self.handler.end_headers()

    def write(self, data: bytes) -> None:
        self.handler.wfile.write(data)

    def hang_up(self) -> None:
        self.handler.close_connection = True
        with contextlib.suppress(OSError):
            self.handler.connection.shutdown(socket.SHUT_RDWR)


Hook = Callable[[Exchange], bool | None]


@dataclass
class Fake:
    """A registry that holds what it is given and does what its hooks do. A hook that returns False declines."""

    port: int
    blobs: dict[str, bytes] = field(default_factory=dict)
    manifests: dict[str, tuple[str, bytes]] = field(default_factory=dict)
    """By tag and by digest: (media type, document)."""
    hooks: list[Hook] = field(default_factory=list)
    seen: list[Exchange] = field(default_factory=list)

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.port}"

    def add_blob(self, data: bytes) -> dict[str, Any]:
        digest = digest_of(data)
        self.blobs[digest] = data
        return {"mediaType": "application/octet-stream", "digest": digest, "size": len(data)}

    def add_manifest(
        self, document: dict[str, Any] | bytes, *tags: str, media_type: str = "", claimed: str = ""
    ) -> dict[str, Any]:
        raw = document if isinstance(document, bytes) else json.dumps(document).encode()
        kind = media_type or (document.get("mediaType", "") if isinstance(document, dict) else "")
        for name in (digest_of(raw), *tags, *filter(None, [claimed])):
            self.manifests[name] = (kind, raw)
        return {"mediaType": kind, "digest": digest_of(raw), "size": len(raw)}

    def handle(self, exchange: Exchange) -> None:
        self.seen.append(exchange)
        if any(hook(exchange) is not False for hook in self.hooks):
            return
        path = exchange.path.partition("?")[0]
        if path == "/v2/":
            exchange.answer(200, b"{}")
        elif "/manifests/" in path and path.rpartition("/")[2] in self.manifests:
            kind, raw = self.manifests[path.rpartition("/")[2]]
            exchange.answer(200, raw, Content_Type=kind, Docker_Content_Digest=digest_of(raw))
        elif "/blobs/" in path and path.rpartition("/")[2] in self.blobs:
            self._blob(exchange, self.blobs[path.rpartition("/")[2]])
        else:
            exchange.answer(404, b'{"errors":[{"code":"MANIFEST_UNKNOWN","message":"manifest unknown"}]}')

    def _blob(self, exchange: Exchange, data: bytes) -> None:
        asked = exchange.headers.get("Range", "")
        if asked:
            first = int(asked.removeprefix("bytes=").partition("-")[0])
            place = f"bytes {first}-{len(data) - 1}/{len(data)}"
            exchange.answer(206, data[first:], Content_Range=place)
        else:
            exchange.answer(200, data)

    def requests(self, method: str, part: str = "") -> list[Exchange]:
        return [one for one in self.seen if one.method == method and part in one.path]


def made_image(engine: Engine, docker: Cli, reference: str, layers: int = 1, size: int = 100_000) -> None:
    """Load an image whose layers no other has. size: bytes of each layer, which don't compress."""
    directory = Path(tempfile.mkdtemp(dir=engine.root))
    paths = []
    for number in range(layers):
        path = directory / f"{number}.tar"
        with tarfile.open(path, mode="w") as tar:
            archives.add(tar, f"file-{number}", os.urandom(size))
        paths.append(path)
    archives.write(directory / "image.tar", [archives.Recipe([reference], paths, {"Labels": {"made": reference}})])
    docker("load", "-i", str(directory / "image.tar"))
    shutil.rmtree(directory)


def digest_of(data: bytes) -> str:
    return "sha256:" + hashlib.sha256(data).hexdigest()


@contextlib.contextmanager
def fake(engine: Engine) -> Iterator[Fake]:
    """A fake registry on loopback in the engine's network namespace, at a port that none had before.

    (An engine keeps connections; one to a registry that has gone would still be answered by its thread.)
    """
    port = next(_ports)
    made = Fake(port)

    class Handler(Quiet):
        def _any(self) -> None:
            exchange = Exchange(self.command, self.path, self.headers, self)
            with contextlib.suppress(OSError):
                made.handle(exchange)

        do_GET = do_HEAD = do_POST = do_PUT = do_PATCH = _any

    with answering(engine, Handler, port=port):
        yield made
