"""What docker's command line takes by itself: its commands against an engine that does nothing and answers at once.

    python bench/client.py [ROUNDS [ROW...]]

No engine can be faster than this with the same client: what bench/run.py says of a command has this in every column.
`build` is one that finds everything in the cache (builder.py). `buildx version` asks no engine for anything: docker
starts the plugin twice, at first to hear what it is.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import socketserver
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from http.server import BaseHTTPRequestHandler
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT / "tests"), str(ROOT / "bench")]

import builder  # noqa: E402
import builds  # noqa: E402
import images  # noqa: E402

from rig.commands import docker_binary  # noqa: E402

ID = "0123456789abcdef" * 4
LISTED = [
    {"Id": f"{number:064x}", "Names": [f"/box-{number}"], "Image": "busybox", "Command": "true", "Created": 1}
    | {"State": "created", "Status": "Created", "Ports": [], "Labels": {}}
    for number in range(200)
]
ANSWERS = (
    ("GET|HEAD", r"/_ping", 200, None),
    ("GET", r"/version", 200, {"Version": "28.2.2", "ApiVersion": "1.51", "MinAPIVersion": "1.24", "Os": "linux"}),
    ("GET", r"/containers/json", 200, LISTED),
    ("POST", r"/containers/create", 201, {"Id": ID, "Warnings": []}),
    ("POST", r"/containers/\w+/exec", 201, {"Id": ID}),
    ("GET", r"/containers/\w+/json", 200, {"Id": ID, "State": {"Running": True}, "Config": {"Tty": False}}),
    ("GET", r"/exec/\w+/json", 200, {"ID": ID, "Running": False, "ExitCode": 0}),
    ("DELETE", r"/containers/\w+", 204, None),
    ("POST", r"/images/load", 200, {"stream": "Loaded image: x\n"}),
)
COMMANDS = {
    "run": (["run", "--rm", "busybox", "true"],),
    "exec": (["exec", "box", "true"],),
    "create": (["create", "--name", "box", "busybox"], ["rm", "box"]),
    "ps": (["ps", "-a"],),
    "load": (["load", "-q", "-i", str(images.archive())],),
    "buildx version": (["buildx", "version"],),
    "build": (["buildx", "build", "-q", "-t", "bench-build", str(builds.small())],),
}


class Idle(BaseHTTPRequestHandler):
    """One connection of the client."""

    protocol_version = "HTTP/1.1"
    started = threading.Event()
    sessions = builder.Sessions()

    def answer(self) -> None:
        self.discard()
        path = re.sub(r"^/v[\d.]+|\?.*$", "", self.path)
        if path.endswith("/attach") or re.fullmatch(r"/exec/\w+/start", path):
            return self.hijacked(at_once=path.startswith("/exec"))
        if path in ("/grpc", "/session"):
            return self.upgraded(path)
        if path.endswith("/start"):
            self.say(204, None)
            return self.started.set()
        if path.endswith("/wait"):
            return self.waited()
        for method, pattern, status, body in ANSWERS:
            if re.fullmatch(method, self.command) and re.fullmatch(pattern, path):
                return self.say(status, body)
        self.say(404, {"message": f"{self.command} {path} is not answered here"})

    do_HEAD = do_GET = do_POST = do_DELETE = answer

    def discard(self) -> None:
        """Take the body, and look at nothing of it but its end."""
        if "chunked" not in self.headers.get("Transfer-Encoding", ""):
            self.rfile.read(int(self.headers.get("Content-Length") or 0))
            return
        buffer, end = bytearray(1 << 20), b""
        while not end.endswith(b"0\r\n\r\n"):
            count = self.rfile.readinto1(buffer)  # type: ignore[attr-defined]
            end = (end + buffer[max(count - 5, 0) : count])[-5:]

    def say(self, status: int, body: object) -> None:
        content = b"" if body is None else json.dumps(body).encode()
        self.send_response(status)
        for name, value in (("Api-Version", "1.51"), ("Ostype", "linux"), ("Content-Type", "application/json")):
            self.send_header(name, value)
        if status != 204:
            self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def hijacked(self, *, at_once: bool) -> None:
        """The container's output, which is none, ends with the container."""
        self.send_response(101)
        for name, value in (("Connection", "Upgrade"), ("Upgrade", "tcp")):
            self.send_header(name, value)
        self.end_headers()
        if not at_once:
            self.started.wait()
        self.close_connection = True

    def upgraded(self, path: str) -> None:
        """A builder's connection, until the client leaves it, with or without an end."""
        self.connection.sendall(b"HTTP/1.1 101 UPGRADED\r\nConnection: Upgrade\r\nUpgrade: h2c\r\n\r\n")
        self.close_connection = True
        with contextlib.suppress(OSError):
            if path == "/grpc":
                return builder.Call(self.rfile, self.connection.sendall, self.sessions).serve()
            session = builder.Session(self.rfile, self.connection.sendall)
            session.serve(self.headers["X-Docker-Expose-Session-Uuid"], self.sessions)

    def waited(self) -> None:
        self.send_response(200)
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        self.wfile.flush()
        self.started.wait()
        self.wfile.write(b'11\r\n{"StatusCode":0}\n\r\n0\r\n\r\n')

    def address_string(self) -> str:
        return "client"

    def log_message(self, *_: object) -> None:
        pass


def main() -> None:
    rounds = int(sys.argv[1]) if len(sys.argv) > 1 else 20
    with tempfile.TemporaryDirectory() as directory:
        path = f"{directory}/engine.sock"
        server = socketserver.ThreadingUnixStreamServer(path, Idle)
        server.daemon_threads = True
        threading.Thread(target=server.serve_forever, daemon=True).start()
        plain = {**os.environ, "DOCKER_HOST": f"unix://{path}", "DOCKER_CONFIG": directory}
        plugged = plain | builds.plugged(Path(directory) / "plugged")
        print("| docker's own part of | median | least | of it the idle engine's |\n|---|---:|---:|---:|")
        for name in sys.argv[2:] or COMMANDS:
            print(f"| {name} | {row(COMMANDS[name], plugged if 'build' in name else plain, rounds)} |", flush=True)


def row(commands: tuple[list[str], ...], environment: dict[str, str], rounds: int) -> str:
    """Median and least time; the processor time that was spent here, which no engine at all would not take."""
    once(commands, environment)
    spent = time.process_time()
    taken = [once(commands, environment) for _ in range(rounds)]
    spent = (time.process_time() - spent) * 1000 / rounds
    return f"{statistics.median(taken):.1f} ms | {min(taken):.1f} ms | {spent:.1f} ms"


def once(commands: tuple[list[str], ...], environment: dict[str, str]) -> float:
    """Milliseconds of these one after another."""
    Idle.started.clear()
    begun = time.perf_counter()
    for words in commands:
        subprocess.run([docker_binary(), *words], env=environment, check=True, stdout=subprocess.DEVNULL)
    return (time.perf_counter() - begun) * 1000


if __name__ == "__main__":
    main()
