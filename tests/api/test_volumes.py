"""/volumes through docker-py and the docker command line."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import docker as docker_py
import pytest
from docker.errors import APIError

from rig import Cli, Engine

pytestmark = pytest.mark.root


@pytest.fixture
def client(engine: Engine, tidy: None) -> Iterator[docker_py.APIClient]:
    """docker-py; what it made is removed."""
    made = docker_py.APIClient(base_url=engine.host, timeout=60)
    yield made
    engine.clear()
    modern = docker_py.utils.version_gte(made.api_version, "1.42")
    made.prune_volumes({"all": ["true"]} if modern else {})
    made.close()


def test_volume_is_shown_as_it_was_asked_for(client: docker_py.APIClient) -> None:
    made = client.create_volume("data", labels={"a": "b"})
    assert (made["Name"], made["Driver"], made["Scope"]) == ("data", "local", "local")
    assert made["Labels"] == {"a": "b"}
    assert made["Mountpoint"].endswith("/volumes/data/_data")
    assert made["CreatedAt"]
    assert client.inspect_volume("data") == made
    assert client.create_volume("data", labels={"a": "other"}) == made, "made once"


def test_containers_that_start_at_once_on_a_new_volume_all_find_the_images_files(
    client: docker_py.APIClient,
) -> None:
    many = "mkdir /data; i=0; while [ $i -lt 300 ]; do echo $i > /data/$i; i=$((i+1)); done"
    first = client.create_container("busybox", ["sh", "-c", many])["Id"]
    client.start(first)
    assert client.wait(first)["StatusCode"] == 0
    client.commit(first, "filled")
    host = client.create_host_config(binds=["new:/data"], network_mode="none")
    count = ["sh", "-c", "ls /data | wc -l"]
    made = [client.create_container("filled", count, host_config=host)["Id"] for _ in range(4)]
    with ThreadPoolExecutor(4) as threads:
        list(threads.map(client.start, made))
    assert [client.wait(one)["StatusCode"] for one in made] == [0] * 4
    assert [client.logs(one).strip() for one in made] == [b"300"] * 4
    for one in (first, *made):
        client.remove_container(one)
    client.remove_image("filled")


def test_names_are_checked_in_dockers_words(client: docker_py.APIClient) -> None:
    with pytest.raises(APIError, match="volume name is too short") as refused:
        client.create_volume("v")
    assert refused.value.status_code == 400
    with pytest.raises(APIError, match="includes invalid characters for a local volume name"):
        client.create_volume("../data")
    with pytest.raises(APIError, match="no such volume") as refused:
        client.inspect_volume("missing")
    assert refused.value.status_code == 404


def test_filters_choose_by_name_label_and_use(docker: Cli, client: docker_py.APIClient) -> None:
    client.create_volume("alpha", labels={"tier": "front"})
    client.create_volume("beta")
    docker("create", "-v", "beta:/data", "busybox")

    def names(**filters: object) -> set[str]:
        return {volume["Name"] for volume in client.volumes(filters=filters)["Volumes"] or []}

    assert names(name=["alp"]) == {"alpha"}
    assert names(label=["tier=front"]) == {"alpha"}
    assert names(dangling=["true"]) == {"alpha"}
    assert names(dangling=["false"]) == {"beta"}
    assert names(driver=["local"]) == {"alpha", "beta"}
    with pytest.raises(APIError, match="nvalid filter"):
        names(nonsense=["x"])


def test_data_outlives_the_container(docker: Cli, client: docker_py.APIClient) -> None:
    docker("run", "--rm", "-v", "data:/data", "busybox", "sh", "-c", "echo kept > /data/file")
    assert docker("run", "--rm", "-v", "data:/data", "busybox", "cat", "/data/file").line == "kept"


def test_volume_in_use_is_not_removed(docker: Cli, client: docker_py.APIClient) -> None:
    container = docker("create", "-v", "data:/data", "busybox").line
    with pytest.raises(APIError, match=f"remove data: volume is in use - \\[{container}\\]") as refused:
        client.remove_volume("data")
    assert refused.value.status_code == 409
    docker("rm", container)
    client.remove_volume("data")


def test_anonymous_volumes_go_with_their_container(docker: Cli, client: docker_py.APIClient) -> None:
    docker("run", "--rm", "-v", "/data", "-v", "named:/named", "busybox", "true")
    assert [volume["Name"] for volume in client.volumes()["Volumes"]] == ["named"]
    container = docker("create", "-v", "/data", "busybox").line
    (anonymous,) = {volume["Name"] for volume in client.volumes()["Volumes"]} - {"named"}
    assert len(anonymous) == 64
    docker("rm", "-v", container)
    assert [volume["Name"] for volume in client.volumes()["Volumes"]] == ["named"]


def test_prune_takes_nameless_volumes_unless_told_all(docker: Cli, client: docker_py.APIClient) -> None:
    named, nameless = client.create_volume("named")["Name"], client.create_volume()["Name"]
    # before API 1.42 every unused volume was taken
    first = client.prune_volumes()["VolumesDeleted"]
    modern = docker_py.utils.version_gte(client.api_version, "1.42")
    assert set(first) == ({nameless} if modern else {named, nameless})
    if modern:
        assert client.prune_volumes({"all": ["true"]})["VolumesDeleted"] == [named]


def test_tmpfs_volume_has_its_size_and_forgets(docker: Cli, client: docker_py.APIClient) -> None:
    options = {"type": "tmpfs", "device": "tmpfs", "o": "size=1m,mode=1777,noexec"}
    assert client.create_volume("memory", driver="local", driver_opts=options)["Options"] == options
    shown = docker("run", "--rm", "-v", "memory:/data", "busybox", "sh", "-c", "touch /data/file; mount").out
    (line,) = [line for line in shown.splitlines() if " /data " in line]
    assert line.startswith("tmpfs on /data type tmpfs")
    assert "noexec" in line and "size=1024k" in line
    assert docker("run", "--rm", "-v", "memory:/data", "busybox", "ls", "/data").out == ""


def test_volume_of_a_directory_shows_its_files(docker: Cli, client: docker_py.APIClient, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("there\n")
    client.create_volume("elsewhere", driver_opts={"type": "none", "device": str(tmp_path), "o": "bind"})
    assert docker("run", "--rm", "-v", "elsewhere:/data", "busybox", "cat", "/data/file").line == "there"
    client.remove_volume("elsewhere")
    assert (tmp_path / "file").exists(), "what was mounted is not the volume's"


def test_volume_that_cannot_be_mounted_says_why(docker: Cli, client: docker_py.APIClient) -> None:
    client.create_volume("nowhere", driver_opts={"type": "none", "device": "/nonexistent", "o": "bind"})
    refused = docker("run", "--rm", "-v", "nowhere:/data", "busybox", "true", check=False)
    assert refused.rc != 0
    assert "failed to mount local volume: mount /nonexistent:" in refused.err
