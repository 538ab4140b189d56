"""The same Dockerfile on the same files: what a real dockerd (BuildKit) makes of it and what is made here."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from build import building
from build.building import Case
from build.cases import CASES, STUBS
from rig import Engine

pytestmark = [pytest.mark.root, pytest.mark.slow]


@pytest.fixture(scope="module")
def peer() -> Iterator[Engine]:
    """A real dockerd."""
    engine = Engine("dockerd")
    try:
        engine.load("busybox")
        yield engine
    finally:
        engine.close()


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_a_dockerfile_has_the_same_effect_as_with_docker(
    case: Case, engine: Engine, peer: Engine, tmp_path: Path
) -> None:
    directory = building.write(tmp_path / "context", case.dockerfile, case.files)
    theirs = building.build(peer, directory, *case.options, buildkit=True)
    ours = building.build(engine, directory, *case.options)
    assert (theirs.rc == 0) is not case.fails, theirs.out
    assert (ours.rc == 0) == (theirs.rc == 0), f"{ours.out}\n{theirs.out}"
    if case.fails:
        return
    try:
        assert building.config(engine, ours.image) == building.config(peer, theirs.image)
        mine, wanted = building.tree(engine, ours.image), building.tree(peer, theirs.image)
        names = (mine.keys() | wanted.keys()) - set(STUBS.get(case.name, ()))
        assert {name: (mine.get(name), wanted.get(name)) for name in names if mine.get(name) != wanted.get(name)} == {}
    finally:
        building.remove(engine, ours.image)
        building.remove(peer, theirs.image)
