"""`--mount type=image`: the files of an image in a container of another."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator

import pytest

from rig import Cli, Engine
from rig.peers import needs_api, tiffins_own

pytestmark = pytest.mark.root


@pytest.fixture(autouse=True)
def new_enough(engine: Engine) -> None:
    needs_api(engine, "1.48", "image mounts")


@pytest.fixture
def files(engine: Engine, docker: Cli) -> Iterator[str]:
    """The name of an image with files of its own, in two layers."""
    docker("run", "--name", "filled", "busybox", "sh", "-c", "mkdir -p /data/inner; echo below > /data/inner/file")
    docker("commit", "filled", "below")
    docker("rm", "filled")
    docker("run", "--name", "filled", "below", "sh", "-c", "echo above > /data/file; ln -s /etc/hostname /data/out")
    docker("commit", "filled", "files")
    docker("rm", "filled")
    yield "files"
    engine.clear()
    docker("rmi", "-f", "files", "below", check=False)


def test_an_image_is_mounted_read_only(docker: Cli, files: str) -> None:
    mount = f"type=image,source={files},target=/mnt"
    shown = docker("run", "--rm", "--mount", mount, "busybox", "cat", "/mnt/data/file", "/mnt/data/inner/file")
    assert shown.out == "above\nbelow\n"
    refused = docker("run", "--rm", "--mount", mount, "busybox", "touch", "/mnt/data/file", check=False)
    assert "Read-only file system" in refused.err


def test_a_subpath_stays_inside_the_image(docker: Cli, files: str) -> None:
    mount = f"type=image,source={files},target=/mnt,image-subpath=data/inner"
    assert docker("run", "--rm", "--mount", mount, "busybox", "ls", "/mnt").out == "file\n"
    missing = docker("run", "--rm", "--mount", f"{mount}/none", "busybox", "true", check=False)
    assert missing.rc != 0 and "no such file or directory" in missing.err
    outside = docker("run", "--rm", "--mount", mount.replace("data/inner", "../.."), "busybox", "true", check=False)
    assert "subpath" in outside.err and "must be a relative path" in outside.err


def test_an_image_that_is_mounted_stays(docker: Cli, files: str) -> None:
    docker(
        "create",
        "--name",
        "holder",
        "--mount",
        f"type=image,source={files},target=/mnt",
        "busybox",
        "cat",
        "/mnt/data/file",
    )
    refused = docker("rmi", files, check=False)
    assert refused.rc == 1 and ("must force" in refused.err or "must be forced" in refused.err)
    docker("rmi", "-f", files)
    assert docker("start", "-a", "holder").out == "above\n", "its layers stay until the container goes"
    docker("rm", "holder")


def test_a_missing_image_is_not_found_and_nothing_stays(engine: Engine, docker: Cli) -> None:
    body = {
        "Image": "busybox",
        "HostConfig": {"Mounts": [{"Type": "image", "Source": "missing:none", "Target": "/mnt"}]},
    }
    ask = ["curl", "-s", "--unix-socket", engine.socket, "-H", "Content-Type: application/json", "-d", json.dumps(body)]
    answer = engine.run(*ask, "http://engine/v1.48/containers/create")
    assert json.loads(answer) == {"message": "No such image: missing:none"}
    assert docker("ps", "-aq").out == ""


def test_volumes_from_takes_images_too(docker: Cli, files: str) -> None:
    docker("create", "--name", "holder", "--mount", f"type=image,source={files},target=/mnt", "busybox")
    assert docker("run", "--rm", "--volumes-from", "holder", "busybox", "cat", "/mnt/data/file").out == "above\n"


@pytest.mark.parametrize("driver", ["overlay", "copy", "erofs"])
def test_each_driver_of_layers_shows_them_and_survives_kill(
    engine: Engine, start_engine: Callable[..., Engine], driver: str
) -> None:
    tiffins_own(engine, "dockerd's drivers are others")
    engine = start_engine("--storage-driver", driver)
    docker = engine.cli("docker")
    mount = "type=image,source=busybox,target=/mnt"
    docker("run", "-d", "--init", "--name", "one", "--mount", mount, "busybox", "sleep", "600")
    engine.kill()
    engine.start()
    assert docker("exec", "one", "ls", "/mnt/bin/busybox").rc == 0
    docker("restart", "-t", "0", "one")
    assert docker("exec", "one", "ls", "/mnt/bin/busybox").rc == 0
    docker("rm", "-f", "one")
    assert not [place for place in engine.machine.mounts() if "/images/" in place]
    docker("rmi", "busybox")
