"""The engine's API from a test, without a command line in between: a fault comes at the moment it is meant for."""

from __future__ import annotations

import http.client
import json
import socket
import struct
from collections.abc import Mapping
from typing import Any
from urllib.parse import urlencode

from rig import Engine


class Failed(AssertionError):
    """A status other than 2xx or 304."""

    def __init__(self, what: str, status: int, text: str) -> None:
        super().__init__(f"{what}: {status} {text}")
        self.status = status
        self.text = text


class Api:
    """One connection a request, so that a killed daemon hurts one request alone."""

    def __init__(self, engine: Engine) -> None:
        self.engine = engine

    def raw(self, method: str, path: str, body: bytes | None = None, *, timeout: float = 120) -> tuple[int, bytes]:
        """Status and body. OSError or http.client.HTTPException when the daemon goes away."""
        connection = http.client.HTTPConnection("docker", timeout=timeout)
        connection.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        connection.sock.settimeout(timeout)
        try:
            connection.sock.connect(str(self.engine.socket))
            connection.request(method, path, body, {"Content-Type": "application/json"} if body else {})
            answer = connection.getresponse()
            return answer.status, answer.read()
        finally:
            connection.close()

    def ask(self, method: str, path: str, body: object = None, *, timeout: float = 120, **query: object) -> Any:
        """The decoded answer. Failed where the daemon refuses."""
        data = None if body is None else json.dumps(body).encode()
        target = f"/v1.51{path}?{urlencode(query)}" if query else f"/v1.51{path}"
        status, answer = self.raw(method, target, data, timeout=timeout)
        if status >= 300 and status != 304:
            raise Failed(f"{method} {path}", status, answer.decode("utf-8", "replace"))
        return json.loads(answer) if answer[:1] in (b"{", b"[") else answer

    def create(self, *command: str, name: str = "", tty: bool = False, **host: Any) -> str:
        """A container of busybox: its id."""
        body = {"Image": "busybox", "Cmd": list(command), "Tty": tty, "HostConfig": host}
        query = {"name": name} if name else {}
        return str(self.ask("POST", "/containers/create", body, **query)["Id"])

    def start(self, container: str) -> None:
        self.ask("POST", f"/containers/{container}/start")

    def run(self, *command: str, name: str = "", tty: bool = False, **host: Any) -> str:
        """Create and start: its id."""
        container = self.create(*command, name=name, tty=tty, **host)
        self.start(container)
        return container

    def state(self, container: str) -> Mapping[str, Any]:
        """State as inspect has it."""
        found: Mapping[str, Any] = self.ask("GET", f"/containers/{container}/json")["State"]
        return found

    def wait(self, container: str) -> int:
        """Until it does not run any more: its exit code."""
        return int(self.ask("POST", f"/containers/{container}/wait")["StatusCode"])

    def remove(self, container: str, *, force: bool = False) -> None:
        self.ask("DELETE", f"/containers/{container}", force=int(force), v=1)

    def logs(self, container: str, *, tty: bool = False) -> tuple[list[str], list[str]]:
        """The lines of stdout and stderr; of a terminal all in the first."""
        data = self.ask("GET", f"/containers/{container}/logs", stdout=1, stderr=1)
        if tty:
            return bytes(data).decode().replace("\r\n", "\n").splitlines(), []
        streams = {1: bytearray(), 2: bytearray()}
        position = 0
        while position < len(data):
            stream, size = struct.unpack_from(">BxxxI", data, position)
            streams[stream] += data[position + 8 : position + 8 + size]
            position += 8 + size
        return streams[1].decode().splitlines(), streams[2].decode().splitlines()
