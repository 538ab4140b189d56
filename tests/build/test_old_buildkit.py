"""docker 20.10 with DOCKER_BUILDKIT=1 and no plugin: POST /build?version=2 beside a session."""

from __future__ import annotations

from pathlib import Path

import pytest

from build import building
from rig import Engine

pytestmark = [
    pytest.mark.root,
    pytest.mark.skipif(not Path(building.PEER_DOCKER).exists(), reason="needs Debian's docker 20.10"),
]


def test_a_build_with_its_own_buildkit_client(engine: Engine, tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("hidden")
    dockerfile = (
        "FROM busybox\nARG A\nRUN --mount=type=secret,id=s echo $A $(wc -c < /run/secrets/s) > /said\nCOPY dir /d"
    )
    directory = building.write(tmp_path / "context", dockerfile, {"dir/f": "content"})
    options = (
        "--progress",
        "plain",
        "--build-arg",
        "A=given",
        "--label",
        "k=v",
        "--secret",
        f"id=s,src={tmp_path / 'secret'}",
    )
    built = building.build(engine, directory, *options, buildkit=True)
    assert built.rc == 0, built.out
    assert "COPY dir /d" in built.out
    docker = engine.cli("docker")
    assert docker("run", "--rm", built.image, "cat", "/said", "/d/f").out == "given 6\ncontent"
    assert "CACHED" in building.build(engine, directory, *options, buildkit=True, image=built.image).out
    building.remove(engine, built.image)


def test_a_failure_is_told(engine: Engine, tmp_path: Path) -> None:
    directory = building.write(tmp_path, "FROM busybox\nRUN echo before; exit 9", {})
    built = building.build(engine, directory, "--progress", "plain", buildkit=True)
    assert built.rc == 1
    assert "before" in built.out and "exit code: 9" in built.out
