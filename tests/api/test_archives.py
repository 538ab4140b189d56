"""Archives between engines: what is saved here is loaded by dockerd and read by skopeo, and the other way round."""

from __future__ import annotations

import bz2
import gzip
import json
import lzma
import shutil
import tarfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import zstandard

from rig import Cli, Engine
from rig.engine import running
from rig.registries import Fake, fake, made_image

pytestmark = pytest.mark.root


@pytest.fixture(scope="module")
def own() -> Iterator[Engine]:
    with running() as engine:
        yield engine


@pytest.fixture(scope="module")
def dockerd() -> Iterator[Engine]:
    if shutil.which("dockerd") is None:
        pytest.skip("dockerd is not installed (Debian's docker.io)")
    made = Engine("dockerd")
    try:
        yield made
    finally:
        made.close()


@pytest.fixture(scope="module")
def archive(own: Engine, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two images that share a layer, three names; one with changed configuration; one pulled, so compressed."""
    docker = own.cli()
    path = tmp_path_factory.mktemp("archives") / "saved.tar"
    docker("tag", "busybox", "also/here:7")
    docker("run", "--name", "changed", "busybox", "sh", "-c", "echo hello > /greeting; rm /etc/group")
    change = ['CMD ["cat", "/greeting"]', "ENV A=b", "LABEL c=d", "EXPOSE 80", "WORKDIR /tmp", "USER 0:0"]
    docker("commit", *[word for one in change for word in ("-c", one)], "-m", "a message", "changed", "made:1")
    docker("rm", "changed")
    with fake(own) as registry:
        docker("pull", served(registry))
        docker("tag", served(registry), "squeezed:1")
    docker("save", "-o", str(path), "busybox", "also/here:7", "made:1", "squeezed:1")
    return path


def served(registry: Fake) -> str:
    """An image with a gzip layer."""
    from faults.served import serve

    if not registry.manifests:
        serve(registry, 2)
    return f"{registry.address}/x:1"


def inspected(docker: Cli, name: str) -> dict[str, Any]:
    [document] = json.loads(docker("image", "inspect", name).out)
    return {key: document[key] for key in ("Id", "RootFS", "Architecture", "Os")} | {
        key: document["Config"].get(key) for key in ("Cmd", "Env", "Labels", "ExposedPorts", "WorkingDir", "User")
    }


def member(archive: Path, name: str) -> Any:
    with tarfile.open(archive) as tar:
        file = tar.extractfile(name)
        assert file is not None
        return json.loads(file.read())


NAMES = ("busybox:latest", "also/here:7", "made:1", "squeezed:1")


def test_dockerd_loads_what_is_saved_here(own: Engine, dockerd: Engine, archive: Path) -> None:
    docker = dockerd.cli()
    docker("load", "-i", str(archive))
    for name in NAMES:
        assert inspected(docker, name) == inspected(own.cli(), name)
    assert docker("run", "--rm", "--network", "none", "made:1").out == "hello\n"
    assert "group" not in docker("run", "--rm", "--network", "none", "made:1", "ls", "/etc").out


def test_what_dockerd_saves_is_loaded_here(own: Engine, dockerd: Engine, archive: Path, tmp_path: Path) -> None:
    theirs, docker = dockerd.cli(), own.cli()
    theirs("load", "-i", str(archive))
    theirs("save", "-o", str(tmp_path / "theirs.tar"), *NAMES)
    before = {name: inspected(docker, name) for name in NAMES}
    docker("rmi", "-f", *NAMES[1:])
    docker("load", "-i", str(tmp_path / "theirs.tar"))
    assert {name: inspected(docker, name) for name in NAMES} == before
    assert docker("run", "--rm", "--network", "none", "made:1").out == "hello\n"


def test_the_archive_is_dockers_and_an_oci_layout_at_once(own: Engine, archive: Path) -> None:
    # OCI's annotation is the tag alone, as docker writes it
    for place in (f"docker-archive:{archive}:also/here:7", f"oci-archive:{archive}:7"):
        found = json.loads(own.run("skopeo", "inspect", "--config", "--raw", place))
        assert found["rootfs"]["diff_ids"] == inspected(own.cli(), "also/here:7")["RootFS"]["Layers"]
    listed = member(archive, "manifest.json")
    # one entry an image, each layer once, described where it comes from
    assert sorted(name for one in listed for name in one["RepoTags"]) == sorted(NAMES)
    assert len(listed) == 3
    with tarfile.open(archive) as tar:
        names = tar.getnames()
    assert len(names) == len(set(names))
    for one in listed:
        assert set(one["LayerSources"]) == set(member(archive, one["Config"])["rootfs"]["diff_ids"])
        assert [f"blobs/sha256/{source['digest'][7:]}" for source in one["LayerSources"].values()] == one["Layers"]


PACKINGS: dict[str, Callable[[bytes], bytes]] = {
    "nothing": bytes,
    "gzip": gzip.compress,
    "bzip2": bz2.compress,
    "xz": lambda data: lzma.compress(data, preset=0),
    "zstd": zstandard.compress,
}


@pytest.mark.parametrize("packing", PACKINGS)
def test_what_is_exported_is_imported_compressed_or_not(own: Engine, packing: str, tmp_path: Path) -> None:
    docker = own.cli()
    container = docker("create", "busybox").out.strip()
    docker("export", "-o", str(tmp_path / "plain"), container)
    docker("rm", container)
    (tmp_path / "tree").write_bytes(PACKINGS[packing]((tmp_path / "plain").read_bytes()))
    changes = ["--change", 'CMD ["echo", "imported"]', "--change", "ENV X=1"]
    docker("import", *changes, "-m", "from elsewhere", str(tmp_path / "tree"), "imported:1")
    try:
        assert docker("run", "--rm", "--network", "none", "imported:1").out == "imported\n"
        [step] = [json.loads(line) for line in docker("history", "--format", "json", "imported:1").out.splitlines()]
        assert step["Comment"] == "from elsewhere"
        assert inspected(docker, "imported:1")["Env"] == ["X=1"]
    finally:
        docker("rmi", "imported:1")


def test_large_images_pass_in_constant_memory(own: Engine, tmp_path: Path) -> None:
    docker = own.cli()
    made_image(own, docker, "large:1", size=1000)
    size = 200 << 20
    with (tmp_path / "tree").open("wb") as file:
        file.truncate(size)
    assert own.daemon is not None
    status = Path(f"/proc/{own.daemon.pid}/status")
    before = peak(status)
    script = f"tar -c -C {tmp_path} tree | docker import - large:1; docker save -o {tmp_path / 'saved'} large:1"
    own.run("sh", "-ec", f"{script}; docker load -i {tmp_path / 'saved'}", timeout=300)
    docker("rmi", "large:1")
    assert (tmp_path / "saved").stat().st_size > size
    assert peak(status) - before < 96 << 20


def peak(status: Path) -> int:
    """The largest resident set so far, in bytes."""
    return next(int(line.split()[1]) * 1024 for line in status.read_text().splitlines() if line.startswith("VmHWM:"))
