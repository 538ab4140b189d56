"""A build told as the classic builder did: instruction by instruction, in the Dockerfile's order.

Steps may run side by side and end in any order; each is told when those before it have been.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from tiffin.build.plan import Applied, BuildPlan
from tiffin.build.solve.events import Event, VertexCompleted, VertexLog, VertexStarted
from tiffin.build.solve.failures import StepFailed
from tiffin.build.steps import CopyFiles, RunCommand
from tiffin.errors import NotFound
from tiffin.model.digest import Digest, digest_of, hex_of

_RED, _PLAIN = "\x1b[91m", "\x1b[0m"
_SHORT = 12

Tell = Callable[[str], None]


@dataclass(slots=True)
class _Vertex:
    started: bool = False
    cached: bool = False
    completed: bool = False
    logs: list[VertexLog] = field(default_factory=list)


class Narrator:
    """tell gets one line of the stream at a time. rm: containers are said to be removed; forced: failed ones too."""

    def __init__(self, tell: Tell, *, rm: bool = True, forced: bool = False) -> None:
        self._tell = tell
        self._rm = rm or forced
        self._forced = forced
        self._plan: BuildPlan | None = None
        self._instructions: Sequence[Applied] = ()
        self._vertices: dict[Digest, _Vertex] = {}
        self._position = 0
        self._announced = False
        self._container = ""
        self._last = ""
        self._bases: Mapping[Digest, Digest] = {}

    def begin(self, plan: BuildPlan, labels: Sequence[str], bases: Mapping[Digest, Digest]) -> None:
        """The steps are known. labels: from the request, told as a last instruction; bases: image IDs by step."""
        self._plan = plan
        self._bases = bases
        extra = (Applied("LABEL " + " ".join(labels), plan.instructions[-1].stage),) if labels else ()
        self._instructions = (*plan.instructions, *extra)

    def hear(self, event: Event) -> None:
        """An event of the solver."""
        vertex = self._vertices.setdefault(event.digest, _Vertex())
        match event:
            case VertexStarted():
                vertex.started, vertex.cached = True, event.cached
            case VertexLog():
                vertex.logs.append(event)
            case VertexCompleted() if not event.error:
                vertex.completed = True
        self._advance()

    def _advance(self) -> None:
        while self._position < len(self._instructions) and self._instruction(self._instructions[self._position]):
            self._position += 1
            self._announced = False

    def _instruction(self, one: Applied) -> bool:
        """Whether all there is to tell of it has been told."""
        if one.step is None or self._is_from():
            cached = self._ahead()
            if cached is None and not self._is_from():
                return False
            self._announce(one)
            self._plain(one, bool(cached))
            return True
        vertex = self._vertices.get(one.step, _Vertex())
        if not vertex.started:
            return False
        self._announce(one)
        if vertex.cached and not vertex.completed:
            return False
        if vertex.cached:
            self._tell(" ---> Using cache\n")
        elif not isinstance(self._step(one), CopyFiles):
            self._runs(one, vertex)
        if not vertex.completed:
            return False
        self._ends(one)
        return True

    def _is_from(self) -> bool:
        here = self._instructions[self._position]
        return self._position == 0 or self._instructions[self._position - 1].stage != here.stage

    def _step(self, one: Applied) -> object:
        return self._plan.steps.get(one.step) if self._plan and one.step else None

    def _ahead(self) -> bool | None:
        """Whether the next step of the same stage is cached; None while nobody knows."""
        here = self._instructions[self._position]
        for one in self._instructions[self._position + 1 :]:
            if one.stage != here.stage:
                return True
            if one.step is not None:
                vertex = self._vertices.get(one.step)
                return vertex.cached if vertex is not None and vertex.started else None
        return None

    def _announce(self, one: Applied) -> None:
        if not self._announced:
            self._announced = True
            if one.triggered:
                self._tell("# Executing 1 build trigger\n")
                return
            count = [not item.triggered for item in self._instructions]
            self._tell(f"Step {sum(count[: self._position + 1])}/{sum(count)} : {one.text}\n")

    def _plain(self, one: Applied, cached: bool) -> None:
        """An instruction that runs nothing."""
        if self._is_from():
            base = self._bases.get(one.step) if one.step else None
            self._container = ""
            self._last = hex_of(base)[:_SHORT] if base else self._id(one)
            self._tell(f" ---> {self._last}\n" if one.step else " ---> \n")
            return
        if cached:
            self._tell(" ---> Using cache\n")
        else:
            self._contained(one)
            self._removed()
        self._ends(one)

    def _contained(self, one: Applied) -> None:
        if not self._container:
            self._container = hex_of(digest_of(f"{one.step}\0{self._last}\0{one.text}".encode()))[:_SHORT]
            self._tell(f" ---> Running in {self._container}\n")

    def _removed(self) -> None:
        if self._container and self._rm:
            self._tell(f"Removing intermediate container {self._container}\n")
        self._container = ""

    def _runs(self, one: Applied, vertex: _Vertex) -> None:
        self._contained(one)
        for log in vertex.logs:
            text = log.data.decode("utf-8", "replace")
            self._tell(f"{_RED}{text}{_PLAIN}" if log.stream == 2 else text)
        vertex.logs.clear()

    def _ends(self, one: Applied) -> None:
        self._removed()
        self._last = self._id(one)
        if self._position < len(self._instructions) - 1:
            self._tell(f" ---> {self._last}\n")

    def _id(self, one: Applied) -> str:
        return hex_of(digest_of(f"{self._last}\0{one.step}\0{one.text}".encode()))[:_SHORT]

    def finish(self, image: Digest, *, existed: bool) -> None:
        """All went well: what is left to be told, and the image."""
        while self._position < len(self._instructions):
            one = self._instructions[self._position]
            self._announce(one)
            if one.step is None or self._is_from():
                self._plain(one, existed)
            self._position += 1
            self._announced = False
        self._tell(f" ---> {hex_of(image)[:_SHORT]}\n")

    def fail(self, failed: StepFailed) -> None:
        """Tell what is known of the step that failed, wherever in the file it stands."""
        for number, one in enumerate(self._instructions):
            if one.step is None or self._step(one) is not failed.step:
                continue
            if number != self._position:
                self._position, self._announced, self._container = number, False, ""
            self._announce(one)
            vertex = self._vertices.get(one.step)
            if vertex is not None and isinstance(failed.step, RunCommand):
                self._runs(one, vertex)
                if self._forced:
                    self._removed()
            return


def message_of(failed: StepFailed) -> str:
    """The classic builder's words: scripts look for them."""
    step = failed.step
    if isinstance(step, RunCommand) and failed.code:
        return f"The command '{' '.join(step.arguments)}' returned a non-zero code: {failed.code}"
    if isinstance(step, CopyFiles) and isinstance(failed.__cause__, NotFound):
        path = str(failed.__cause__).rpartition('"')[0].rpartition('"')[2].lstrip("/")
        keyword = "ADD" if step.label.partition("] ")[2].startswith("ADD") else "COPY"
        reason = "file not found in build context or excluded by .dockerignore"
        return f"{keyword} failed: {reason}: stat {path}: file does not exist"
    return str(failed)
