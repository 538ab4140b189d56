"""/exec through docker-py and the docker command line."""

from __future__ import annotations

import docker as docker_py
import pytest
from docker.errors import APIError

from rig import Cli, eventually

pytestmark = pytest.mark.root


@pytest.fixture
def container(client: docker_py.APIClient) -> str:
    """A busybox that sleeps, as user 5 in group 6."""
    made: str = client.create_container("busybox", ["sleep", "600"], user="5:6", environment=["A=b"])["Id"]
    client.start(made)
    return made


def test_output_arrives_on_its_own_stream(client: docker_py.APIClient, container: str) -> None:
    made = client.exec_create(container, ["sh", "-c", "echo out; echo err >&2"])
    assert client.exec_start(made, demux=True) == (b"out\n", b"err\n")


def test_the_exit_code_is_known_when_the_output_ends(client: docker_py.APIClient, container: str) -> None:
    for code in range(1, 30):
        made = client.exec_create(container, ["sh", "-c", f"exit {code}"])
        client.exec_start(made)
        found = client.exec_inspect(made)
        assert (found["ExitCode"], found["Running"]) == (code, False)


def test_it_inherits_user_and_environment_and_may_change_them(client: docker_py.APIClient, container: str) -> None:
    def out(command: str, **options: object) -> str:
        return str(client.exec_start(client.exec_create(container, ["sh", "-c", command], **options)).decode())

    assert out("echo $(id -u):$(id -g) $A") == "5:6 b\n"
    assert out("echo $(id -u):$(id -g) $A $C", user="root", environment={"C": "d"}) == "0:0 b d\n"
    assert out("pwd", workdir="/tmp") == "/tmp\n"
    assert out("grep CapEff /proc/self/status").split()[1] == "0000000000000000"
    assert out("grep CapInh /proc/self/status", user="0").split()[1] == "0000000000000000"


@pytest.mark.parametrize(("command", "code"), [("nosuch", 127), ("/nosuch", 127), ("/etc", 126)])
def test_what_cannot_run_says_so_in_the_stream(docker: Cli, container: str, command: str, code: int) -> None:
    found = docker("exec", container, command, check=False)
    assert found.rc in (code, 126)  # dockerd 20.10 knows 126 only
    assert "OCI runtime exec failed" in found.out + found.err


def test_input_reaches_the_process_and_ends(docker: Cli, container: str) -> None:
    assert docker("exec", "-i", container, "cat", input="one\ntwo\n").out == "one\ntwo\n"
    text = "x" * 1_000_000
    assert docker("exec", "-i", container, "wc", "-c", input=text).out.strip() == "1000000"


def test_a_terminal_has_the_clients_size(docker: Cli, container: str) -> None:
    with docker.terminal("exec", "-it", container, "sh", rows=31, columns=77) as terminal:

        def size() -> str:
            terminal.send("stty size\n")
            return terminal.expect(r"^(\d+ \d+)\r\n")[1]

        eventually(lambda: size() == "31 77")  # a client may tell it only some time after the start


def test_detached_it_runs_on_alone(client: docker_py.APIClient, container: str) -> None:
    made = client.exec_create(container, ["sh", "-c", "sleep 0.2; exit 9"])
    client.exec_start(made, detach=True)
    eventually(lambda: client.exec_inspect(made)["ExitCode"] == 9)


def test_an_exec_runs_once_and_in_a_running_container_only(client: docker_py.APIClient, container: str) -> None:
    made = client.exec_create(container, "true")
    client.exec_start(made)
    with pytest.raises(APIError, match="has already run") as refused:
        client.exec_start(made, detach=True)
    assert refused.value.status_code == 409
    with pytest.raises(APIError, match="No such exec instance"):
        client.exec_inspect("nope")
    client.stop(container, timeout=0)
    with pytest.raises(APIError, match="is not running") as refused:
        client.exec_create(container, "true")
    assert refused.value.status_code == 409


def test_it_ends_with_its_container(client: docker_py.APIClient, container: str) -> None:
    made = client.exec_create(container, ["sleep", "600"])
    client.exec_start(made, detach=True)
    assert client.exec_inspect(made)["Running"]
    client.kill(container)
    eventually(lambda: client.exec_inspect(made)["ExitCode"] == 137)
