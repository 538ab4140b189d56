"""Builds that wait for the same step, and clients that go away meanwhile: buildx beside tiffin build."""

from __future__ import annotations

import os
import re
import signal
import subprocess
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from build_wire.test_buildx import build, read, write
from rig import Cli, eventually

pytestmark = pytest.mark.timeout(600)

WORDS = {"docker": ("buildx", "build"), "tiffin": ("build",)}


class Gate:
    """A RUN with a cache mount that goes on when it is told by a signal."""

    def __init__(self, name: str) -> None:
        self._name = name.encode()
        script = f"trap 'exit 0' USR1; echo at the $((2 - 1))st gate; while :; do sleep 0.1; done; : {name}"
        self.dockerfile = f"FROM busybox\nRUN --mount=type=cache,target=/cache {script}\n"

    def running(self) -> set[int]:
        """Processes that run the step: the first of its namespace, for what it forks has its words until the execve."""
        return {int(path.parent.name) for path in Path("/proc").glob("[0-9]*/cmdline") if self._is_step(path)}

    def _is_step(self, path: Path) -> bool:
        line = read(path)
        if not (line.startswith(b"/bin/sh\0-c\0trap") and self._name in line):
            return False
        return re.search(rb"^NSpid:.*\t1$", read(path.with_name("status")), re.MULTILINE) is not None


class Client:
    """A build that runs; what it has said so far."""

    def __init__(self, cli: Cli, folder: Path, log: Path) -> None:
        self.log = log
        with log.open("wb") as out:
            words = (*WORDS[cli.name], "--progress", "plain", str(folder))
            # docker and its plugin are two processes
            self.process = cli.start(*words, stdout=out, stderr=subprocess.STDOUT, start_new_session=True)

    def said(self, text: str) -> bool:
        return text in self.log.read_text(errors="replace")

    def kill(self, number: int) -> None:
        os.killpg(self.process.pid, number)

    def close(self) -> None:
        if self.process.poll() is None:
            self.kill(signal.SIGKILL)
        self.process.wait()


@pytest.mark.parametrize("pair", ["docker-docker", "docker-tiffin", "tiffin-docker", "tiffin-tiffin"])
def test_who_is_killed_does_not_take_the_step_of_another(
    request: pytest.FixtureRequest, pair: str, tmp_path: Path
) -> None:
    gate = Gate(f"shared-{pair}-{os.getpid()}")
    folder = write(tmp_path / "c", Dockerfile=gate.dockerfile)
    first, second = (request.getfixturevalue(name) for name in pair.split("-"))
    clients = [Client(first, folder, tmp_path / "first")]
    try:
        running = eventually(gate.running, within=60, what="the step runs")
        clients.append(Client(second, folder, tmp_path / "second"))
        eventually(lambda: clients[1].said("at the 1st gate"), within=60, what="the other build follows it")
        clients[0].kill(signal.SIGKILL)
        clients[0].process.wait()
        assert gate.running() == running
        os.kill(running.pop(), signal.SIGUSR1)
        assert clients[1].process.wait(timeout=120) == 0, clients[1].log.read_text()
    finally:
        for client in clients:
            client.close()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL], ids=["interrupted", "killed"])
@pytest.mark.parametrize("which", ["docker", "tiffin"])
def test_a_step_that_nobody_waits_for_any_more_ends(
    request: pytest.FixtureRequest, which: str, number: int, tmp_path: Path
) -> None:
    mark = 9_000_000_000 + os.getpid() * 100 + number
    folder = write(tmp_path / "c", Dockerfile=f"FROM busybox\nRUN echo begun; exec sleep {mark}\n")

    def sleeps() -> bool:
        return any(read(path) == b"sleep\0%d\0" % mark for path in Path("/proc").glob("[0-9]*/cmdline"))

    client = Client(request.getfixturevalue(which), folder, tmp_path / "log")
    try:
        eventually(sleeps, within=60, what="the step runs")
        client.kill(number)
        eventually(lambda: not sleeps(), within=60, what="the step has ended")
        assert client.process.wait(timeout=60) != 0
    finally:
        client.close()


@pytest.mark.slow
def test_eight_builds_at_once_by_two_kinds_of_clients(docker: Cli, tiffin: Cli, tmp_path: Path) -> None:
    folder = write(tmp_path / "c", shared="the same for all\n")

    def one(number: int) -> str:
        text = f"FROM busybox\nCOPY shared /\nRUN echo {number} >> /shared\nCMD cat /shared\n"
        name = f"wire-both:{number}"
        if number % 2:
            build(docker, "-t", name, "-f", "-", str(folder), input=text)
        else:
            tiffin("build", "-t", name, "-f", "-", str(folder), input=text, timeout=300)
        return str(docker("run", "--rm", name).out)

    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(one, range(8))) == [f"the same for all\n{number}\n" for number in range(8)]
