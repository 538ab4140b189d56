"""Steps that another builder tells of: what is taken from it when, and what it can't do to this one."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from build.solving import NoImages, Workshop, names
from tiffin.build import BuildOptions, BuildPlan, plan_build
from tiffin.build.solve import exchange
from tiffin.build.solve.events import Event, VertexLog
from tiffin.build.solve.imports import Imports
from tiffin.build.solve.ports import Process
from tiffin.build.solve.request import BuildRequest
from tiffin.build.solve.trail import Trail
from tiffin.build.solve.values import Stack
from tiffin.content.blobs import BlobWriter
from tiffin.errors import NotFound
from tiffin.model.descriptor import Descriptor
from tiffin.model.digest import Digest

pytestmark = pytest.mark.root

TWO_STAGES = "FROM scratch AS made\nRUN one\nFROM scratch\nCOPY --from=made /one /first\nRUN two\n"


@pytest.fixture
def there(tmp_path: Path) -> Iterator[Workshop]:
    made = Workshop(tmp_path / "there")
    yield made
    made.close()


@pytest.fixture
def here(tmp_path: Path) -> Iterator[Workshop]:
    made = Workshop(tmp_path / "here")
    yield made
    made.close()


class Sender:
    """Hands out another workshop's blobs."""

    def __init__(self, workshop: Workshop) -> None:
        self._workshop = workshop
        self.sent: list[Digest] = []

    async def fetch(self, blob: Descriptor, writer: BlobWriter, told: Callable[[int], None]) -> None:
        if not self._workshop.blobs.exists(blob.digest):
            raise NotFound("gone")
        self.sent.append(blob.digest)
        writer.write(self._workshop.blobs.path(blob.digest).read_bytes())
        told(writer.size)


def solve(
    workshop: Workshop, dockerfile: str, imports: Imports | None = None, events: list[Event] | None = None
) -> tuple[Stack, Trail]:
    async def main() -> tuple[Stack, Trail]:
        plan = plan_build(dockerfile.encode(), BuildOptions())
        assert isinstance(plan, BuildPlan)
        request = BuildRequest(dockerfile=dockerfile.encode(), options=BuildOptions())
        report = (lambda _: None) if events is None else events.append
        return await workshop.solver.solve(plan, request, NoImages(), report, imports=imports)

    stack, trail = asyncio.run(main())
    workshop.store.holds.release(stack)
    return stack, trail


def told(workshop: Workshop, trail: Trail, *, whole: bool) -> tuple[Imports, Sender]:
    """What a workshop hands over: the layers of all steps, or of the last one."""
    stacks = [step.stack for step in (trail.steps if whole else trail.steps[-1:])]
    layers = {layer.diff for stack in stacks for layer in stack.layers}
    blobs = {diff: Descriptor("tar", diff, workshop.blobs.size(diff)) for diff in layers}
    read = exchange.read(exchange.written(trail, blobs), {one.digest: one for one in blobs.values()})
    imports, sender = Imports(), Sender(workshop)
    imports.add(read.steps, read.contents, blobs.values(), sender)
    return imports, sender


def only_first(imports: Imports, trail: Trail) -> None:
    """Forget all but `RUN one`."""
    keys = [step.key for step in trail.steps if step.label.endswith("RUN one")]
    imports.steps = {key: imports.steps[key] for key in keys}


@pytest.mark.parametrize("whole", [False, True])
def test_only_layers_that_are_needed_are_fetched(there: Workshop, here: Workshop, whole: bool) -> None:
    first, trail = solve(there, TWO_STAGES)
    imports, sender = told(there, trail, whole=whole)
    events: list[Event] = []
    second, again = solve(here, TWO_STAGES, imports, events)
    assert (second, here.runner.ran) == (first, [])
    assert names(events, cached=False) == []
    assert sorted(sender.sent) == sorted(layer.blob for layer in first.layers), "not the first stage's"
    assert [step.key for step in again.steps] == [step.key for step in trail.steps]
    assert again.contents == trail.contents, "a cache can be handed on"
    assert (here.store.holds.chains(), here.cache.steps()) == ([], [])


@pytest.mark.parametrize("whole", [False, True])
def test_a_step_whose_layers_cannot_be_had_is_run_when_somebody_needs_them(
    there: Workshop, here: Workshop, whole: bool
) -> None:
    _, trail = solve(there, TWO_STAGES)
    imports, _ = told(there, trail, whole=whole)
    second, _ = solve(here, TWO_STAGES.replace("/first", "/other"), imports)
    assert here.runner.ran == (["two"] if whole else ["one", "two"])
    with here.opened(second) as root:
        assert sorted(os.listdir(root)) == ["other", "two"]


def test_a_layer_that_is_not_what_was_told_is_made_here(there: Workshop, here: Workshop) -> None:
    first, trail = solve(there, "FROM scratch\nRUN one\nRUN two")
    imports, _ = told(there, trail, whole=True)
    path = there.blobs.path(first.layers[0].blob)
    path.write_bytes(path.read_bytes()[::-1])
    events: list[Event] = []
    second, _ = solve(here, "FROM scratch\nRUN one\nRUN two", imports, events)
    assert here.runner.ran == ["one", "two"]
    assert any(isinstance(event, VertexLog) and b"not taken from the imported cache" in event.data for event in events)
    with here.opened(second) as root:
        assert sorted(os.listdir(root)) == ["one", "two"]


@pytest.mark.parametrize("lies_here", [False, True])
def test_a_blob_that_is_another_than_the_layer_that_is_here_is_not_taken_for_it(
    there: Workshop, here: Workshop, lies_here: bool
) -> None:
    """Whoever pushed the image would send it along."""
    text = "FROM scratch\nRUN one"
    first, trail = solve(here, text)
    owner = here if lies_here else there
    with owner.blobs.lease() as lease:
        evil = owner.blobs.put(b"evil" * 1000, lease)
    here.cache.remove([step.key for step in here.cache.steps()])
    (layer,) = first.layers
    raw = exchange.written(trail, {layer.diff: Descriptor("tar", evil, 4000)})
    imports = Imports()
    imports.add(exchange.read(raw, {}).steps, {}, [Descriptor("tar", evil, 4000)], Sender(there))
    second, _ = solve(here, text, imports)
    assert evil not in [one.blob for one in second.layers]
    assert evil not in here.cache.blobs()


def test_no_word_of_others_gets_into_the_cache(there: Workshop, here: Workshop) -> None:
    """A cache that lies about what a file held must not leave a result under the truth's key."""

    async def evil(root: int, process: Process) -> int:
        with open(os.open("one", os.O_CREAT | os.O_WRONLY, 0o644, dir_fd=root), "w") as file:
            file.write("evil")
        return 0

    there.runner.actions["one"] = evil
    _, theirs = solve(there, TWO_STAGES)
    imports, _ = told(there, theirs, whole=True)
    _, trail = solve(here, TWO_STAGES)
    truth = dict(trail.contents)
    here.cache.remove([step.key for step in here.cache.steps()])
    # the stage is theirs, and its content is said to be what ours holds
    (lie,) = truth.values()
    imports.contents = dict.fromkeys(imports.contents, lie)
    only_first(imports, theirs)
    solve(here, TWO_STAGES, imports)
    assert len(here.cache.steps()) == 2, "COPY and RUN two, under what was copied indeed"
    later, _ = solve(here, TWO_STAGES)
    with here.opened(later) as root:
        assert (root / "first").read_text() == ""


def test_what_a_step_makes_beside_imported_layers_is_not_kept(there: Workshop, here: Workshop) -> None:
    """Such a step's key does not say what those layers hold."""
    text = "FROM scratch AS made\nRUN one\nFROM scratch\nRUN before\nRUN --mount=type=bind,from=made,rw,target=/m two\n"
    _, trail = solve(there, text)
    imports, _ = told(there, trail, whole=True)
    only_first(imports, trail)
    solve(here, text, imports)
    assert here.runner.ran == ["before", "two"]
    assert [step.label.rpartition(" ")[2] for step in here.cache.steps()] == ["before"]
