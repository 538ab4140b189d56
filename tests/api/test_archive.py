"""/containers/ID/archive, export and changes."""

from __future__ import annotations

import io
import tarfile
from collections.abc import Iterator

import docker as docker_py
import pytest
from docker.errors import APIError

from rig import Cli

pytestmark = pytest.mark.root


@pytest.fixture(params=["created", "running", "stopped"])
def container(request: pytest.FixtureRequest, client: docker_py.APIClient) -> str:
    """A container in one state after another."""
    made: str = client.create_container("busybox", ["sleep", "600"])["Id"]
    if request.param != "created":
        client.start(made)
    if request.param == "stopped":
        client.kill(made)
        client.wait(made)
    return made


def archive(**files: bytes) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        for name, data in files.items():
            entry = tarfile.TarInfo(name)
            entry.size, entry.mode, entry.uid = len(data), 0o640, 7
            tar.addfile(entry, io.BytesIO(data))
    return buffer.getvalue()


def members(pieces: Iterator[bytes]) -> dict[str, tarfile.TarInfo]:
    with tarfile.open(fileobj=io.BytesIO(b"".join(pieces))) as tar:
        return {member.name: member for member in tar}


def test_a_file_goes_in_and_comes_out(client: docker_py.APIClient, container: str) -> None:
    assert client.put_archive(container, "/root", archive(note=b"hello"))
    pieces, status = client.get_archive(container, "/root/note")
    found = members(pieces)
    assert (status["name"], status["size"], status["mode"], status["linkTarget"]) == ("note", 5, 0o640, "")
    assert (found["note"].size, found["note"].mode & 0o7777, found["note"].uid) == (5, 0o640, 7)


def test_a_directory_comes_under_its_name(client: docker_py.APIClient, container: str) -> None:
    pieces, status = client.get_archive(container, "/usr/")
    assert status["name"] == "usr" and status["mode"] >> 31 == 1
    assert all(name == "usr" or name.startswith("usr/") for name in members(pieces))


def test_a_link_is_described_and_not_followed(client: docker_py.APIClient, container: str) -> None:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        for name, target in (("link", "/etc/passwd"), ("dangling", "nowhere")):
            entry = tarfile.TarInfo(name)
            entry.type, entry.linkname = tarfile.SYMTYPE, target
            tar.addfile(entry)
    client.put_archive(container, "/root", buffer.getvalue())
    pieces, status = client.get_archive(container, "/root/link")
    assert status["linkTarget"] == "/etc/passwd" and status["mode"] >> 27 & 1
    assert members(pieces)["link"].issym()
    assert client.get_archive(container, "/root/dangling")[1]["linkTarget"] == "/root/nowhere"


def test_what_is_not_there_is_not_found(client: docker_py.APIClient, container: str) -> None:
    with pytest.raises(APIError, match="Could not find the file /nope in container") as refused:
        client.get_archive(container, "/nope")
    assert refused.value.status_code == 404
    with pytest.raises(APIError) as refused:
        client.put_archive(container, "/nope", archive(x=b""))
    assert refused.value.status_code == 404
    with pytest.raises(APIError) as refused:
        client.put_archive(container, "/etc/passwd", archive(x=b""))
    assert refused.value.status_code >= 400


def test_a_directory_is_not_replaced_by_a_file_when_asked_to_keep_it(
    client: docker_py.APIClient, container: str
) -> None:
    url = client._url("/containers/{0}/archive", container)
    query = {"path": "/", "noOverwriteDirNonDir": "true"}
    assert client.put(url, params=query, data=archive(usr=b"x")).status_code >= 400


def test_a_hostile_archive_stays_inside(client: docker_py.APIClient, container: str) -> None:
    url = client._url("/containers/{0}/archive", container)
    assert client.put(url, params={"path": "/root"}, data=archive(**{"../../../../outside": b"x"})).status_code >= 400
    assert client.put(url, params={"path": "/root"}, data=b"garbage" * 1000).status_code >= 400


def test_an_export_has_the_files_and_none_of_the_mounts(client: docker_py.APIClient, container: str) -> None:
    names = members(client.export(container))
    assert "bin/busybox" in names
    assert not any(name.startswith(("proc/", "sys/")) for name in names)


def test_changes_are_the_containers_own(docker: Cli) -> None:
    docker("run", "--name", "changed", "busybox", "sh", "-c", "echo x > /root/new; rm /bin/vi")
    # dockerd's order of siblings is that of the directory
    assert sorted(docker("diff", "changed").out.splitlines()) == ["A /root/new", "C /bin", "C /root", "D /bin/vi"]


def test_volumes_are_reached_while_the_container_is_stopped(docker: Cli) -> None:
    docker("create", "--name", "held", "-v", "/data", "-v", "/etc:/readonly:ro", "busybox", "true")
    docker("cp", "-", "held:/data", input=archive(file=b"x").decode("latin-1"))
    docker("run", "--rm", "--volumes-from", "held", "busybox", "test", "-e", "/data/file")
    refused = docker("cp", "-", "held:/readonly", input=archive(file=b"x").decode("latin-1"), check=False)
    assert "read-only" in refused.err
