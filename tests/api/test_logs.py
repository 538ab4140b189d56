"""/containers/ID/logs and attach."""

from __future__ import annotations

import re
import threading

import docker as docker_py
import pytest
from docker.errors import APIError

from rig import Cli, Engine, eventually
from rig.peers import tiffins_own

pytestmark = pytest.mark.root


def run(client: docker_py.APIClient, script: str, **host: object) -> str:
    """A container that ran a shell script to its end."""
    config = client.create_host_config(**host)
    made: str = client.create_container("busybox", ["sh", "-c", script], host_config=config)["Id"]
    client.start(made)
    client.wait(made)
    return made


def test_streams_are_told_apart(client: docker_py.APIClient) -> None:
    made = run(client, "echo out; echo err >&2")
    assert client.logs(made, stdout=True, stderr=False) == b"out\n"
    assert client.logs(made, stdout=False, stderr=True) == b"err\n"
    with pytest.raises(APIError) as refused:
        client.logs(made, stdout=False, stderr=False)
    assert refused.value.status_code == 400


def test_the_last_lines_and_their_times(client: docker_py.APIClient) -> None:
    made = run(client, "for i in 1 2 3 4 5; do echo $i; done")
    assert client.logs(made, tail=2) == b"4\n5\n"
    assert client.logs(made, tail=0) == b""
    lines = client.logs(made, timestamps=True).decode().splitlines()
    assert all(re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{9}Z \d", line) for line in lines)


def test_bytes_that_are_no_text_and_long_lines_come_back(client: docker_py.APIClient) -> None:
    made = run(client, "head -c 100000 /dev/zero | tr '\\0' x; echo; printf 'no newline'")
    assert client.logs(made) == b"x" * 100000 + b"\nno newline"


def test_a_follower_gets_every_line_across_rotations(engine: Engine, client: docker_py.APIClient) -> None:
    tiffins_own(engine, "dockerd loses lines when files are rotated faster than they are read")
    log = docker_py.types.LogConfig(type="json-file", config={"max-size": "20k", "max-file": "50"})
    config = client.create_host_config(log_config=log)
    script = "read go; i=0; while [ $i -lt 2000 ]; do i=$((i+1)); echo line $i; done"
    made = client.create_container("busybox", ["sh", "-c", script], host_config=config, stdin_open=True)["Id"]
    client.start(made)
    found: list[bytes] = []

    def follow() -> None:
        found.extend(client.logs(made, stream=True, follow=True))

    thread = threading.Thread(target=follow)
    thread.start()
    socket = client.attach_socket(made, {"stdin": 1, "stream": 1})
    socket._sock.sendall(b"go\n")
    thread.join(60)
    expected = b"".join(b"line %d\n" % number for number in range(1, 2001))
    assert b"".join(found) == expected
    assert client.logs(made) == expected


def test_without_a_log_there_is_nothing_to_read(client: docker_py.APIClient) -> None:
    made = run(client, "echo x", log_config=docker_py.types.LogConfig(type="none"))
    with pytest.raises(APIError, match="does not support reading"):
        client.logs(made)


def test_logs_survive_a_restart_of_the_container(client: docker_py.APIClient) -> None:
    made = run(client, "echo once")
    client.start(made)
    client.wait(made)
    assert client.logs(made) == b"once\nonce\n"


def test_attached_before_the_start_nothing_is_missed(docker: Cli) -> None:
    for number in range(10):
        assert docker("run", "--rm", "busybox", "echo", str(number)).out == f"{number}\n"


def test_output_survives_half_closed_stdin(docker: Cli) -> None:
    assert (
        docker("run", "--rm", "-i", "busybox", "sh", "-c", "cat; sleep 0.2; echo after", input="in\n").out
        == "in\nafter\n"
    )


def test_an_attach_with_logs_replays_what_was_said(engine: Engine, client: docker_py.APIClient) -> None:
    tiffins_own(engine, "dockerd may send the first output along with the header, where docker-py drops it")
    made = run(client, "echo said; echo wrong >&2")
    assert client.attach(made, stdout=True, stderr=True, logs=True, stream=False, demux=True) == (b"said\n", b"wrong\n")


def test_a_client_that_leaves_before_the_start_costs_nothing(engine: Engine, client: docker_py.APIClient) -> None:
    made = client.create_container("busybox", ["true"])["Id"]
    for _ in range(50):
        client.attach_socket(made, {"stdout": 1, "stream": 1}).close()
    client.start(made)
    assert client.wait(made)["StatusCode"] == 0


def test_detach_keys_leave_the_container_running(docker: Cli) -> None:
    with docker.terminal("run", "-it", "--name", "left", "--detach-keys", "ctrl-a,d", "busybox", "sh") as terminal:
        terminal.expect("# ")
        terminal.send("\x01d")
        eventually(lambda: terminal.process.poll() is not None)
    assert docker("inspect", "-f", "{{.State.Running}}", "left").line == "true"
