"""/containers through docker-py and the docker command line: their life from create to remove."""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any

import docker as docker_py
import pytest
from docker.errors import APIError

from rig import Cli, Engine, eventually
from rig.peers import needs_api

pytestmark = pytest.mark.root
Run = Callable[..., str]


@pytest.fixture
def make(client: docker_py.APIClient) -> Run:
    """make("sleep", "9", name="x", memory=…) creates a busybox container: its id. Options of HostConfig by name."""

    def create(*command: str, host: dict[str, Any] | None = None, **options: Any) -> str:
        config = client.create_host_config(**(host or {}))
        return str(client.create_container("busybox", list(command), host_config=config, **options)["Id"])

    return create


def state(client: docker_py.APIClient, container: str) -> dict[str, Any]:
    found: dict[str, Any] = client.inspect_container(container)["State"]
    return found


def test_life_from_created_to_removed(client: docker_py.APIClient, make: Run) -> None:
    container = make("sh", "-c", "exit 3", name="life")
    assert state(client, container)["Status"] == "created"
    client.start(container)
    assert client.wait(container) == {"StatusCode": 3, "Error": None} or client.wait(container)["StatusCode"] == 3
    found = state(client, container)
    assert (found["Status"], found["ExitCode"], found["Running"], found["Pid"]) == ("exited", 3, False, 0)
    client.remove_container(container)
    with pytest.raises(APIError, match="No such container: life") as refused:
        client.inspect_container("life")
    assert refused.value.status_code == 404


def test_inspect_has_dockers_nulls_and_empties(client: docker_py.APIClient, make: Run) -> None:
    found = client.inspect_container(make("true"))
    host, config = found["HostConfig"], found["Config"]
    assert host["LogConfig"]["Type"] == "json-file"
    assert {
        key: host[key] for key in ("Binds", "VolumesFrom", "CapAdd", "Links", "GroupAdd", "PidsLimit")
    } == dict.fromkeys(("Binds", "VolumesFrom", "CapAdd", "Links", "GroupAdd", "PidsLimit"))
    assert host["RestartPolicy"]["Name"] in ("no", "")  # older engines leave it empty
    assert (host["ShmSize"], host["Privileged"], host["IpcMode"]) == (64 << 20, False, "private")
    assert "/proc/kcore" in host["MaskedPaths"]
    assert config["Hostname"] == found["Id"][:12]
    assert (config["Volumes"], config["OnBuild"]) == (None, None)
    assert found["State"]["StartedAt"] == found["State"]["FinishedAt"] == "0001-01-01T00:00:00Z"
    assert (found["ExecIDs"], found["Args"], found["Path"]) == (None, [], "true")


def test_a_name_is_taken_once(client: docker_py.APIClient, make: Run) -> None:
    holder = make("true", name="taken")
    with pytest.raises(APIError) as refused:
        make("true", name="taken")
    assert refused.value.status_code == 409
    assert refused.value.explanation == (
        f'Conflict. The container name "/taken" is already in use by container "{holder}". You have to remove (or'
        " rename) that container to be able to reuse that name."
    )


def test_starting_and_stopping_twice_changes_nothing(engine: Engine, client: docker_py.APIClient, make: Run) -> None:
    container = make("sleep", "600")
    statuses = []
    for action in ("start", "start", "stop?t=0", "stop?t=0"):
        statuses.append(client.post(client._url("/containers/{0}/" + action, container)).status_code)
    assert statuses == [204, 304, 204, 304]


def test_a_stop_sends_the_stop_signal_and_then_kills(client: docker_py.APIClient, make: Run) -> None:
    script = "trap 'echo got it; exit 5' USR1; echo ready; while true; do sleep 0.1; done"
    polite = make("sh", "-c", script, stop_signal="SIGUSR1")
    client.start(polite)
    eventually(lambda: b"ready" in client.logs(polite))
    client.stop(polite, timeout=30)
    assert state(client, polite)["ExitCode"] == 5
    deaf = make("sleep", "600")
    client.start(deaf)
    client.stop(deaf, timeout=1)
    assert state(client, deaf)["ExitCode"] == 137


def test_a_kill_needs_a_running_container_and_a_signal(client: docker_py.APIClient, make: Run) -> None:
    container = make("sleep", "600")
    with pytest.raises(APIError, match="is not running") as refused:
        client.kill(container)
    assert refused.value.status_code == 409
    client.start(container)
    with pytest.raises(APIError) as refused:
        client.kill(container, "BOGUS")
    assert refused.value.status_code == 400
    client.kill(container)
    assert client.wait(container)["StatusCode"] == 137


def test_a_running_container_is_removed_by_force_only(client: docker_py.APIClient, make: Run) -> None:
    container = make("sleep", "600", name="busy")
    client.start(container)
    with pytest.raises(
        APIError, match=r"container is running: stop the container before|You cannot remove a running container"
    ):
        client.remove_container(container)
    client.remove_container(container, force=True)
    assert not client.containers(all=True, filters={"id": container})


def test_a_wait_for_the_next_exit_begins_before_the_start(client: docker_py.APIClient, make: Run) -> None:
    container = make("sh", "-c", "exit 4", host={"auto_remove": True})
    url = client._url("/containers/{0}/wait", container)
    # the heads of the answers come at once: from then on both wait
    waiting = [client.post(url, params={"condition": one}, stream=True, timeout=60) for one in ("next-exit", "removed")]
    client.start(container)
    assert [answer.json()["StatusCode"] for answer in waiting] == [4, 4]
    eventually(lambda: not client.containers(all=True, filters={"id": container}))


def test_a_wait_for_nonsense_is_refused(engine: Engine, client: docker_py.APIClient, make: Run) -> None:
    needs_api(engine, "1.42", "dockerd 20.10 takes it for no condition at all")
    with pytest.raises(APIError) as refused:
        client.wait(make("true"), condition="tea")
    assert refused.value.status_code == 400


@pytest.mark.parametrize(("command", "code"), [("nosuch", 127), ("/nosuch", 127), ("/etc", 126), ("/etc/passwd", 126)])
def test_a_command_that_cannot_run_has_a_shells_exit_code(docker: Cli, command: str, code: int) -> None:
    assert docker("run", "--rm", "busybox", command, check=False).rc == code
    assert not docker("ps", "-aq").out


def test_a_failed_start_is_remembered(client: docker_py.APIClient, make: Run) -> None:
    container = make("nosuch")
    with pytest.raises(APIError, match="executable file not found in") as refused:
        client.start(container)
    assert refused.value.status_code == 400
    found = state(client, container)
    assert (found["Status"], found["ExitCode"]) == ("created", 127)
    assert "executable file not found" in found["Error"]


def test_restarts_follow_the_policy(client: docker_py.APIClient, make: Run) -> None:
    policy = {"Name": "on-failure", "MaximumRetryCount": 2}
    container = make("sh", "-c", "echo run; exit 1", host={"restart_policy": policy})
    client.start(container)
    eventually(lambda: state(client, container)["Status"] == "exited")
    assert client.inspect_container(container)["RestartCount"] == 2
    assert client.logs(container) == b"run\n" * 3


def test_a_stop_ends_the_restarts(client: docker_py.APIClient, make: Run) -> None:
    container = make("sh", "-c", "exit 1", host={"restart_policy": {"Name": "always"}})
    client.start(container)
    eventually(lambda: client.inspect_container(container)["RestartCount"] >= 1)
    client.stop(container, timeout=0)
    assert state(client, container)["Status"] == "exited"
    count = client.inspect_container(container)["RestartCount"]
    client.start(container)
    eventually(lambda: client.inspect_container(container)["RestartCount"] >= 1)
    assert count >= 1
    client.remove_container(container, force=True)


def test_a_paused_container_stands_still(client: docker_py.APIClient, make: Run, tmp_path: Path) -> None:
    # a file has what was written at once; what is in the log's pipe is read a moment later
    script = "while true; do echo tick >> /out/ticks; sleep 0.05; done"
    container, ticks = make("sh", "-c", script, host={"binds": [f"{tmp_path}:/out"]}), tmp_path / "ticks"
    client.start(container)
    eventually(ticks.exists)
    client.pause(container)
    assert state(client, container)["Status"] == "paused"
    with pytest.raises(APIError, match="already paused"):
        client.pause(container)
    with pytest.raises(APIError, match="paused"):
        client.exec_create(container, "true")
    before = ticks.read_text()
    time.sleep(0.2)
    assert ticks.read_text() == before
    client.unpause(container)
    eventually(lambda: ticks.read_text() != before)


def test_health_goes_from_starting_to_healthy_to_unhealthy(client: docker_py.APIClient, make: Run) -> None:
    probe = {"test": ["CMD-SHELL", "echo probed; test -e /tmp/well"], "interval": 100_000_000, "retries": 2}
    container = make("sh", "-c", "touch /tmp/well; sleep 600", healthcheck=probe)
    client.start(container)
    eventually(lambda: state(client, container)["Health"]["Status"] == "healthy")
    assert client.containers(filters={"health": "healthy"})[0]["Status"].endswith("(healthy)")
    client.exec_start(client.exec_create(container, "rm /tmp/well"))
    eventually(lambda: state(client, container)["Health"]["Status"] == "unhealthy")
    health = state(client, container)["Health"]
    assert health["FailingStreak"] >= 2
    assert len(health["Log"]) <= 5
    assert (health["Log"][-1]["ExitCode"], health["Log"][-1]["Output"]) == (1, "probed\n")


def test_an_update_reaches_the_control_group(client: docker_py.APIClient, make: Run) -> None:
    container = make("sleep", "600", host={"mem_limit": "32m", "memswap_limit": "64m"})
    client.start(container)
    client.update_container(container, mem_limit="48m", restart_policy={"Name": "always"})
    host = client.inspect_container(container)["HostConfig"]
    assert (host["Memory"], host["RestartPolicy"]["Name"]) == (48 << 20, "always")
    assert client.stats(container, stream=False, one_shot=True)["memory_stats"]["limit"] == 48 << 20


def test_a_rename_frees_the_old_name(client: docker_py.APIClient, make: Run) -> None:
    container = make("true", name="before")
    make("true", name="other")
    with pytest.raises(APIError, match="already in use"):
        client.rename(container, "other")
    client.rename(container, "after")
    assert client.inspect_container("after")["Name"] == "/after"
    make("true", name="before")


def test_the_list_is_newest_first_and_filtered(client: docker_py.APIClient, make: Run) -> None:
    first = make("true", name="one", labels={"k": "1"})
    second = make("true", name="two", labels={"k": "2"})
    assert [one["Id"] for one in client.containers(all=True)][:2] == [second, first]
    assert [one["Names"] for one in client.containers(all=True, filters={"label": "k=1"})] == [["/one"]]
    assert not client.containers()
    assert len(client.containers(limit=1)) == 1
    with pytest.raises(APIError, match=r"(?i)invalid filter"):
        client.containers(filters={"bogus": "x"})


def test_the_list_shows_what_a_container_is_now(client: docker_py.APIClient, make: Run) -> None:
    """Whatever changes an entry; what is listed with sizes is put together each time."""
    container = make("sleep", "1000", name="listed")
    network = client.create_network("listed-on")["Id"]
    steps: list[Callable[[], Any]] = [
        lambda: None,
        lambda: client.rename(container, "renamed"),
        lambda: client.start(container),
        lambda: client.connect_container_to_network(container, network),
        lambda: client.pause(container),
        lambda: client.unpause(container),
        lambda: client.disconnect_container_from_network(container, network),
        lambda: (client.kill(container), client.wait(container)),  # in between it changes by itself
        lambda: client.connect_container_to_network(container, network),
        lambda: client.disconnect_container_from_network(container, network),
    ]
    try:
        for number, step in enumerate(steps):
            step()
            shown = []
            for size in (False, True):
                (one,) = client.containers(all=True, size=size, filters={"id": [container]})
                shown.append({key: one[key] for key in one if key not in ("SizeRw", "SizeRootFs", "Status")})
            assert shown[0] == shown[1], f"after step {number}"
    finally:
        client.remove_container(container, force=True)
        client.remove_network(network)


def test_over_its_memory_limit_it_is_killed_and_says_so(client: docker_py.APIClient, make: Run) -> None:
    container = make("sh", "-c", "head -c 200m /dev/zero | tail", host={"mem_limit": "16m", "memswap_limit": "16m"})
    client.start(container)
    client.wait(container)
    assert state(client, container)["OOMKilled"] is True


def test_events_tell_the_life_in_order(engine: Engine, docker: Cli) -> None:
    name = f"told-{uuid.uuid4().hex[:12]}"
    docker("run", "--name", name, "busybox", "true")
    docker("rm", name)
    wanted = ["create", "attach", "start", "die", "destroy"]

    def told() -> list[str]:
        # the client cuts `until` to whole seconds, so that the last events show a moment later
        out = docker(
            "events", "--since", "10m", "--until", "0s", "-f", f"container={name}", "--format", "{{.Action}}"
        ).out
        return [one for one in out.split() if one in wanted]

    assert eventually(lambda: told() if told()[-1:] == ["destroy"] else []) == wanted


def test_anonymous_volumes_go_with_the_container_and_named_ones_stay(docker: Cli) -> None:
    before = set(docker("volume", "ls", "-q").out.split())
    docker("run", "--rm", "-v", "/anonymous", "-v", "kept:/kept", "busybox", "touch", "/kept/file")
    assert set(docker("volume", "ls", "-q").out.split()) - before == {"kept"}
    assert docker("run", "--rm", "-v", "kept:/kept", "busybox", "ls", "/kept").out == "file\n"
    docker("volume", "rm", "kept")


@pytest.mark.parametrize("last", ["owner", "borrower"])
def test_an_anonymous_volume_goes_with_the_last_container_that_has_it(docker: Cli, last: str) -> None:
    before = docker("volume", "ls", "-q").out
    docker("create", "--name", "owner", "-v", "/data", "busybox")
    docker("create", "--name", "borrower", "--volumes-from", "owner", "busybox")
    docker("rm", "-v", "borrower" if last == "owner" else "owner")
    assert docker("volume", "ls", "-q").out != before
    docker("rm", "-v", last)
    assert docker("volume", "ls", "-q").out == before


def test_bad_bodies_are_refused(client: docker_py.APIClient) -> None:
    url = client._url("/containers/create")
    for body, content in (
        ("{", "application/json"),
        ("", "application/json"),
        ("[]", "application/json"),
        ("{}", "text/plain"),
    ):
        answer = client.post(url, data=body, headers={"Content-Type": content})
        assert answer.status_code >= 400 and answer.json()["message"], body
    for field in ({"Cmd": 5}, {"Env": "x"}, {"HostConfig": []}, {"HostConfig": {"Memory": "x"}}):
        answer = client.post(url, json={"Image": "busybox", **field})
        assert answer.status_code >= 400, field
