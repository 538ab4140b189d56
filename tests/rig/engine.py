"""Engines to test: tiffind, the real dockerd from Debian (the peer that proves the tests), or one that runs already."""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import signal
import socket
import struct
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from rig import archives, debian, newer
from rig.commands import Cli, docker_binary
from rig.machine import Machine, enter
from rig.waiting import eventually

KINDS = ("tiffin", "dockerd", "dockerd:sid", "dockerd:sid+containerd", "podman")
BIN = Path(sys.executable).parent


class Engine:
    """One engine and the way to it. kind: tiffin, dockerd, podman or peer; socket: the path of its unix socket.

    `dockerd:SUITE` is the dockerd of that Debian suite, in place of the one that is installed; `+containerd` gives it
    containerd's store of images, which several platforms under one name need.
    """

    def __init__(self, kind: str, *, options: Sequence[str] = (), start: bool = True) -> None:
        self.kind, _, suite = kind.partition(":")
        self.suite, _, store = suite.partition("+")
        self.options = [*(newer.STORE if store else ()), *options]
        self.machine = Machine()
        self.root = self.machine.root
        self.socket = self.root / "engine.sock"
        self.log = self.root / "daemon.log"
        self.daemon: subprocess.Popen[bytes] | None = None
        self.loaded: set[str] = set()
        self.leftovers: list[str] = []
        (self.root / "home").mkdir()
        if start:
            try:
                self.start()
            except BaseException:
                self.machine.close()
                raise

    @property
    def host(self) -> str:
        """What DOCKER_HOST is set to."""
        return f"unix://{self.socket}"

    @property
    def data_root(self) -> Path:
        return self.root / "data"

    @property
    def exec_root(self) -> Path:
        return self.root / "exec"

    def command(self) -> list[str]:
        """The daemon's command line."""
        if self.kind == "podman":
            roots = ["--root", str(self.data_root), "--runroot", str(self.exec_root)]
            return ["podman", *roots, *self.options, "system", "service", "--time=0", self.host]
        binary = str(BIN / "tiffind") if self.kind == "tiffin" else "dockerd"
        roots = ["--data-root", str(self.data_root), "--exec-root", str(self.exec_root), "-p", str(self.root / "pid")]
        words = [binary, "-H", self.host, *roots, "--cgroup-parent", self.machine.cgroup_parent, *self.options]
        return newer.command(newer.tree(self.suite), words) if self.suite else words

    def environment(self) -> dict[str, str]:
        """What commands against this engine get added to their environment."""
        home = str(self.root / "home")
        return {"DOCKER_HOST": self.host, "HOME": home, "DOCKER_CONFIG": f"{home}/.docker", "LC_ALL": "C.UTF-8"}

    def start(self) -> None:
        """Start the daemon and wait until it answers; RuntimeError with its log where it does not."""
        with self.log.open("ab") as log:
            environment = {"HOME": str(self.root / "home"), "DOCKER_HOST": ""}
            self.daemon = self.machine.popen(
                self.command(), env=environment, stdin=subprocess.DEVNULL, stdout=log, stderr=log
            )
        try:
            eventually(self._answers, within=60, what=f"{self.kind} answers on {self.socket}")
        except AssertionError as error:
            raise RuntimeError(f"{self.kind} did not start:\n{self.log_tail()}") from error

    def _answers(self) -> bool:
        if self.daemon is not None and self.daemon.poll() is not None:
            raise RuntimeError(f"{self.kind} ended with {self.daemon.returncode}:\n{self.log_tail()}")
        return ping(self.socket)

    def log_tail(self, start: int | None = None) -> str:
        """The daemon's log from byte `start` on; its last 8 KiB without."""
        if not self.log.exists():
            return ""
        with self.log.open("rb") as log:
            size = log.seek(0, os.SEEK_END)
            log.seek(max(size - 8192, start or 0))
            return log.read().decode("utf-8", "replace")

    def stop(self, number: int = signal.SIGTERM) -> int:
        """Signal the daemon and wait for its end; the return code as subprocess gives it."""
        assert self.daemon is not None
        self.daemon.send_signal(number)
        try:
            return self.daemon.wait(timeout=60)
        except subprocess.TimeoutExpired:
            self.daemon.kill()
            self.daemon.wait()
            raise AssertionError(f"{self.kind} does not end after signal {number}:\n{self.log_tail()}") from None

    def kill(self) -> None:
        """kill -9 of the daemon."""
        self.stop(signal.SIGKILL)

    def restart(self, number: int = signal.SIGTERM) -> None:
        """Stop the daemon by a signal, then start it on the same roots."""
        self.stop(number)
        self.start()

    def close(self) -> None:
        """Remove the containers, stop the daemon, then everything that is left; `leftovers` says what that was."""
        if self.daemon is not None and self.daemon.poll() is None:
            with contextlib.suppress(Exception):
                self.clear()
            with contextlib.suppress(AssertionError):
                self.stop()
                eventually(lambda: not self._has_forkserver(), within=60)  # it leaves with the last monitor
                # what a daemon has started ends with it, a moment later
                eventually(lambda: not self.machine.processes(), within=10)
        self.leftovers = self.machine.close()

    def _has_forkserver(self) -> bool:
        return any(command.startswith("tiffin-forkserver /") for command in self.machine.processes().values())

    def clear(self) -> None:
        """Remove all containers."""
        docker = self.cli("docker")
        if containers := docker("ps", "-aq", "--no-trunc").out.split():
            docker("rm", "-f", "-v", *containers, check=False)

    def api_version(self) -> str:
        """The newest version of the API that the engine speaks, as `1.51`."""
        return str(self.ask("/version")["ApiVersion"])

    def ask(self, path: str) -> Any:
        """What GET of a path of the API answers."""
        with contextlib.closing(http.client.HTTPConnection("engine")) as connection:
            connection.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
            connection.sock.connect(str(self.socket))
            connection.request("GET", path)
            return json.loads(connection.getresponse().read())

    def inside(self, argv: Sequence[str | Path]) -> list[str]:
        """The command line that runs argv in the engine's network namespace."""
        return self.machine.inside(argv)

    def run(self, *argv: str | Path, check: bool = True, timeout: float = 60) -> str:
        """Run a command in the engine's network namespace; what it printed on stdout."""
        return self.machine.run(argv, check=check, timeout=timeout, env={**os.environ, **self.environment()}).stdout

    def cli(self, which: str = "docker") -> Cli:
        """The command line `docker` or `tiffin`, pointed at this engine."""
        binary = docker_binary() if which == "docker" else str(BIN / "tiffin")
        return Cli(which, binary, self.inside, self.environment())

    def load(self, name: str) -> None:
        """Have a test image in the engine: busybox, debian or python; it is loaded once."""
        if name in self.loaded:
            return
        archive = {"busybox": archives.busybox, "debian": debian.archive, "python": debian.archive}[name]()
        docker = self.cli("docker")
        docker("load", "-i", str(archive), timeout=600)
        self.loaded |= {"busybox"} if name == "busybox" else {"debian", "python"}


@contextlib.contextmanager
def running(kind: str = "tiffin", *, options: Sequence[str] = ()) -> Iterator[Engine]:
    """An engine of one's own, with busybox. A traceback in its log is a failure of whoever used it."""
    engine = Engine(kind, options=options)
    try:
        engine.load("busybox")
        yield engine
        assert "Traceback" not in engine.log.read_text(errors="replace"), engine.log_tail()
    finally:
        engine.close()


class Peer(Engine):
    """An engine that runs already (TIFFIN_TEST_PEER=unix:///…); commands run in that process's network namespace."""

    def __init__(self, host: str) -> None:
        super().__init__("peer", start=False)
        self.socket = Path(host.removeprefix("unix://"))
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
            connection.connect(str(self.socket))
            size = struct.calcsize("3i")
            self.pid, _, _ = struct.unpack("3i", connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, size))
        # what tests start beside the engine, registries for one, must be on the engine's network
        self.machine.pid = self.pid

    def inside(self, argv: Sequence[str | Path]) -> list[str]:
        return enter(self.pid, argv)

    def run(self, *argv: str | Path, check: bool = True, timeout: float = 60) -> str:
        environment = {**os.environ, **self.environment()}
        done = subprocess.run(
            self.inside(argv), check=check, timeout=timeout, env=environment, capture_output=True, text=True
        )
        return done.stdout

    def close(self) -> None:
        self.machine.close()


def ping(path: Path) -> bool:
    """Whether an engine answers GET /_ping on a unix socket."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
        connection.settimeout(10)
        connection.connect(str(path))
        connection.sendall(b"GET /_ping HTTP/1.1\r\nHost: docker\r\nConnection: close\r\n\r\n")
        return connection.recv(64).startswith(b"HTTP/1.1 200")
