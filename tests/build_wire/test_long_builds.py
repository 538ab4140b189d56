"""Older clients, large contexts, clients that are killed, many builds at once."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from build_wire import test_buildx
from build_wire.test_buildx import build, write
from rig import Cli, Engine, eventually
from rig.registries import Registry

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]

# the agent's protocol (RFC 9987): buildx reads what passes, and passes on only what it knows
REQUEST_IDENTITIES = b"\0\0\0\1\x0b"
NO_IDENTITIES = b"\0\0\0\5\x0c\0\0\0\0"

SAME = [
    test_buildx.test_an_image_is_built_and_runs,
    test_buildx.test_a_dockerfile_that_cannot_be_read_is_told_with_its_line,
    test_buildx.test_results_go_to_a_directory_and_to_a_tar,
    test_buildx.test_a_dockerfile_and_a_whole_context_come_from_standard_input,
    test_buildx.test_secrets_are_seen_by_their_step_only,
    test_buildx.test_other_directories_and_images_are_contexts,
    test_buildx.test_bake_builds_targets_on_each_other,
    test_buildx.test_compose_builds_its_services_and_starts_one,
]


@pytest.mark.parametrize("test", SAME, ids=lambda test: test.__name__.removeprefix("test_"))
def test_the_plugins_of_debian_13_do_the_same(old_docker: Cli, tmp_path: Path, test: object) -> None:
    assert callable(test)
    test(old_docker, tmp_path)


def test_an_agent_hears_a_step_and_answers_it(docker: Cli, builder: Engine, tmp_path: Path) -> None:
    builder.load("debian")
    listening = socket.socket(socket.AF_UNIX)
    listening.bind(str(tmp_path / "agent"))
    listening.listen()

    def answer() -> None:
        with contextlib.suppress(OSError):
            while True:
                connection, _ = listening.accept()
                with connection:
                    while connection.recv(5) == REQUEST_IDENTITIES:
                        connection.sendall(NO_IDENTITIES)

    threading.Thread(target=answer, daemon=True).start()
    asking = "import os, socket; s = socket.socket(socket.AF_UNIX); s.connect(os.environ['SSH_AUTH_SOCK']); "
    asking += f"s.sendall({REQUEST_IDENTITIES!r}); print(s.recv(9, socket.MSG_WAITALL).hex())"
    text = "FROM python:3.14\nCOPY ask.py /\nRUN --mount=type=ssh python3 /ask.py\n"
    folder = write(tmp_path / "c", Dockerfile=text, ask_py=asking)
    try:
        shown = build(docker, "--no-cache", "--ssh", f"default={tmp_path / 'agent'}", str(folder))
    finally:
        listening.close()
    assert NO_IDENTITIES.hex() in shown


@pytest.mark.parametrize("which", ["docker", "tiffin"])
def test_a_large_context_that_has_not_changed_is_not_sent_again(
    request: pytest.FixtureRequest, which: str, tmp_path: Path
) -> None:
    cli: Cli = request.getfixturevalue(which)
    words = ("buildx", "build") if which == "docker" else ("build",)
    folder = write(tmp_path / "c", Dockerfile="FROM busybox\nCOPY . /all\n")
    for number in range(2000):
        inner = folder / f"d{number % 40}"
        inner.mkdir(exist_ok=True)
        (inner / f"f{number}").write_bytes(os.urandom(20_000))

    def sent() -> str:
        done = cli(*words, "--progress", "plain", str(folder), timeout=300)
        return [line for line in (done.out + done.err).splitlines() if "transferring context" in line][-1]

    assert "MB" in sent()
    assert "MB" not in sent()
    (folder / "d3" / "f3").write_bytes(b"changed")
    assert "MB" not in sent()


def test_clients_that_are_killed_leave_a_builder_that_works(docker: Cli, builder: Engine, tmp_path: Path) -> None:
    folder = write(tmp_path / "c", Dockerfile="FROM busybox\nCOPY large /\nRUN sleep 0.3; sha1sum /large > /sum\n")
    (folder / "large").write_bytes(os.urandom(100_000_000))
    for number in range(8):
        running = docker.start("buildx", "build", "--no-cache", str(folder))
        with contextlib.suppress(Exception):
            running.wait(timeout=0.2 + number * 0.15)
        running.send_signal(signal.SIGKILL)
        running.wait()
    build(docker, "-t", "wire-killed", str(folder))
    assert docker("run", "--rm", "wire-killed", "sha1sum", "-c", "/sum").out == "/large: OK\n"
    assert builder.daemon is not None
    held = Path(f"/proc/{builder.daemon.pid}/fd")
    eventually(lambda: len(list(held.iterdir())) < 100, within=60, what="descriptors are closed")


def test_eight_builds_at_once_share_a_directory(docker: Cli, tmp_path: Path) -> None:
    folder = write(tmp_path / "c", shared="the same for all\n")

    def one(number: int) -> str:
        text = f"FROM busybox\nCOPY shared /\nRUN echo {number} >> /shared\nCMD cat /shared\n"
        build(docker, "-t", f"wire-many:{number}", "-f", "-", str(folder), input=text)
        return docker("run", "--rm", f"wire-many:{number}").out

    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(one, range(8))) == [f"the same for all\n{number}\n" for number in range(8)]


@pytest.mark.parametrize("which", ["docker", "tiffin"])
def test_what_is_built_is_pushed_and_built_upon_from_a_registry_with_a_password(
    request: pytest.FixtureRequest, builder: Engine, which: str, tmp_path: Path
) -> None:
    cli: Cli = request.getfixturevalue(which)
    words = ("buildx", "build") if which == "docker" else ("build",)
    port = 5601 if which == "docker" else 5602
    registry = Registry(builder, tmp_path / "registry", port, users={"user": "secret"})
    try:
        cli("login", "-u", "user", "--password-stdin", registry.address, input="secret")
        reference = f"{registry.address}/made:1"
        folder = write(tmp_path / "c", Dockerfile=f"FROM busybox\nRUN echo {which} > /made\n")
        cli(*words, "--push", "-t", reference, str(folder), timeout=300)
        cli("rmi", reference)
        upon = write(tmp_path / "d", Dockerfile=f"FROM {reference}\nRUN cat /made > /seen\nCMD cat /seen\n")
        cli(*words, "--pull", "-t", f"wire-upon-{which}", str(upon), timeout=300)
        assert cli("run", "--rm", f"wire-upon-{which}").out == f"{which}\n"
    finally:
        registry.close()
