"""GET /events: what is told, replayed and filtered."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from typing import Any

import docker
import pytest

from rig import Cli, Engine


@pytest.fixture
def client(engine: Engine, tidy: None) -> Iterator[docker.DockerClient]:
    made = docker.DockerClient(base_url=engine.host)
    yield made
    made.close()


def seen(client: docker.DockerClient, since: float, **filters: Any) -> list[dict[str, Any]]:
    stream = client.events(since=f"{since:.9f}", until=f"{time.time():.9f}", filters=filters, decode=True)
    return list(stream)


def test_a_containers_life_is_told_in_order(client: docker.DockerClient) -> None:
    since = time.time()
    container = client.containers.run("busybox", ["true"], detach=True, labels={"tier": "front"})
    container.wait()
    container.remove()
    told = seen(client, since, container=container.id)
    assert [event["Action"] for event in told if event["Type"] == "container"] == ["create", "start", "die", "destroy"]
    die = next(event for event in told if event["Action"] == "die")
    assert die["Actor"]["Attributes"]["exitCode"] == "0"
    assert die["Actor"]["Attributes"]["image"] == "busybox"
    assert die["Actor"]["Attributes"]["tier"] == "front"
    assert die["Actor"]["Attributes"]["name"] == container.name
    # the fields of the older form
    assert (die["status"], die["id"], die["from"]) == ("die", container.id, "busybox")
    assert die["timeNano"] // 10**9 == die["time"]


def test_times_rise_strictly(client: docker.DockerClient) -> None:
    since = time.time()
    for _ in range(3):
        client.containers.create("busybox", ["true"]).remove()
    times = [event["timeNano"] for event in seen(client, since)]
    assert len(times) >= 6
    assert times == sorted(set(times))


def test_filters_choose_by_type_event_and_label(client: docker.DockerClient) -> None:
    since = time.time()
    chosen = client.containers.create("busybox", ["true"], labels={"mine": "1"})
    client.containers.create("busybox", ["true"])
    volume = client.volumes.create()
    volume.remove()
    assert {event["Actor"]["ID"] for event in seen(client, since, label="mine=1")} == {chosen.id}
    assert {event["Type"] for event in seen(client, since, type="volume")} == {"volume"}
    assert {event["Action"] for event in seen(client, since, event=["create"], type="container")} == {"create"}


def test_exec_events_match_by_their_prefix(client: docker.DockerClient) -> None:
    container = client.containers.run("busybox", ["sleep", "1000"], detach=True)
    since = time.time()
    container.exec_run(["echo", "hello"])
    told = seen(client, since, event="exec_create")
    assert [event["Action"] for event in told] == ["exec_create: echo hello"]
    container.remove(force=True)


def test_a_follower_hears_what_happens_later(docker: Cli, client: docker.DockerClient) -> None:
    stream = client.events(decode=True, filters={"type": "container"})
    container = client.containers.create("busybox", ["true"])
    assert next(stream)["Actor"]["ID"] == container.id
    stream.close()


def test_events_by_the_command_line(docker: Cli) -> None:
    since = f"{time.time():.9f}"
    docker("run", "--rm", "--name", "told", "busybox", "true")
    out = docker("events", "--since", since, "--until", f"{time.time():.9f}", "--format", "json").out
    actions = [json.loads(line)["Action"] for line in out.splitlines()]
    assert actions[0] == "create"
    assert actions[-1] == "destroy"
    assert "die" in actions


def test_since_after_until_is_refused(client: docker.DockerClient) -> None:
    answer = client.api.get(client.api._url("/events"), params={"since": "20", "until": "10"})
    assert answer.status_code == 400


def test_a_time_that_is_none_is_refused(client: docker.DockerClient) -> None:
    answer = client.api.get(client.api._url("/events"), params={"since": "yesterday"})
    assert answer.status_code in (400, 500)  # dockerd 20.10 blames itself
