"""`tiffin image layers`: where an image's bytes come from, and which of them nobody sees."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from build_wire.test_buildx import write
from rig import Cli, Engine
from rig.engine import running

pytestmark = pytest.mark.timeout(600)

DOCKERFILE = """\
FROM busybox
COPY large small /data/
RUN rm /data/large && echo changed > /data/small && mkdir /more && head -c 3000 /dev/zero > /more/made
ENV A=b
WORKDIR /more
"""


@pytest.fixture(scope="module", params=["overlay", pytest.param("erofs", marks=pytest.mark.slow)])
def other(request: pytest.FixtureRequest) -> Iterator[Engine]:
    """An engine with this storage driver."""
    with running(options=["--storage-driver", request.param]) as engine:
        yield engine


def test_each_layer_says_what_it_adds_changes_hides_and_wastes(other: Engine, tmp_path: Path) -> None:
    tiffin = other.cli("tiffin")
    folder = write(tmp_path / "c", Dockerfile=DOCKERFILE, large="x" * 20000, small="small")
    tiffin("build", "-t", "layered", str(folder))
    base, copied, ran, moved = json.loads(tiffin("image", "layers", "--format", "json", "layered").out)
    assert base["Adds"]["Largest"][0]["Path"] == "/bin/busybox"
    assert copied["Instruction"] == "COPY large small /data/ # buildkit"
    assert copied["Adds"] == {
        "Names": 3,
        "Size": 20005,
        "Largest": [{"Path": "/data/large", "Size": 20000}, {"Path": "/data/small", "Size": 5}],
    }
    assert (copied["Wastes"]["Size"], copied["Wastes"]["Largest"][0]["Path"]) == (20005, "/data/large")
    assert ran["Instruction"].startswith("RUN /bin/sh -c rm /data/large")
    assert ran["Hides"] == {"Names": 1, "Size": 20000, "Largest": [{"Path": "/data/large", "Size": 20000}]}
    assert ran["Changes"] == {"Names": 1, "Size": 8, "Largest": [{"Path": "/data/small", "Size": 8}]}
    assert (ran["Adds"]["Names"], ran["Adds"]["Size"]) == (2, 3000)
    assert moved["Instruction"] == "WORKDIR /more"
    assert moved["Size"] == 0

    header, *lines, total = tiffin("image", "layers", "--top", "1", "layered").out.splitlines()
    assert header.split() == ["LAYER", "SIZE", "ADDS", "CHANGES", "HIDES", "WASTES", "INSTRUCTION"]
    assert f"    ! {'20kB':>8}  /data/large" in lines
    assert "in 4 layers, 20kB (" in total


def test_what_has_no_layers_is_told(tiffin: Cli) -> None:
    assert "No such image: none:latest" in tiffin("image", "layers", "none", check=False).err
    assert "no layers that are stored" in tiffin("image", "layers", "host", check=False).err
    assert "give table or json" in tiffin("image", "layers", "--format", "yaml", "busybox", check=False).err
