"""What of the cache is kept: filters and limits of `builder prune`, stages that are not to be cached."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from build import building
from rig import Cli, Engine
from rig.engine import running

pytestmark = [pytest.mark.root, pytest.mark.slow]

MADE = "head -c {0} /dev/urandom > /{1}"
SIZES = {"first": 1_000_000, "second": 2_000_000, "third": 3_000_000}


@pytest.fixture(scope="module")
def engine() -> Iterator[Engine]:
    with running() as engine:
        yield engine


@pytest.fixture
def tiffin(engine: Engine, tmp_path: Path) -> Iterator[Cli]:
    """With a cache of three steps, each a stage of its own, the oldest first; no image has them."""
    cli = engine.cli("tiffin")
    for name, size in SIZES.items():
        text = f"FROM busybox\nRUN {MADE.format(size, name)}\n"
        build(cli, building.write(tmp_path / name, text, {}), "-o", "type=tar,dest=/dev/null")
    yield cli
    cli("builder", "prune", "-af")


def build(tiffin: Cli, directory: Path, *options: str) -> str:
    done = tiffin("build", "--progress", "plain", *options, str(directory), timeout=300)
    return done.out + done.err


def kept(tiffin: Cli) -> set[str]:
    found = re.findall(r"^Description: .*/(\w+)$", tiffin("builder", "du", "--verbose").out, re.MULTILINE)
    return set(found)


def test_prune_takes_what_its_filters_say(tiffin: Cli) -> None:
    assert kept(tiffin) == set(SIZES)
    for words in ("until=24h", "unused-for=24h", "type=exec.cachemount", "description~=nothing", "inuse=true"):
        tiffin("builder", "prune", "-af", "--filter", words)
        assert kept(tiffin) == set(SIZES), words
    tiffin("builder", "prune", "-af", "--filter", "description~=/second")
    assert kept(tiffin) == {"first", "third"}
    shown = tiffin("builder", "du", "--verbose").out
    (id,) = re.findall(r"^ID: +(\w+)\n(?:.+\n)*?Description: .*/first$", shown, re.MULTILINE)
    tiffin("builder", "prune", "-af", "--filter", f"id={id}")
    assert kept(tiffin) == {"third"}
    tiffin("builder", "prune", "-af", "--filter", "type=regular")
    assert kept(tiffin) == set()
    assert tiffin("builder", "prune", "-af", "--filter", "colour=red", check=False).rc == 1


@pytest.mark.parametrize("option", ["--max-used-space", "--reserved-space", "--keep-storage"])
def test_prune_ends_at_the_limit_the_longest_unused_first(tiffin: Cli, option: str) -> None:
    tiffin("builder", "prune", "-af", option, "100MB")
    assert kept(tiffin) == set(SIZES)
    tiffin("builder", "prune", "-af", option, "5500kB")
    assert kept(tiffin) == {"second", "third"}


def test_what_was_used_last_is_pruned_last(tiffin: Cli, tmp_path: Path) -> None:
    shown = build(tiffin, tmp_path / "first", "-o", "type=tar,dest=/dev/null")
    assert re.search(r"RUN .*\n#\d+ CACHED", shown), shown
    tiffin("builder", "prune", "-af", "--max-used-space", "4500kB")
    assert kept(tiffin) == {"first", "third"}


def test_the_cache_outlives_restarts_and_kill_9(engine: Engine, tiffin: Cli, tmp_path: Path) -> None:
    engine.restart()
    assert kept(tiffin) == set(SIZES)
    engine.kill()
    engine.start()
    for name in SIZES:
        shown = build(tiffin, tmp_path / name, "-o", "type=tar,dest=/dev/null")
        assert re.search(r"RUN .*\n#\d+ CACHED", shown), shown


def test_stages_that_are_not_to_be_cached_are_made_again(tiffin: Cli, tmp_path: Path) -> None:
    uuid = "cat /proc/sys/kernel/random/uuid"
    text = f"FROM busybox AS a\nRUN {uuid} > /a\nFROM busybox AS b\nRUN {uuid} > /b\nFROM a\nCOPY --from=b /b /\n"
    directory = building.write(tmp_path / "stages", text, {})

    def made(*options: str) -> tuple[str, str]:
        target = tmp_path / "out"
        build(tiffin, directory, "-o", f"type=local,dest={target}", *options)
        return (target / "a").read_text(), (target / "b").read_text()

    first, again, filtered, none = made(), made(), made("--no-cache-filter", "b"), made("--no-cache")
    assert first == again
    assert (filtered[0], filtered[1] != first[1]) == (first[0], True)
    assert not set(none) & {*first, *filtered}
