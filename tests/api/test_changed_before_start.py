"""What is changed between create and start counts: a container is planned when it is created, ahead of its start."""

from __future__ import annotations

import io
import tarfile
import uuid
from collections.abc import Callable
from typing import Any

import docker as docker_py
import pytest

pytestmark = pytest.mark.root
Make = Callable[..., str]


@pytest.fixture
def make(client: docker_py.APIClient) -> Make:
    """make(script, …) creates a busybox container like one that has run already: its id."""

    def create(script: str, **host: Any) -> str:
        config = client.create_host_config(**host)
        return str(client.create_container("busybox", ["sh", "-c", script], host_config=config)["Id"])

    said(client, create("true", network_mode="none"))
    said(client, create("true"))
    return create


def said(client: docker_py.APIClient, container: str) -> str:
    client.start(container)
    assert client.wait(container)["StatusCode"] == 0
    return str(client.logs(container).decode()).strip()


def test_nothing(client: docker_py.APIClient, make: Make) -> None:
    assert said(client, make("id -u; hostname | wc -c; ls /sys/class/net", network_mode="none")) == "0\n13\nlo"
    assert said(client, make("ls /sys/class/net")) == "eth0\nlo"


def test_a_limit(client: docker_py.APIClient, make: Make) -> None:
    container = make(
        "cat /sys/fs/cgroup/memory/memory.limit_in_bytes /sys/fs/cgroup/memory.max 2> /dev/null || true",
        network_mode="none",
        mem_limit="64m",
    )
    client.update_container(container, mem_limit=32 << 20, memswap_limit=64 << 20)
    assert said(client, container) == str(32 << 20)


def test_a_network(client: docker_py.APIClient, make: Make) -> None:
    name = f"net-{uuid.uuid4().hex[:12]}"
    client.create_network(name)
    try:
        container = make("ls /sys/class/net")
        client.connect_container_to_network(container, name)
        assert said(client, container) == "eth0\neth1\nlo"
        client.remove_container(container)
    finally:
        client.remove_network(name)


def test_files_that_say_who_it_is(client: docker_py.APIClient, make: Make) -> None:
    container = make('echo "$HOME"', network_mode="none")
    archive = io.BytesIO()
    with tarfile.open(fileobj=archive, mode="w") as tar:
        member, content = tarfile.TarInfo("passwd"), b"root:x:0:0:root:/elsewhere:/bin/sh\n"
        member.size = len(content)
        tar.addfile(member, io.BytesIO(content))
    assert client.put_archive(container, "/etc", archive.getvalue())
    assert said(client, container) == "/elsewhere"


def test_a_name_that_is_logged(client: docker_py.APIClient, make: Make) -> None:
    options = docker_py.types.LogConfig(type="json-file", config={"tag": "{{.Name}}"})
    container = make("echo hi", network_mode="none", log_config=options)
    name = f"renamed-{uuid.uuid4().hex[:12]}"
    client.rename(container, name)
    assert said(client, container) == "hi"
    with open(client.inspect_container(container)["LogPath"]) as log:
        assert name in log.read()


def test_nothing_between_two_starts(client: docker_py.APIClient, make: Make) -> None:
    container = make("n=$(cat /count 2> /dev/null); echo $((n + 1)) > /count; cat /count", network_mode="none")
    assert said(client, container) == "1"
    assert said(client, container) == "1\n2"
