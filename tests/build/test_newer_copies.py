"""COPY, ADD and RUN in the forms that dockerd 20.10 does not know: what BuildKit's documentation says of each."""

from __future__ import annotations

import os
import stat
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from build.solving import Workshop, run
from rig import eventually
from tiffin.build.solve import contents
from tiffin.build.solve.placing import changed_mode
from tiffin.build.solve.ports import Process

pytestmark = pytest.mark.root


@pytest.fixture
def workshop(tmp_path: Path) -> Iterator[Workshop]:
    made = Workshop(tmp_path / "shop")
    yield made
    made.close()


@pytest.fixture
def context(tmp_path: Path) -> Path:
    directory = tmp_path / "context"
    for name in ("a/b/c.txt", "a/d.txt", "a/skip.log", "e.txt", "x/y/z/deep.txt"):
        (directory / name).parent.mkdir(parents=True, exist_ok=True)
        (directory / name).write_text(name)
    (directory / "a" / "b").chmod(0o711)
    return directory


def files(root: Path) -> list[str]:
    """Every file, by its path."""
    return sorted(str(path.relative_to(root)) for path in root.rglob("*") if not path.is_dir())


def copied(workshop: Workshop, context: Path, *instructions: str) -> list[str]:
    stack = run(workshop.build("FROM scratch\n" + "\n".join(instructions), context))
    with workshop.opened(stack) as root:
        return files(root)


def test_parents_are_kept(workshop: Workshop, context: Path) -> None:
    assert copied(workshop, context, "COPY --parents a/b/c.txt e.txt /to/") == ["to/a/b/c.txt", "to/e.txt"]
    assert copied(workshop, context, "COPY --parents x/./y/z /to/") == ["to/y/z/deep.txt"]
    assert copied(workshop, context, "COPY --parents **/*.txt /to/") == [
        "to/a/b/c.txt", "to/a/d.txt", "to/e.txt", "to/x/y/z/deep.txt",
    ]  # fmt: skip
    stack = run(workshop.build("FROM scratch\nCOPY --parents a/b/c.txt /to/", context))
    with workshop.opened(stack) as root:
        assert stat.S_IMODE((root / "to/a/b").stat().st_mode) == 0o711


def test_what_is_excluded_stays_behind(workshop: Workshop, context: Path) -> None:
    assert copied(workshop, context, "COPY --exclude=*.log --exclude=b a /to") == ["to/d.txt"]
    assert copied(workshop, context, "COPY --exclude=**/*.txt . /to") == ["to/a/skip.log"]


def test_symbolic_modes(workshop: Workshop, context: Path) -> None:
    stack = run(workshop.build("FROM scratch\nCOPY --chmod=u=rwX,go=rX a /to", context))
    with workshop.opened(stack) as root:
        modes = {name: stat.S_IMODE((root / "to" / name).stat().st_mode) for name in ("b", "d.txt", "b/c.txt")}
    assert modes == {"b": 0o755, "d.txt": 0o644, "b/c.txt": 0o644}


@pytest.mark.parametrize(
    ("before", "asked", "after"),
    [
        (0o644, "u+x", 0o744),
        (0o777, "go-w", 0o755),
        (0o600, "a+r", 0o644),
        (0o644, "+x", 0o755),
        (0o640, "o=g", 0o644),
        (0o755, "u+s,g+s", 0o6755),
        (0o755, "+t", 0o1755),
        (0o7777, "a=", 0o1000),
        (0o644, "u=rwx,g=rx,o=", 0o750),
        (0o644, "a+X", 0o644),
        (0o744, "a+X", 0o755),
    ],
)
def test_symbolic_modes_are_chmod_s(before: int, asked: str, after: int) -> None:
    assert oct(changed_mode(before, asked, is_directory=False)) == oct(after)


def test_a_linked_layer_is_not_made_again_on_another_base(workshop: Workshop, context: Path) -> None:
    first = run(workshop.build("FROM scratch\nRUN one\nCOPY --link a /to/", context))
    second = run(workshop.build("FROM scratch\nRUN two\nCOPY --link a /to/", context))
    assert first.layers[-1] == second.layers[-1]
    assert first.layers[0] != second.layers[0]
    with workshop.opened(second) as root:
        assert files(root) == ["to/b/c.txt", "to/d.txt", "to/skip.log", "two"]


def test_documents_in_the_dockerfile_become_files(workshop: Workshop, context: Path) -> None:
    stack = run(workshop.build("FROM scratch\nCOPY <<one <<'two' /to/\nvalue\none\n$raw\ntwo\n", context))
    with workshop.opened(stack) as root:
        assert {name: (root / "to" / name).read_text() for name in ("one", "two")} == {
            "one": "value\n",
            "two": "$raw\n",
        }
        assert stat.S_IMODE((root / "to/one").stat().st_mode) == 0o644


def test_hard_links_of_a_source_stay_hard_links(workshop: Workshop, context: Path) -> None:
    os.link(context / "a" / "d.txt", context / "a" / "b" / "again.txt")
    stack = run(workshop.build("FROM scratch\nCOPY a /to", context))
    with workshop.opened(stack) as root:
        assert (root / "to/d.txt").stat().st_ino == (root / "to/b/again.txt").stat().st_ino


def test_extended_attributes_go_along(workshop: Workshop, context: Path) -> None:
    os.setxattr(context / "e.txt", "user.note", b"kept")
    stack = run(workshop.build("FROM scratch\nCOPY e.txt /", context))
    with workshop.opened(stack) as root:
        assert os.getxattr(root / "e.txt", "user.note") == b"kept"


def test_a_file_that_did_not_change_is_not_read_again(
    workshop: Workshop, context: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    read: list[int] = []
    hashed = contents._hashed
    monkeypatch.setattr(contents, "_hashed", lambda fd: read.append(fd) or hashed(fd))
    newest = max(path.stat().st_ctime_ns for path in context.rglob("*"))
    # a file younger than the clock's tick may change once more and show the same time: it is not remembered
    eventually(lambda: time.time_ns() > newest + 2 * contents._TICK)
    for _ in range(3):
        run(workshop.build("FROM scratch\nCOPY . /", context, key="kept"))
    assert len(read) == 5
    (context / "e.txt").write_text("another")
    run(workshop.build("FROM scratch\nCOPY . /", context, key="kept"))
    assert len(read) == 6


def test_a_cache_mount_begins_as_what_it_is_filled_from(workshop: Workshop) -> None:
    seen: list[str] = []

    async def look(root: int, process: Process) -> int:
        seen.extend(os.listdir(bind.source) for bind in process.binds)  # type: ignore[arg-type]
        Path(process.binds[0].source, "more").touch()
        return 0

    workshop.runner.actions |= {"look": look, "again": look}
    text = "FROM scratch AS s\nRUN given\nFROM scratch\nRUN --mount=type=cache,from=s,target=/c {0}"
    run(workshop.build(text.format("look")))
    run(workshop.build(text.format("again")))
    assert seen == [["given"], ["given", "more"]] or seen == [["given"], ["more", "given"]]
