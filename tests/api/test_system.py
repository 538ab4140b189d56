"""The engine about itself, as docker-py and the docker command line ask it."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator

import docker
import pytest

from rig import Cli, Engine
from rig.peers import needs_api

_INFO = """
ID Containers ContainersRunning ContainersPaused ContainersStopped Images Driver DriverStatus Plugins
MemoryLimit SwapLimit CpuCfsPeriod CpuCfsQuota CPUShares CPUSet PidsLimit IPv4Forwarding Debug NFd
OomKillDisable NGoroutines SystemTime LoggingDriver CgroupDriver CgroupVersion NEventsListener KernelVersion
OperatingSystem OSType Architecture IndexServerAddress RegistryConfig NCPU MemTotal DockerRootDir Name Labels
ExperimentalBuild ServerVersion Runtimes DefaultRuntime Swarm LiveRestoreEnabled InitBinary SecurityOptions
Warnings
"""


@pytest.fixture
def client(engine: Engine) -> Iterator[docker.DockerClient]:
    made = docker.DockerClient(base_url=engine.host)
    yield made
    made.close()


def test_ping_answers_and_names_the_api_version(client: docker.DockerClient) -> None:
    assert client.ping()
    answer = client.api.get(client.api.base_url + "/_ping")
    assert answer.headers["Ostype"] == "linux"
    assert tuple(map(int, answer.headers["Api-Version"].split("."))) >= (1, 41)
    assert answer.headers["Server"].startswith("Docker/")


def test_version_has_what_clients_negotiate_with(client: docker.DockerClient) -> None:
    version = client.version()
    assert version["Os"] == "linux"
    assert version["KernelVersion"] == os.uname().release
    assert version["Components"][0]["Name"] == "Engine"
    assert version["MinAPIVersion"]


def test_info_has_every_field_that_the_command_line_prints(docker: Cli) -> None:
    info = json.loads(docker("info", "--format", "json").out)
    for key in _INFO.split():
        assert key in info, key
    assert info["Swarm"]["LocalNodeState"] == "inactive"
    assert info["DefaultRuntime"] in info["Runtimes"]
    assert info["CgroupVersion"] in ("1", "2")
    assert info["MemTotal"] > 1 << 20
    assert any(option.startswith("name=seccomp") for option in info["SecurityOptions"])


def test_info_counts_containers_by_state(client: docker.DockerClient, tidy: None) -> None:
    before = client.info()
    client.containers.create("busybox", ["true"])
    running = client.containers.run("busybox", ["sleep", "1000"], detach=True)
    info = client.info()
    assert info["Containers"] == before["Containers"] + 2
    assert info["ContainersRunning"] == before["ContainersRunning"] + 1
    assert info["ContainersStopped"] == before["ContainersStopped"] + 1
    running.remove(force=True)


def test_df_counts_images_containers_and_volumes(client: docker.DockerClient, tidy: None) -> None:
    volume = client.volumes.create()
    container = client.containers.run(
        "busybox", ["sh", "-c", "head -c 100000 /dev/zero > /data"], detach=True, volumes={volume.name: {"bind": "/v"}}
    )
    container.wait()
    usage = client.df()
    assert any("busybox:latest" in (image["RepoTags"] or ()) for image in usage["Images"])
    assert usage["LayersSize"] > 0
    (shown,) = (one for one in usage["Containers"] if one["Id"] == container.id)
    assert shown["SizeRw"] >= 100_000
    (found,) = (one for one in usage["Volumes"] if one["Name"] == volume.name)
    assert found["UsageData"]["RefCount"] == 1
    container.remove()
    volume.remove()


def test_df_of_one_kind_leaves_the_others_out(engine: Engine, client: docker.DockerClient) -> None:
    needs_api(engine, "1.42", "the parameter `type`")
    usage = client.api.get(client.api._url("/system/df"), params={"type": "volume"}).json()
    assert usage["Images"] is None
    assert usage["Volumes"] is not None


def test_swarm_routes_answer_as_a_node_outside_a_swarm(docker: Cli) -> None:
    for words in (("node", "ls"), ("service", "ls"), ("secret", "ls"), ("config", "ls")):
        failed = docker(*words, check=False)
        assert failed.rc == 1
        assert "This node is not a swarm manager" in failed.err
    assert "not part of a swarm" in docker("swarm", "leave", check=False).err


def test_no_plugins_are_installed(docker: Cli) -> None:
    assert docker("plugin", "ls", "-q").out == ""


def test_an_unknown_route_is_page_not_found(client: docker.DockerClient) -> None:
    answer = client.api.get(client.api._url("/nowhere"))
    assert (answer.status_code, answer.json()) == (404, {"message": "page not found"})
    assert answer.headers["Content-Type"] == "application/json"
