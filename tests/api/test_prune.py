"""`container prune` and `system prune` with both command lines, on engines of their own: what they take, and spare."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from rig import Cli, Engine
from rig.registries import made_image

SLEEP = ("--stop-signal", "KILL", "busybox", "sleep", "100000")


@pytest.fixture
def own(start_engine: Callable[..., Engine]) -> Engine:
    return start_engine()


@pytest.fixture(params=["docker", "tiffin"])
def prune(own: Engine, request: pytest.FixtureRequest) -> Cli:
    return own.cli(request.param)


def named(docker: Cli, kind: str, field: str, *words: str) -> set[str]:
    return set(docker(kind, "ls", *words, "--format", f"{{{{.{field}}}}}").out.split())


def cached(engine: Engine) -> Any:
    """What builds keep."""
    usage = json.loads(engine.run("curl", "-s", "--unix-socket", engine.socket, "http://x/system/df"))
    return usage["BuildCache"] or []


def test_container_prune_takes_stopped_ones_that_the_filters_mean(own: Engine, prune: Cli) -> None:
    docker = own.cli()
    docker("run", "-d", "--name", "runs", "--label", "tier=web", *SLEEP)
    docker("create", "--name", "created", "--label", "tier=web", "busybox")
    docker("run", "--name", "ended", "busybox", "sh", "-c", "echo some bytes > /file")
    docker("run", "--name", "kept", "--label", "keep", "busybox", "true")
    assert "Total reclaimed space: 0B" in prune("container", "prune", "-f", "--filter", "until=1h").out
    prune("container", "prune", "-f", "--filter", "label=tier=web")
    assert named(docker, "container", "Names", "-a") == {"runs", "ended", "kept"}
    refused = prune("container", "prune", input="n\n", check=False)
    assert "WARNING! This will remove all stopped containers." in refused.out
    told = prune("container", "prune", "--filter", "label!=keep", input="y\n").out
    assert "Deleted Containers:" in told
    assert "Total reclaimed space: 0B" not in told
    assert named(docker, "container", "Names", "-a") == {"runs", "kept"}


def test_system_prune_takes_what_nothing_uses(own: Engine, prune: Cli, tmp_path: Path) -> None:
    docker = own.cli()
    for network in ("used", "unused"):
        docker("network", "create", network)
    docker("volume", "create", "named")
    docker("run", "--name", "ended", "-v", "/data", "busybox", "true")
    docker("run", "-d", "--name", "runs", "--network", "used", "-v", "named:/data", *SLEEP)
    made_image(own, docker, "tagged:1")
    docker("tag", "tagged:1", "moves:1")
    made_image(own, docker, "moves:1")
    made_image(own, docker, "dangling:1")
    made_image(own, docker, "dangling:1")
    before = len(docker("images", "-aq", "--no-trunc").out.split())
    if own.kind == "tiffin":
        (tmp_path / "Dockerfile").write_text("FROM busybox\nRUN echo built > /file\n")
        own.cli("tiffin")("build", "-t", "built:1", str(tmp_path))
        assert cached(own)
        before += 1

    prune("system", "prune", "-f", "--filter", "label=nobody-has-this")
    assert named(docker, "container", "Names", "-a") == {"ended", "runs"}
    assert len(docker("images", "-aq", "--no-trunc").out.split()) == before
    assert own.kind != "tiffin" or cached(own)

    told = prune("system", "prune", "-f").out
    assert "Deleted Containers:" in told
    assert "Deleted Networks:\nunused" in told
    assert "Total reclaimed space: 0B" not in told
    assert named(docker, "container", "Names", "-a") == {"runs"}
    assert named(docker, "network", "Name") == {"bridge", "host", "none", "used"}
    assert len(named(docker, "volume", "Name")) == 2
    assert len(docker("images", "-aq", "--no-trunc").out.split()) == before - 1
    assert {"tagged", "moves", "dangling"} < named(docker, "image", "Repository")

    prune("system", "prune", "-af", "--volumes")
    assert named(docker, "volume", "Name") == {"named"}
    assert named(docker, "image", "Repository") - {"host"} == {"busybox"}
    assert cached(own) == []
