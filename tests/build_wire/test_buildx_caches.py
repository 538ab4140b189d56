"""The stock buildx with `--cache-to` and `--cache-from`: a directory over the session's content store, a registry."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from build_wire.test_buildx import build, write
from rig import Cli, Engine
from rig.served import Inside, Served

pytestmark = [pytest.mark.timeout(600), pytest.mark.slow]

UUID = "cat /proc/sys/kernel/random/uuid"
DOCKERFILE = (
    f"FROM busybox AS made\nRUN {UUID} > /x\nFROM busybox\nCOPY --from=made /x /\nRUN {UUID} > /y\nCMD cat /x /y\n"
)
STEPS = 4


@pytest.fixture(scope="module")
def registry(builder: Engine, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    made = Served(Inside(builder.machine), tmp_path_factory.mktemp("registry") / "registry", port=5077)
    yield made.address
    made.close()


def cached(shown: str) -> int:
    return len(re.findall(r"^#\d+ CACHED$", shown, re.MULTILINE))


@pytest.mark.parametrize("mode", ["min", "max"])
def test_a_cache_goes_to_a_directory_and_comes_back(docker: Cli, tmp_path: Path, mode: str) -> None:
    folder, place = write(tmp_path / "c", Dockerfile=DOCKERFILE), tmp_path / "cache"
    shown = build(docker, "-t", "wire-local:1", "--cache-to", f"type=local,dest={place},mode={mode}", str(folder))
    assert "exporting cache to client directory" in shown
    assert json.loads((place / "index.json").read_text())["manifests"]
    printed = docker("run", "--rm", "wire-local:1").out
    docker("rmi", "-f", "wire-local:1")
    docker("buildx", "prune", "-af")
    shown = build(docker, "-t", "wire-local:2", "--cache-from", f"type=local,src={place}", str(folder))
    assert "importing cache manifest from local:" in shown
    assert cached(shown) == STEPS, shown
    assert docker("run", "--rm", "wire-local:2").out == printed
    docker("rmi", "-f", "wire-local:2")
    docker("buildx", "prune", "-af")


def test_a_cache_goes_to_a_registry_and_comes_back(docker: Cli, tmp_path: Path, registry: str) -> None:
    folder, place = write(tmp_path / "c", Dockerfile=DOCKERFILE), f"type=registry,ref={registry}/x/cache:1"
    metadata = tmp_path / "metadata"
    words = ("--cache-to", f"{place},mode=max", "--metadata-file", str(metadata), str(folder))
    assert "exporting cache to registry" in build(docker, "-t", "wire-registry:1", *words)
    printed = docker("run", "--rm", "wire-registry:1").out
    docker("rmi", "-f", "wire-registry:1")
    docker("buildx", "prune", "-af")
    shown = build(docker, "-t", "wire-registry:2", "--cache-from", f"{registry}/x/cache:1", str(folder))
    assert f"importing cache manifest from {registry}/x/cache:1" in shown
    assert cached(shown) == STEPS, shown
    assert docker("run", "--rm", "wire-registry:2").out == printed


def test_a_directory_is_read_by_the_other_client(docker: Cli, tiffin: Cli, tmp_path: Path) -> None:
    folder, place = write(tmp_path / "c", Dockerfile=DOCKERFILE), tmp_path / "cache"
    build(docker, "-o", "type=cacheonly", "--cache-to", f"type=local,dest={place}", str(folder))
    docker("buildx", "prune", "-af")
    done = tiffin("build", "--progress", "plain", "--cache-from", f"type=local,src={place}", str(folder))
    assert cached(done.err) == STEPS, done.err


def test_what_is_not_known_is_refused_in_buildkits_words(docker: Cli, tmp_path: Path) -> None:
    folder = write(tmp_path / "c", Dockerfile=DOCKERFILE)
    done = docker("buildx", "build", "--cache-to", "type=azblob,name=x", str(folder), check=False)
    assert done.rc != 0
    assert 'unknown cache exporter: "azblob"' in done.err
