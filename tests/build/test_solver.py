"""The solver's promises: what is run, how often, on what, and what is left when it fails."""

from __future__ import annotations

import asyncio
import errno
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from build.solving import Workshop, names, run
from tiffin.build.solve.events import Event, VertexStarted
from tiffin.build.solve.failures import StepFailed
from tiffin.build.solve.ports import Process
from tiffin.build.solve.values import Stack

pytestmark = pytest.mark.root


@pytest.fixture
def workshop(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Workshop]:
    made = Workshop(tmp_path / "shop", getattr(request, "param", "overlay"))
    yield made
    made.close()


every_driver = pytest.mark.parametrize("workshop", ["overlay", "copy", "erofs"], indirect=True)


@pytest.fixture
def context(tmp_path: Path) -> Path:
    directory = tmp_path / "context"
    (directory / "dir").mkdir(parents=True)
    (directory / "file").write_text("content")
    (directory / "dir" / "inner").write_text("inner")
    return directory


@every_driver
def test_what_was_run_is_not_run_again(workshop: Workshop) -> None:
    first = run(workshop.build("FROM scratch\nRUN one\nRUN two"))
    events: list[Event] = []
    second = run(workshop.build("FROM scratch\nRUN one\nRUN two", report=events.append))
    assert (first, workshop.runner.ran) == (second, ["one", "two"])
    assert names(events, cached=False) == []
    with workshop.opened(second) as root:
        assert sorted(os.listdir(root)) == ["one", "two"]


def test_a_changed_step_is_run_with_all_above_it(workshop: Workshop) -> None:
    run(workshop.build("FROM scratch\nRUN one\nRUN two\nRUN three"))
    run(workshop.build("FROM scratch\nRUN one\nRUN other\nRUN three"))
    assert workshop.runner.ran == ["one", "two", "three", "other", "three"]


def test_files_are_told_by_content_and_never_by_time(workshop: Workshop, context: Path) -> None:
    dockerfile = "FROM scratch\nCOPY file dir /to/\nRUN after"
    run(workshop.build(dockerfile, context))
    os.utime(context / "file", (1, 1))
    run(workshop.build(dockerfile, context))
    assert workshop.runner.ran == ["after"]
    (context / "dir" / "inner").chmod(0o600)
    run(workshop.build(dockerfile, context))
    assert workshop.runner.ran == ["after"] * 2
    (context / "unrelated").write_text("not copied")
    run(workshop.build(dockerfile, context))
    assert workshop.runner.ran == ["after"] * 2
    (context / "file").write_text("another")
    run(workshop.build(dockerfile, context))
    assert workshop.runner.ran == ["after"] * 3


def test_a_stage_that_nobody_needs_is_not_run(workshop: Workshop) -> None:
    run(workshop.build("FROM scratch AS no\nRUN never\nFROM scratch\nRUN needed"))
    assert workshop.runner.ran == ["needed"]


def test_what_copies_from_a_stage_asks_only_for_what_it_takes(workshop: Workshop) -> None:
    text = "FROM scratch AS one\nRUN {0}\nRUN result\nFROM scratch\nCOPY --from=one /result /\nRUN last"
    run(workshop.build(text.format("first")))
    run(workshop.build(text.format("second")))
    assert workshop.runner.ran == ["first", "result", "last", "second", "result"]


def test_independent_steps_run_side_by_side(workshop: Workshop) -> None:
    async def main() -> None:
        met = asyncio.Barrier(2)

        async def meet(root: int, process: Process) -> int:
            await asyncio.wait_for(met.wait(), 60)
            return 0

        workshop.runner.actions |= {"a": meet, "b": meet}
        text = (
            "FROM scratch AS x\nRUN a\nFROM scratch AS y\nRUN b\nFROM scratch\nCOPY --from=x / /x\nCOPY --from=y / /y"
        )
        await workshop.build(text)

    asyncio.run(main())


def test_equal_steps_of_concurrent_builds_run_once(workshop: Workshop) -> None:
    async def main() -> None:
        builds = [workshop.build(f"FROM scratch\nRUN common\nRUN own{number}") for number in range(8)]
        await asyncio.gather(*builds)

    asyncio.run(main())
    assert sorted(workshop.runner.ran) == sorted(["common", *(f"own{number}" for number in range(8))])


def test_a_step_that_others_wait_for_survives_whoever_began_it(workshop: Workshop) -> None:
    async def main() -> None:
        begun, going = asyncio.Event(), asyncio.Event()

        async def wait(root: int, process: Process) -> int:
            begun.set()
            await going.wait()
            return 0

        workshop.runner.actions["slow"] = wait
        first = asyncio.create_task(workshop.build("FROM scratch\nRUN slow"))
        await begun.wait()
        joined = asyncio.Event()
        # told of a start, it waits for the same run in the same turn of the loop
        second = asyncio.create_task(workshop.build("FROM scratch\nRUN slow", report=lambda _: joined.set()))
        await joined.wait()
        first.cancel()
        with pytest.raises(asyncio.CancelledError):
            await first
        going.set()
        await second

    asyncio.run(main())
    assert workshop.runner.ran == ["slow"]


def test_what_a_shared_step_reads_stays_when_its_build_has_gone(workshop: Workshop) -> None:
    dockerfile = "FROM scratch\nCOPY <<END /file\ncontent\nEND"

    async def waiting() -> asyncio.Task[Stack]:
        """A build whose COPY waits for a slot."""
        begun = asyncio.Event()

        def report(event: Event) -> None:
            if isinstance(event, VertexStarted) and "COPY" in event.name:
                begun.set()

        task = asyncio.create_task(workshop.build(dockerfile, report=report))
        await begun.wait()
        return task

    async def main() -> Stack:
        slots = workshop.solver.slots
        for _ in range(16):
            await slots.acquire()
        first, second = await waiting(), await waiting()
        first.cancel()
        with pytest.raises(asyncio.CancelledError):
            await first
        for _ in range(16):
            slots.release()
        return await second

    with workshop.opened(asyncio.run(main())) as root:
        assert (root / "file").read_text() == "content\n"
    assert os.listdir(workshop.root / "build" / "scratch") == []


def test_equal_steps_with_mounts_run_once(workshop: Workshop, context: Path) -> None:
    mounts = "--mount=type=cache,target=/c --mount=type=bind,target=/b --mount=type=tmpfs,target=/t"

    async def main() -> None:
        builds = [workshop.build(f"FROM scratch\nRUN {mounts} common\nRUN own{n}", context) for n in range(4)]
        await asyncio.gather(*builds)

    asyncio.run(main())
    assert sorted(workshop.runner.ran) == ["common", *(f"own{n}" for n in range(4))]


def test_a_cancelled_build_leaves_no_snapshot_and_runs_nothing_more(workshop: Workshop) -> None:
    async def main() -> None:
        begun = asyncio.Event()

        async def forever(root: int, process: Process) -> int:
            begun.set()
            await asyncio.Event().wait()
            return 0

        workshop.runner.actions["forever"] = forever
        task = asyncio.create_task(workshop.build("FROM scratch\nRUN before\nRUN forever\nRUN after"))
        await begun.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(main())
    assert workshop.snapshots.snapshots() == []
    assert workshop.runner.ran == ["before", "forever"]
    assert (workshop.store.holds.chains(), workshop.solver.flights.active) == ([], {})


def test_a_failed_step_names_itself_and_what_was_done_before_stays_cached(workshop: Workshop) -> None:
    async def fail(root: int, process: Process) -> int:
        return 3

    workshop.runner.actions["bad"] = fail
    for _ in range(2):
        with pytest.raises(StepFailed, match="did not complete successfully: exit code: 3") as failed:
            run(workshop.build("FROM scratch\nRUN good\nRUN bad\nRUN after"))
        assert failed.value.code == 3
    assert workshop.runner.ran == ["good", "bad", "bad"]
    # what both have left, for a look into it, and nothing else
    left = workshop.store.failed.listed()
    assert set(workshop.snapshots.snapshots()) == {one.id for one in left}
    assert [workshop.store.failed.remove(one.id) for one in left] == [True, True]
    assert workshop.snapshots.snapshots() == workshop.store.holds.chains() == []


def test_what_the_machine_refuses_is_the_step_s_failure(workshop: Workshop) -> None:
    async def full(root: int, process: Process) -> int:
        raise OSError(errno.ENOSPC, "No space left on device", "/some/where")

    workshop.runner.actions["full"] = full
    with pytest.raises(StepFailed, match=r"^no space left on device: /some/where$"):
        run(workshop.build("FROM scratch\nRUN full"))


def test_a_missing_file_is_told_in_buildkit_s_words(workshop: Workshop, context: Path) -> None:
    with pytest.raises(StepFailed, match='failed to compute cache key: "/nowhere": not found'):
        run(workshop.build("FROM scratch\nCOPY nowhere /", context))


@every_driver
def test_the_cache_survives_the_daemon(workshop: Workshop) -> None:
    run(workshop.build("FROM scratch\nRUN one"))
    workshop.close()
    later = Workshop(workshop.root, workshop.snapshots.name)
    run(later.build("FROM scratch\nRUN one"))
    assert later.runner.ran == []
    later.close()


def test_a_result_whose_layer_is_gone_is_made_again(workshop: Workshop) -> None:
    run(workshop.build("FROM scratch\nRUN one"))
    workshop.snapshots.sweep([])
    run(workshop.build("FROM scratch\nRUN one"))
    assert workshop.runner.ran == ["one", "one"]


def test_links_in_a_context_lead_nowhere_else(workshop: Workshop, context: Path, tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.write_text("secret")
    (context / "leak").symlink_to(outside)
    (context / "up").symlink_to("../" * 20 + "etc/passwd")
    for name in ("leak", "up"):
        with pytest.raises(StepFailed, match="not found"):
            run(workshop.build(f"FROM scratch\nCOPY {name} /stolen", context))


@every_driver
def test_links_in_the_result_lead_no_copy_out_of_it(workshop: Workshop, context: Path, tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()

    async def link(root: int, process: Process) -> int:
        os.symlink(str(outside), "absolute", dir_fd=root)
        os.symlink("../../../../../../../.." + str(outside), "relative", dir_fd=root)
        return 0

    workshop.runner.actions["link"] = link
    stack = run(workshop.build("FROM scratch\nRUN link\nCOPY file /absolute/\nCOPY file /relative/x/", context))
    assert os.listdir(outside) == []
    with workshop.opened(stack) as root:
        assert (Path(f"{root}{outside}") / "file").read_text() == "content"


@every_driver
def test_times_later_than_the_source_date_are_that_date(workshop: Workshop, context: Path) -> None:
    text = "ARG SOURCE_DATE_EPOCH=1000000\nFROM scratch\nRUN touched\nWORKDIR /work\nCOPY dir /d"
    stack = run(workshop.build(text, context))
    with workshop.opened(stack) as root:
        assert {int((root / name).lstat().st_mtime) for name in ("touched", "work", "d", "d/inner")} == {1000000}


def test_the_same_inputs_make_the_same_layers_in_another_place(context: Path, tmp_path: Path) -> None:
    text = "ARG SOURCE_DATE_EPOCH=1000000\nFROM scratch\nRUN a\nCOPY . /all\nWORKDIR /deep/er\nRUN b"
    made = []
    for name in ("here", "there"):
        shop = Workshop(tmp_path / name)
        made.append(run(shop.build(text, context)).diffs)
        shop.close()
    assert made[0] == made[1]
