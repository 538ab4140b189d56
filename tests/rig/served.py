"""Registries that serve, in a network namespace: tiffin's, and docker-registry as the peer; a client for both."""

from __future__ import annotations

import base64
import hashlib
import http.client
import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from email.message import Message
from pathlib import Path
from typing import Any, Protocol

from rig.machine import Machine
from rig.netns import in_thread
from rig.waiting import PATIENCE, eventually
from tiffin.linux.namespaces import CLONE_NEWNET, setns

OCI_MANIFEST = "application/vnd.oci.image.manifest.v1+json"
OCI_INDEX = "application/vnd.oci.image.index.v1+json"
OCI_CONFIG = "application/vnd.oci.image.config.v1+json"
OCI_LAYER = "application/vnd.oci.image.layer.v1.tar"
EMPTY = "application/vnd.oci.empty.v1+json"
_PEER = """\
version: 0.1
log: {{level: error, accesslog: {{disabled: true}}}}
storage: {{delete: {{enabled: true}}, filesystem: {{rootdirectory: {root}}}}}
http: {{addr: "127.0.0.1:{port}", secret: test}}
"""


class Inside:
    """A machine's network, as `Served` wants it."""

    def __init__(self, machine: Machine) -> None:
        self._machine = machine

    @property
    def path(self) -> str:
        return f"/proc/{self._machine.pid}/ns/net"

    def open(self, address: str) -> socket.socket:
        """A socket of the machine's."""

        def made() -> socket.socket:
            with open(self.path) as namespace:
                setns(namespace.fileno(), CLONE_NEWNET)
            return socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET)

        return in_thread(made)


class Network(Protocol):
    """Where a registry listens: `rig.netns.Namespace`, or `Inside` of a machine."""

    @property
    def path(self) -> str: ...

    def open(self, address: str) -> socket.socket: ...


@dataclass(frozen=True)
class Answer:
    """status, headers (any case), body."""

    status: int
    headers: Message
    body: bytes = field(repr=False)

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def code(self) -> str:
        """The code of the first error, checked for its form."""
        assert self.headers.get_content_type() == "application/json", self.headers.items()
        errors = self.json["errors"]
        assert all(set(error) <= {"code", "message", "detail"} for error in errors)
        return str(errors[0]["code"])

    @property
    def location(self) -> str:
        """The path of Location, without a host."""
        value = str(self.headers["Location"])
        return value if value.startswith("/") else "/" + value.split("/", 3)[3]


class Served:
    """A registry. root: its directory; log: what it printed."""

    def __init__(
        self, namespace: Network, root: Path, *flags: str, port: int = 5000, kind: str = "tiffin", start: bool = True
    ) -> None:
        self.namespace = namespace
        self.root = root
        self.flags = flags
        self.port = port
        self.kind = kind
        self.environment: dict[str, str] = {}
        self.log = root.with_name(f"{root.name}.log")
        self.process: subprocess.Popen[bytes] | None = None
        root.mkdir(exist_ok=True)
        if start:
            self.start()

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.port}"

    def command(self) -> list[str]:
        if self.kind == "docker-registry":
            config = self.root / "config.yml"
            config.write_text(_PEER.format(root=self.root / "data", port=self.port))
            return ["docker-registry", "serve", str(config)]
        storage = [] if any(flag.startswith("--storage") for flag in self.flags) else ["--storage", str(self.root)]
        return [
            sys.executable,
            "-m",
            "tiffin.daemon.registry",
            "serve",
            "--listen",
            self.address,
            *storage,
            *self.flags,
        ]

    def start(self, **environment: str) -> None:
        """Start, and wait until it answers."""
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                ["nsenter", f"--net={self.namespace.path}", *self.command()],
                env={**os.environ, **self.environment, **environment},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )
        eventually(self._answers, within=60, what="the registry answers")

    def _answers(self) -> bool:
        assert self.process is not None
        if self.process.poll() is not None:
            raise RuntimeError(f"the registry ended with {self.process.returncode}:\n{self.log.read_text()[-4000:]}")
        with self.namespace.open("127.0.0.1") as probe:
            probe.connect(("127.0.0.1", self.port))
        return True

    def stop(self, number: int = signal.SIGTERM) -> int:
        assert self.process is not None
        self.process.send_signal(number)
        return self.process.wait(60 * PATIENCE)

    def kill(self) -> None:
        self.stop(signal.SIGKILL)

    def close(self) -> None:
        if self.process is not None and self.process.poll() is None:
            self.stop()
        assert "Traceback" not in self.log.read_text(), self.log.read_text()[-8000:]

    def requests(self, method: str = "", part: str = "") -> list[dict[str, Any]]:
        """Lines of the access log, whole ones."""
        whole = self.log.read_text().rpartition("\n")[0]
        lines = [json.loads(line) for line in whole.splitlines() if line.startswith("{")]
        return [line for line in lines if method in ("", line["method"]) and part in line["path"]]

    def figure(self, name: str, **labels: str) -> float:
        """One of /metrics; the sum of those that have these labels."""
        wanted = [f'{key}="{value}"' for key, value in labels.items()]
        lines = [line for line in self.client().get("/metrics").body.decode().splitlines() if line[:1] != "#"]
        rows = [line.rsplit(" ", 1) for line in lines]
        names = [(row[0], float(row[1])) for row in rows if row[0].partition("{")[0] == f"tiffin_registry_{name}"]
        return sum(value for text, value in names if all(one in text for one in wanted))

    def client(self, **headers: str) -> Client:
        return Client(self, headers)


class Client:
    """One connection, kept; opened again where it was closed. headers: sent with each request."""

    def __init__(self, served: Served, headers: Mapping[str, str]) -> None:
        self.served = served
        self.headers = dict(headers)
        self.connection = self._connected()

    def _connected(self) -> http.client.HTTPConnection:
        connection = http.client.HTTPConnection(self.served.address)
        connection.sock = self.open()
        return connection

    def open(self) -> socket.socket:
        """A socket of one's own."""
        made = self.served.namespace.open("127.0.0.1")
        made.settimeout(60 * PATIENCE)
        made.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        made.connect(("127.0.0.1", self.served.port))
        return made

    def request(self, method: str, path: str, body: bytes | None = None, **headers: str) -> Answer:
        """Underscores in headers' names stand for dashes. What may have a body has a Content-Length."""
        given = {name.replace("_", "-"): value for name, value in (self.headers | headers).items()}
        if method in ("POST", "PUT", "PATCH") and not body:
            given.setdefault("Content-Length", "0")
        for attempt in (1, 2):
            try:
                self.connection.request(method, path, body, given)
                raw = self.connection.getresponse()
                answer = Answer(raw.status, raw.headers, raw.read())
            except (ConnectionError, http.client.CannotSendRequest):
                if attempt == 2:
                    raise
                self.connection.close()
                self.connection = self._connected()
                continue
            if raw.will_close:
                self.connection.close()
                self.connection = self._connected()
            return answer
        raise AssertionError

    def get(self, path: str, **headers: str) -> Answer:
        return self.request("GET", path, **headers)

    def head(self, path: str, **headers: str) -> Answer:
        return self.request("HEAD", path, **headers)

    def begin(self, name: str, query: str = "") -> str:
        """Begin an upload: where it goes on."""
        answer = self.request("POST", f"/v2/{name}/blobs/uploads/{query}")
        assert answer.status == 202, answer
        return answer.location

    def push_blob(self, name: str, data: bytes, algorithm: str = "sha256") -> str:
        """POST, PUT; the digest."""
        digest = digest_of(data, algorithm)
        location = self.begin(name)
        answer = self.request("PUT", with_digest(location, digest), data, Content_Type="application/octet-stream")
        assert answer.status == 201, (answer, answer.body)
        return digest

    def push_manifest(self, name: str, reference: str, document: Mapping[str, Any]) -> Answer:
        raw = json.dumps(document).encode()
        return self.request("PUT", f"/v2/{name}/manifests/{reference}", raw, Content_Type=document["mediaType"])

    def push_image(self, name: str, tag: str, *layers: bytes, **more: Any) -> str:
        """An image of these layers; its manifest's digest."""
        document = self.image(name, *layers, **more)
        answer = self.push_manifest(name, tag, document)
        assert answer.status == 201, (answer, answer.body)
        return digest_of(json.dumps(document).encode())

    def image(self, name: str, *layers: bytes, algorithm: str = "sha256", **more: Any) -> dict[str, Any]:
        """Push the blobs of an image; its manifest."""
        config = json.dumps({"architecture": "amd64", "os": "linux", "made": os.urandom(8).hex()}).encode()
        return {
            "schemaVersion": 2,
            "mediaType": OCI_MANIFEST,
            "config": self.descriptor(name, OCI_CONFIG, config, algorithm),
            "layers": [self.descriptor(name, OCI_LAYER, layer, algorithm) for layer in layers],
            **more,
        }

    def descriptor(self, name: str, media_type: str, data: bytes, algorithm: str = "sha256") -> dict[str, Any]:
        """Push a blob; its descriptor."""
        return {"mediaType": media_type, "digest": self.push_blob(name, data, algorithm), "size": len(data)}


def digest_of(data: bytes, algorithm: str = "sha256") -> str:
    return f"{algorithm}:{hashlib.new(algorithm, data).hexdigest()}"


def with_digest(location: str, digest: str) -> str:
    return f"{location}{'&' if '?' in location else '?'}digest={digest}"


def described(document: Mapping[str, Any]) -> dict[str, Any]:
    """The descriptor of a manifest."""
    raw = json.dumps(document).encode()
    return {"mediaType": document["mediaType"], "digest": digest_of(raw), "size": len(raw)}


def basic(user: str, password: str) -> str:
    """An Authorization header."""
    return "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()


def passwords(path: Path, **users: str) -> Path:
    """A file of users and their passwords."""
    lines = [
        subprocess.check_output(["htpasswd", "-nbB", "-C", "4", name, password], text=True).strip()
        for name, password in users.items()
    ]
    path.write_text("# who may\n\n" + "\n".join(lines) + "\n")
    return path
