"""A graph while it is drawn: steps refer to each other by placeholders until all is known, then by digest."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace

from tiffin.build.dockerfile.wildcards import clean, join
from tiffin.build.keys import step_digest
from tiffin.build.steps import BindMount, CacheMount, CopyFiles, Input, LocalSource, RunCommand, Step
from tiffin.model.digest import Digest

MAIN_CONTEXT = "context"


class Drawing:
    """`context` is the main build context. What of it is used decides its digest, so all digests wait for that."""

    def __init__(self, context: Step) -> None:
        self.steps: list[Step] = []
        self.names: dict[Digest, Digest] = {}  # what placeholders have become
        self.context = self.add(context)

    def add(self, step: Step) -> Digest:
        self.steps.append(step)
        return Digest(f"placeholder:{len(self.steps) - 1}")

    def frozen(self, output: Input) -> tuple[Mapping[Digest, Step], Input]:
        """The steps that `output` needs, inputs before those that use them; and its digest."""
        done: dict[Digest, Step] = {}
        names: dict[Digest, Digest] = {}
        order = self._order(output)
        paths = self._local_paths(order, output)
        for placeholder in order:
            step = self._step(placeholder)
            step = replace(step, inputs=tuple(None if given is None else names[given] for given in step.inputs))
            if isinstance(step, LocalSource):
                step = replace(step, paths=needed_paths(paths[step]))
            names[placeholder] = step_digest(step)
            done.setdefault(names[placeholder], step)
        self.names = names
        return done, None if output is None else names[output]

    def _step(self, placeholder: Digest) -> Step:
        return self.steps[_index(placeholder)]

    def _order(self, output: Input) -> list[Digest]:
        # a step is added after its inputs, so placeholders in order are an order of the graph
        needed: set[Digest] = set()
        pending = [output]
        while pending:
            placeholder = pending.pop()
            if placeholder is not None and placeholder not in needed:
                needed.add(placeholder)
                pending += self._step(placeholder).inputs
        return sorted(needed, key=_index)

    def _local_paths(self, order: Sequence[Digest], output: Input) -> Mapping[LocalSource, set[str]]:
        """What is taken of each of the client's directories; two uses of one directory are one transfer."""
        found: dict[LocalSource, set[str]] = {}
        for placeholder in order:
            step = self._step(placeholder)
            if isinstance(step, LocalSource) and placeholder == output:
                found.setdefault(step, set()).add("/")
            for index, given in enumerate(step.inputs):
                source = self._step(given) if given is not None else None
                if isinstance(source, LocalSource):
                    found.setdefault(source, set()).update(_taken(step, index))
        return found


def _taken(step: Step, index: int) -> Iterator[str]:
    """Absolute paths of what a step takes of an input."""
    if isinstance(step, CopyFiles) and index:
        for action in step.actions:
            if action.input == index:
                yield from [join(action.source, pattern) for pattern in action.include] or [action.source]
    elif isinstance(step, RunCommand) and index:
        mounts = (mount for mount in step.mounts if isinstance(mount, BindMount | CacheMount))
        yield from (mount.source for mount in mounts if mount.input == index)
    else:
        yield "/"


def _index(placeholder: Digest) -> int:
    return int(placeholder.partition(":")[2])


def needed_paths(paths: Iterable[str]) -> tuple[str, ...]:
    """Relative and sorted; nothing where the whole is needed."""
    found = sorted({clean(path.lstrip("/")) for path in paths})
    return () if "." in found else tuple(found)
