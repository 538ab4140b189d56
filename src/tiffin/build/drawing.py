"""A graph while it is drawn: steps refer to each other by placeholders until all is known, then by digest."""

from collections.abc import Iterable, Mapping
from dataclasses import replace

from tiffin.build.dockerfile.wildcards import clean
from tiffin.build.keys import step_digest
from tiffin.build.steps import Input, LocalSource, Step
from tiffin.model.digest import Digest

MAIN_CONTEXT = "context"


class Drawing:
    """`context_paths`: what of the main context is used, absolute; it decides that step's digest, so all else waits."""

    def __init__(self, context: Step | None = None) -> None:
        self.steps: list[Step] = []
        self.context_paths: set[str] = set()
        # another build's session may read paths of a named context; all of it is taken, as it is known here
        self.context = self.add(context) if context else None

    def add(self, step: Step) -> Digest:
        self.steps.append(step)
        return Digest(f"placeholder:{len(self.steps) - 1}")

    def frozen(self, output: Input) -> tuple[Mapping[Digest, Step], Input]:
        """The steps that `output` needs, inputs before those that use them; and its digest."""
        done: dict[Digest, Step] = {}
        names: dict[Digest, Digest] = {}
        for placeholder in self._order(output):
            step = self.steps[_index(placeholder)]
            inputs = tuple(None if given is None else names[given] for given in step.inputs)
            step = replace(step, inputs=inputs)
            if placeholder == self.context and isinstance(step, LocalSource):
                step = replace(step, paths=needed_paths(self.context_paths))
            names[placeholder] = step_digest(step)
            done.setdefault(names[placeholder], step)
        return done, None if output is None else names[output]

    def _order(self, output: Input) -> list[Digest]:
        # a step is added after its inputs, so placeholders in order are an order of the graph
        needed: set[Digest] = set()
        pending = [output]
        while pending:
            placeholder = pending.pop()
            if placeholder is not None and placeholder not in needed:
                needed.add(placeholder)
                pending += self.steps[_index(placeholder)].inputs
        return sorted(needed, key=_index)


def _index(placeholder: Digest) -> int:
    return int(placeholder.partition(":")[2])


def needed_paths(paths: Iterable[str]) -> tuple[str, ...]:
    """Relative and sorted; nothing where the whole is needed."""
    found = sorted({clean(path.lstrip("/")) for path in paths})
    return () if "." in found else tuple(found)
