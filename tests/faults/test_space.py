"""What images take on the disk: each byte once, counted as du counts, and readable by others as it lies."""

from __future__ import annotations

import gzip
import json
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from faults.api import Api
from faults.served import serve
from rig import Engine
from rig.registries import Fake, fake, made_image

pytestmark = pytest.mark.root


@pytest.fixture
def engine(start_engine: Callable[..., Engine]) -> Engine:
    return start_engine(images=())


@pytest.fixture
def registry(engine: Engine) -> Iterator[Fake]:
    with fake(engine) as running:
        yield running


def du(engine: Engine) -> int:
    """Bytes of blobs and layers."""
    roots = [engine.data_root / "content", *(engine.data_root / "snapshots").glob("*/layers")]
    return sum_of(subprocess.check_output(["du", "-s", "-c", "-B1", *roots], text=True))


def sum_of(told: str) -> int:
    return int(told.splitlines()[-1].split()[0])


def test_df_says_what_du_says(engine: Engine, registry: Fake) -> None:
    docker = engine.cli()
    made_image(engine, docker, "one:1", layers=2)
    docker("tag", "one:1", "one:2")
    serve(registry, 2)
    docker("pull", f"{registry.address}/x:1")
    assert Api(engine).ask("GET", "/system/df")["LayersSize"] == du(engine)


def test_prune_says_what_it_has_freed(engine: Engine, registry: Fake) -> None:
    docker, api = engine.cli(), Api(engine)

    def pruned() -> int:
        answer = api.ask("POST", "/images/prune", filters='{"dangling":["false"]}')
        return int(answer["SpaceReclaimed"])

    serve(registry, 2)
    docker("pull", f"{registry.address}/x:1")
    assert pruned() > 0
    before = du(engine)
    packings: list[Callable[[bytes], bytes]] = [bytes, gzip.compress]
    for pack in packings:
        serve(registry, 2, pack=pack)
        docker("pull", f"{registry.address}/x:1")
        held = du(engine) - before
        # the two layers' directories are du's alone
        assert pruned() == held - 2 * 4096
        assert du(engine) == before


def test_an_uncompressed_layer_that_is_pulled_is_kept_once(engine: Engine, registry: Fake) -> None:
    docker = engine.cli()
    [digest] = serve(registry, 1, pack=bytes)
    docker("pull", f"{registry.address}/x:1")
    [tar] = (engine.data_root / "snapshots/erofs/layers").glob("*/tar")
    assert tar.samefile(engine.data_root / "content/blobs/sha256" / digest.removeprefix("sha256:"))
    docker("rmi", f"{registry.address}/x:1")
    assert not list((engine.data_root / "content/blobs/sha256").iterdir())


def test_skopeo_reads_the_store_as_it_lies(engine: Engine, tmp_path: Path) -> None:
    docker = engine.cli()
    made_image(engine, docker, "one:1", layers=2)
    docker("tag", "one:1", "other:7")
    content = engine.data_root / "content"
    [image] = json.loads(docker("image", "inspect", "one:1").out)
    for name in ("one:1", "other:7"):
        read = skopeo(engine, "inspect", "--config", "--raw", f"oci:{content}:{name}")
        assert json.loads(read)["rootfs"]["diff_ids"] == image["RootFS"]["Layers"]
    skopeo(engine, "copy", "-q", f"oci:{content}:one:1", f"dir:{tmp_path / 'copy'}")
    assert len(list((tmp_path / "copy").iterdir())) == 2 + 1 + 2  # layers, config, manifest and version


def test_umoci_lists_and_unpacks_the_store_as_it_lies(engine: Engine, tmp_path: Path) -> None:
    docker = engine.cli()
    made_image(engine, docker, "one:1", layers=2)
    content = engine.data_root / "content"
    assert engine.run("umoci", "list", "--layout", content).split() == ["one:1"]
    engine.run("umoci", "unpack", "--image", f"{content}:one:1", tmp_path / "bundle")  # it checks every digest
    assert {path.name for path in (tmp_path / "bundle/rootfs").iterdir()} == {"file-0", "file-1"}


def test_what_builds_and_commits_make_is_kept_once_too(engine: Engine, tmp_path: Path) -> None:
    docker = engine.cli()
    engine.load("busybox")
    (tmp_path / "Dockerfile").write_text("FROM busybox\nRUN echo built > /file\n")
    docker("build", "-t", "built:1", str(tmp_path), env={"DOCKER_BUILDKIT": "0"})
    docker("run", "--name", "changed", "busybox", "touch", "/more")
    docker("commit", "changed", "committed:1")
    for name in ("built:1", "committed:1"):
        [image] = json.loads(docker("image", "inspect", name).out)
        hexadecimal = image["RootFS"]["Layers"][-1].removeprefix("sha256:")
        tar = engine.data_root / "snapshots/erofs/layers" / hexadecimal / "tar"
        assert tar.samefile(engine.data_root / "content/blobs/sha256" / hexadecimal)


def skopeo(engine: Engine, *words: str) -> str:
    return engine.run("skopeo", *words)
