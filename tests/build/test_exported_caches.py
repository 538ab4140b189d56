"""Caches handed from one engine to another: `--cache-to` and `--cache-from`, in a registry or in a directory."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from build import building
from rig import Cli, Engine
from rig.engine import running
from rig.served import Inside, Served

pytestmark = pytest.mark.root

PORT = 5070
CONFIG = "application/vnd.buildkit.cacheconfig.v0"
DOCKERFILE = """\
FROM busybox AS made
RUN cat /proc/sys/kernel/random/uuid > /uuid; head -c 300000 /dev/urandom > /large
COPY a.txt /
FROM busybox
WORKDIR /there
COPY --from=made /uuid /uuid
RUN cat /proc/sys/kernel/random/uuid > /second
ENV A=b
"""
STEPS = 6  # the base image is one


@pytest.fixture(scope="module")
def engine() -> Iterator[Engine]:
    with running() as engine:
        yield engine


@pytest.fixture(scope="module")
def tiffin(engine: Engine) -> Cli:
    return engine.cli("tiffin")


@pytest.fixture(scope="module", params=["tiffin", pytest.param("docker-registry", marks=pytest.mark.slow)])
def registry(request: pytest.FixtureRequest, engine: Engine, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Its address."""
    root = tmp_path_factory.mktemp("registry") / "registry"
    port = PORT + (request.param == "tiffin")
    made = Served(Inside(engine.machine), root, port=port, kind=request.param)
    yield made.address
    made.close()


@pytest.fixture
def source(tmp_path: Path) -> Path:
    return building.write(tmp_path / "source", DOCKERFILE, {"a.txt": "a"})


def renewed(engine: Engine) -> None:
    """The same machine, another data root: an engine that has nothing but the base image."""
    engine.stop()
    shutil.rmtree(engine.data_root)
    engine.loaded.clear()
    engine.start()
    engine.load("busybox")


def build(tiffin: Cli, directory: Path, *options: str, check: bool = True) -> str:
    done = tiffin("build", "--progress", "plain", *options, str(directory), timeout=300, check=check)
    return done.out + done.err


def cached(shown: str) -> int:
    return len(re.findall(r"^#\d+ CACHED$", shown, re.MULTILINE))


def inspected(tiffin: Cli, image: str) -> dict[str, Any]:
    (found,) = json.loads(tiffin("image", "inspect", image).out)
    assert isinstance(found, dict)
    return found


@pytest.mark.parametrize("mode", ["min", pytest.param("max", marks=pytest.mark.slow)])
def test_an_empty_engine_takes_every_step_from_a_registry(
    engine: Engine, tiffin: Cli, registry: str, source: Path, mode: str
) -> None:
    place = f"type=registry,ref={registry}/caches/{mode}:one"
    shown = build(tiffin, source, "-t", "first", "--cache-to", f"{place},mode={mode}")
    assert "exporting cache to registry" in shown
    assert re.search(r"writing cache image manifest sha256:\w+ .*done", shown), shown
    before = inspected(tiffin, "first")
    renewed(engine)
    shown = build(tiffin, source, "-t", "again", "--cache-from", place)
    assert f"importing cache manifest from {registry}/caches/{mode}:one" in shown
    assert cached(shown) == STEPS, shown
    after = inspected(tiffin, "again")
    assert (after["Config"], after["RootFS"]) == (before["Config"], before["RootFS"])
    assert after["Created"] == before["Created"]
    assert len(tiffin("run", "--rm", "again", "cat", "/uuid", "/second").out.split()) == 2

    # what follows a step of the stage that is not in the image: its layers come along with `max` alone
    (source / "a.txt").write_text("other")
    text = DOCKERFILE.replace("--from=made /uuid", "--from=made /a.txt")
    (source / "Dockerfile").write_text(text)
    renewed(engine)
    shown = build(tiffin, source, "-t", "changed", "--cache-from", place)
    assert tiffin("run", "--rm", "changed", "cat", "/uuid").out == "other"
    assert cached(shown.partition("RUN cat /proc/sys/kernel/random/uuid > /uuid")[2]) >= (mode == "max"), shown
    made = [one for one in shown.splitlines() if "not taken from the imported cache" in one]
    assert bool(made) == (mode == "min"), shown


@pytest.mark.slow
def test_a_directory_is_written_and_read(engine: Engine, tiffin: Cli, source: Path, tmp_path: Path) -> None:
    place = tmp_path / "cache"
    shown = build(tiffin, source, "--cache-to", f"type=local,dest={place},mode=max,compression=zstd")
    assert "exporting cache to client directory" in shown
    index = json.loads((place / "index.json").read_text())
    manifest = blob(place, index["manifests"][0]["digest"])
    assert manifest["config"]["mediaType"] == CONFIG
    kinds = {one["mediaType"] for one in manifest["layers"]}
    assert "application/vnd.oci.image.layer.v1.tar+zstd" in kinds
    config = blob(place, manifest["config"]["digest"])
    assert {"layers", "records"} <= set(config)
    assert not list((place / "ingest").iterdir())

    # once more under another tag: blobs that are there are not sent again
    build(tiffin, source, "--cache-to", f"type=local,dest={place},tag=other,image-manifest=false")
    index = json.loads((place / "index.json").read_text())
    assert len(index["manifests"]) == 2
    assert blob(place, index["manifests"][1]["digest"])["manifests"][-1]["mediaType"] == CONFIG

    for options in ("", ",tag=other"):
        tiffin("rmi", "-f", "from-directory", check=False)
        tiffin("builder", "prune", "-af")
        place_from = f"type=local,src={place}{options}"
        shown = build(tiffin, source, "-t", "from-directory", "--explain", "--cache-from", place_from)
        assert shown.count("? an imported cache has it; made ") == STEPS - 1
        assert cached(shown) == STEPS, shown
        assert "sha256:" in shown.partition("/second\n")[2], "nothing was fetched"
    assert tiffin("run", "--rm", "from-directory", "cat", "/uuid").out.strip()


def blob(root: Path, digest: str) -> dict[str, Any]:
    found = json.loads((root / "blobs" / "sha256" / digest.removeprefix("sha256:")).read_text())
    assert isinstance(found, dict)
    return found


@pytest.mark.slow
def test_what_was_imported_is_listed_and_pruned(engine: Engine, tiffin: Cli, source: Path, tmp_path: Path) -> None:
    place = tmp_path / "cache"
    build(tiffin, source, "--cache-to", f"type=local,dest={place},mode=max")
    renewed(engine)
    before = blobs(engine)
    build(tiffin, source, "--cache-from", f"type=local,src={place}", "-o", f"type=local,dest={tmp_path / 'out'}")
    assert (tmp_path / "out" / "uuid").exists()
    assert blobs(engine) > before
    assert "RUN cat /proc/sys/kernel/random/uuid" in tiffin("builder", "du", "--verbose").out
    engine.restart()
    assert blobs(engine) > before
    # others do not believe it
    assert cached(build(tiffin, source, "-o", f"type=local,dest={tmp_path / 'other'}")) == 1
    assert (tmp_path / "out" / "uuid").read_text() != (tmp_path / "other" / "uuid").read_text()
    tiffin("builder", "prune", "-af")
    assert blobs(engine) == before


def blobs(engine: Engine) -> set[str]:
    return {path.name for path in (engine.data_root / "content" / "blobs" / "sha256").iterdir()}


@pytest.mark.parametrize(
    "damage", ["layer", *(pytest.param(name, marks=pytest.mark.slow) for name in ("config", "manifest", "missing"))]
)
def test_a_damaged_cache_is_told_and_passed_over(
    engine: Engine, tiffin: Cli, source: Path, tmp_path: Path, damage: str
) -> None:
    place = tmp_path / "cache"
    build(tiffin, source, "--no-cache", "--cache-to", f"type=local,dest={place}")
    index = json.loads((place / "index.json").read_text())
    manifest = blob(place, index["manifests"][0]["digest"])
    victim = {
        "layer": manifest["layers"][-1]["digest"],
        "config": manifest["config"]["digest"],
        "manifest": index["manifests"][0]["digest"],
        "missing": manifest["layers"][-1]["digest"],
    }[damage]
    path = place / "blobs" / "sha256" / victim.removeprefix("sha256:")
    if damage == "missing":
        path.unlink()
    else:
        data = bytearray(path.read_bytes())
        data[len(data) // 2] ^= 0xFF
        path.write_bytes(data)
    tiffin("builder", "prune", "-af")
    shown = build(tiffin, source, "-t", "mended", "--cache-from", f"type=local,src={place}")
    told = "not taken from the imported cache" if damage in ("layer", "missing") else "ERROR"
    assert told in shown, shown
    assert len(tiffin("run", "--rm", "mended", "cat", "/uuid", "/second").out.split()) == 2


def test_caches_that_are_not_there_keep_nobody_from_building(tiffin: Cli, registry: str, source: Path) -> None:
    nowhere = ("--cache-from", f"{registry}/no/such:cache", "--cache-from", "type=local,src=/no/such")
    shown = build(tiffin, source, "--cache-from", "type=gha", *nowhere)
    assert "unknown cache importer: gha" in shown
    assert "WARNING: local cache import at /no/such skipped" in shown
    assert "not found" in shown.partition(f"importing cache manifest from {registry}/no/such:cache")[2]


def test_what_cannot_be_exported_is_said_before_anything_is_built(tiffin: Cli, source: Path) -> None:
    done = tiffin("build", "--progress", "plain", "--cache-to", "type=gha", str(source), check=False)
    assert done.rc == 1
    assert 'unknown cache exporter: "gha"' in done.err
    assert "RUN" not in done.err


@pytest.mark.slow
def test_an_export_that_fails_fails_the_build_unless_that_is_to_be_passed_over(
    tiffin: Cli, source: Path, tmp_path: Path
) -> None:
    place = "type=registry,ref=127.0.0.1:1/no/registry:here"
    done = tiffin("build", "--progress", "plain", "--cache-to", place, str(source), check=False)
    assert done.rc == 1
    assert "connection refused" in done.err
    assert "connection refused" in build(tiffin, source, "--cache-to", f"{place},ignore-error=true")


@pytest.mark.slow
def test_an_image_carries_its_cache_through_a_registry(
    engine: Engine, tiffin: Cli, registry: str, tmp_path: Path
) -> None:
    source = building.write(tmp_path, "FROM busybox\nRUN cat /proc/sys/kernel/random/uuid > /uuid\nENV A=b", {})
    name = f"{registry}/carrier:one"
    build(tiffin, source, "-t", name, "--cache-to", "type=inline", "--push")
    before = inspected(tiffin, name)["RootFS"]
    renewed(engine)
    shown = build(tiffin, source, "-t", "taken", "--cache-from", name)
    assert cached(shown) == 2, shown
    assert inspected(tiffin, "taken")["RootFS"] == before
    assert name not in tiffin("images", "--format", "{{.Repository}}:{{.Tag}}").out


def test_a_cache_of_buildkit_s_is_read_and_left_alone(tiffin: Cli, source: Path, tmp_path: Path) -> None:
    place = tmp_path / "foreign"
    digest = "sha256:" + "ab" * 32
    layer = {"blob": digest, "parent": -1}
    record = {"digest": digest, "layers": [{"layer": 0, "createdAt": "2024-05-06T07:08:09.123456789+02:00"}]}
    above = {"digest": "sha256:" + "cd" * 32, "inputs": [[{"selector": "sha256:" + "ef" * 32, "link": 0}]]}
    raw = json.dumps({"layers": [layer], "records": [record, above]}).encode()
    layers = [{"mediaType": "application/vnd.oci.image.layer.v1.tar+gzip", "digest": digest, "size": 7}]
    config = {"mediaType": CONFIG, "digest": put(place, raw), "size": len(raw)}
    index = {"schemaVersion": 2, "mediaType": "application/vnd.oci.image.index.v1+json", "manifests": [*layers, config]}
    found = put(place, json.dumps(index).encode())
    shown = build(tiffin, source, "--cache-from", f"type=local,src={place},digest={found}")
    assert "this cache is of another builder" in shown
    assert "inferred cache manifest type: application/vnd.oci.image.index.v1+json" in shown


def put(place: Path, raw: bytes) -> str:
    import hashlib

    name = hashlib.sha256(raw).hexdigest()
    (place / "blobs" / "sha256").mkdir(parents=True, exist_ok=True)
    (place / "blobs" / "sha256" / name).write_bytes(raw)
    return f"sha256:{name}"


@pytest.mark.slow
def test_buildkit_reads_what_is_written_here(engine: Engine, tiffin: Cli, source: Path, tmp_path: Path) -> None:
    """dockerd's own BuildKit takes the list of layers for a cache, and finds none of its keys in it."""
    root = tmp_path / "registry"
    made = Served(Inside(engine.machine), root, port=5079, kind="docker-registry")
    place = f"type=registry,ref={made.address}/c:1,mode=max,oci-mediatypes=false"
    build(tiffin, source, "--cache-to", place)
    made.close()
    peer = Engine("dockerd")
    try:
        peer.load("busybox")
        made = Served(Inside(peer.machine), root, port=5079, kind="docker-registry")
        shown = building.build(peer, source, "--progress=plain", "--cache-from", f"{made.address}/c:1", buildkit=True)
        made.close()
    finally:
        peer.close()
    assert shown.rc == 0, shown.out
    told = shown.out.partition(f"importing cache manifest from {made.address}/c:1")[2]
    assert told, shown.out
    assert "ERROR" not in told, shown.out
    assert re.search(r"^#\d+ DONE", told, re.MULTILINE), shown.out
