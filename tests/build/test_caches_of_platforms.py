"""Builds for several platforms whose caches are handed to another engine."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from build import building
from build.test_exported_caches import build, cached, renewed
from rig import Cli, Engine
from rig.engine import running
from rig.served import Inside, Served

pytestmark = [pytest.mark.root, pytest.mark.timeout(600)]

BOTH = ("--platform", "linux/amd64,linux/arm64")
DOCKERFILE = """\
FROM --platform=$BUILDPLATFORM busybox AS made
RUN cat /proc/sys/kernel/random/uuid > /common
ARG TARGETARCH
RUN cat /proc/sys/kernel/random/uuid > /uuid; echo $TARGETARCH >> /uuid
FROM scratch
COPY --from=made /common /uuid /
ARG TARGETARCH
COPY $TARGETARCH /given
"""
LAST = 2  # the last stage's steps, for each platform


@pytest.fixture(scope="module")
def engine() -> Iterator[Engine]:
    with running() as engine:
        yield engine


@pytest.fixture(scope="module")
def tiffin(engine: Engine) -> Cli:
    return engine.cli("tiffin")


@pytest.fixture(scope="module")
def registry(engine: Engine, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    made = Served(Inside(engine.machine), tmp_path_factory.mktemp("registry") / "registry", port=5068)
    yield made.address
    made.close()


@pytest.fixture
def source(tmp_path: Path) -> Path:
    return building.write(tmp_path / "source", DOCKERFILE, {"amd64": "for amd64", "arm64": "for arm64"})


def made(tiffin: Cli, source: Path, out: Path, *options: str) -> tuple[str, dict[str, str]]:
    """What the build says, and what it makes, by platform."""
    shown = build(tiffin, source, *BOTH, "-o", f"type=local,dest={out}", *options)
    return shown, {
        f"{platform.name}/{name}": (platform / name).read_text()
        for platform in out.iterdir()
        for name in ("common", "uuid", "given")
    }


@pytest.mark.parametrize(
    ("kind", "mode"),
    [
        ("registry", "max"),
        pytest.param("registry", "min", marks=pytest.mark.slow),
        pytest.param("local", "max", marks=pytest.mark.slow),
        pytest.param("local", "min", marks=pytest.mark.slow),
    ],
)
def test_every_platform_finds_its_steps_in_one_cache(
    engine: Engine, tiffin: Cli, registry: str, source: Path, tmp_path: Path, kind: str, mode: str
) -> None:
    where = {"registry": ("ref={0}/several:{1}", "ref={0}/several:{1}"), "local": ("dest={2}", "src={2}")}[kind]
    to, back = (f"type={kind},{one.format(registry, mode, tmp_path / 'cache')}" for one in where)
    _, before = made(tiffin, source, tmp_path / "first", "--cache-to", f"{to},mode={mode}")
    assert before["linux_amd64/common"] == before["linux_arm64/common"]
    assert before["linux_amd64/uuid"] != before["linux_arm64/uuid"]
    renewed(engine)
    shown, after = made(tiffin, source, tmp_path / "again", "--cache-from", back)
    assert after == before
    assert cached(shown) == 4 + 2 * LAST, shown
    assert len(set(re.findall(r"^#\d+ importing cache manifest from", shown, re.MULTILINE))) == 1, shown

    # one platform's file is another: what the other one has stays
    (source / "arm64").write_text("changed")
    renewed(engine)
    shown, after = made(tiffin, source, tmp_path / "other", "--cache-from", back)
    assert after == before | {"linux_arm64/given": "changed"}, shown


def test_every_platforms_image_carries_its_cache(
    engine: Engine, tiffin: Cli, registry: str, source: Path, tmp_path: Path
) -> None:
    text = DOCKERFILE.partition("FROM scratch")[0]
    (source / "Dockerfile").write_text(text)
    name = f"{registry}/carrier:both"
    build(tiffin, source, *BOTH, "-t", name, "--push", "--cache-to", "type=inline")
    before = layers(tiffin, name)
    assert before[0] != before[1]
    renewed(engine)
    for carrier in (name, "here:both"):  # a registry's, then one of the store
        words = ("-t", "here:both", "--cache-from", carrier, "--cache-to", "type=inline")
        shown = build(tiffin, source, *BOTH, *words)
        assert layers(tiffin, "here:both") == before, shown
        assert cached(shown) == 4, shown
        tiffin("builder", "prune", "-af")


def layers(tiffin: Cli, name: str) -> list[list[str]]:
    """Of each platform's image."""
    inspected = (tiffin("image", "inspect", "--platform", one, name).out for one in BOTH[1].split(","))
    return [json.loads(one)[0]["RootFS"]["Layers"] for one in inspected]
