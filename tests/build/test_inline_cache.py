"""A cache that travels in an image: `--cache-to type=inline`, `--cache-from IMAGE`."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from build import building
from rig import Cli, Engine

pytestmark = pytest.mark.root


def build(tiffin: Cli, directory: Path, *options: str) -> str:
    done = tiffin("build", "--progress", "plain", *options, str(directory), timeout=120)
    return done.out + done.err


def test_a_build_believes_the_image_it_was_told_to_and_no_later_one_does(
    start_engine: Callable[..., Engine], tmp_path: Path
) -> None:
    engine = start_engine()
    tiffin = engine.cli("tiffin")
    dockerfile = "FROM busybox\nRUN cat /proc/sys/kernel/random/uuid > /uuid\nCOPY a.txt /\nENV A=b"
    directory = building.write(tmp_path, dockerfile, {"a.txt": "a"})
    build(tiffin, directory, "-t", "carrier", "--cache-to", "type=inline")
    first = tiffin("image", "inspect", "-f", "{{.Id}}", "carrier").line
    tiffin("builder", "prune", "-af")

    shown = build(tiffin, directory, "-t", "again", "--cache-from", "carrier", "--cache-to", "type=inline")
    assert shown.count("CACHED") >= 2, shown
    uuids = {tiffin("run", "--rm", name, "cat", "/uuid").line for name in ("carrier", "again")}
    assert len(uuids) == 1
    assert (
        tiffin("image", "inspect", "-f", "{{.Created}}", "again").line
        == tiffin("image", "inspect", "-f", "{{.Created}}", first).line
    )

    build(tiffin, directory, "-t", "unbelieving")
    assert tiffin("run", "--rm", "unbelieving", "cat", "/uuid").line not in uuids


def test_an_image_without_a_cache_is_passed_over(engine: Engine, tmp_path: Path) -> None:
    directory = building.write(tmp_path, "FROM busybox\nRUN echo over > /x", {})
    shown = build(
        engine.cli("tiffin"), directory, "-t", "passing", "--cache-from", "busybox", "--cache-from", "nowhere/x"
    )
    assert "carries no cache" in shown
    building.remove(engine, "passing")
