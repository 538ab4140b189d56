"""Names by content: the digest of a step's definition, and the key under which its result is cached.

Both are SHA-256 over named parts in a fixed order, so that two keys that differ can be compared part by part and the
first difference told.
"""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, fields, is_dataclass
from typing import Any

from tiffin.build.dockerfile.wildcards import clean
from tiffin.build.steps import BindMount, CacheMount, CopyFiles, Input, RunCommand, Step
from tiffin.model.digest import Digest, digest_of

_NO_PART = ("label", "span", "fresh", "inputs")
_VERSION = "1"


@dataclass(frozen=True, slots=True)
class Part:
    """One thing that decides a step's result. `value` is JSON; of secrets there is only the id."""

    name: str
    value: str


@dataclass(frozen=True, slots=True)
class ContentInput:
    """An input of which only files count: the key takes the digest of their content, not how they came to be.

    index     into the step's inputs
    paths     what of it; wildcards where `wildcards`; "/" is all
    """

    index: int
    paths: tuple[str, ...]
    wildcards: bool = False
    include: tuple[str, ...] = ()
    exclude: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        """Stands for what is taken: caches are handed on, and others need not read the names of files in them."""
        return digest_of(repr((self.paths, self.wildcards, self.include, self.exclude)).encode())


def step_digest(step: Step) -> Digest:
    """Names the step in a graph: its whole definition, with the digests of its inputs."""
    parts = [*_parts(step, whole=True), *_input_parts(step.inputs)]
    return _digest(parts)


def key_parts(step: Step, inputs: Sequence[Input], contents: Sequence[Digest] = ()) -> tuple[Part, ...]:
    """What the cache key is made of: the inputs' cache keys, None for those that `content_inputs` lists, and for each
    of these the digest of what it takes, in its order."""
    return (
        *_parts(step, whole=False),
        *_input_parts(inputs),
        *(Part(f"files {index}", json.dumps(content)) for index, content in enumerate(contents)),
    )


def cache_key(step: Step, inputs: Sequence[Input], contents: Sequence[Digest] = ()) -> Digest:
    return key_of(key_parts(step, inputs, contents))


def key_of(parts: Sequence[Part]) -> Digest:
    """The key that named parts make."""
    return _digest(parts)


def first_difference(before: Sequence[Part], after: Sequence[Part]) -> tuple[str, str | None, str | None] | None:
    """Name, old and new value of the first part that differs; None where nothing does."""
    old, new = {part.name: part.value for part in before}, {part.name: part.value for part in after}
    for name in [*new, *(name for name in old if name not in new)]:
        if old.get(name) != new.get(name):
            return name, old.get(name), new.get(name)
    return None


def content_inputs(step: Step) -> tuple[ContentInput, ...]:
    """COPY's and ADD's sources, and what RUN mounts read-only; in the order of the step's actions or mounts."""
    if isinstance(step, CopyFiles):
        return tuple(
            ContentInput(
                action.input, (action.source, *action.required), action.wildcards, action.include, action.exclude
            )
            for action in step.actions
        )
    if isinstance(step, RunCommand):
        return tuple(
            ContentInput(mount.input, (mount.source,))
            for mount in step.mounts
            if isinstance(mount, BindMount) and mount.read_only
        )
    return ()


def _digest(parts: Iterable[Part]) -> Digest:
    return digest_of(json.dumps([_VERSION, *([part.name, part.value] for part in parts)]).encode())


def _input_parts(inputs: Sequence[Input]) -> list[Part]:
    return [Part(f"input {index}", json.dumps(given)) for index, given in enumerate(inputs)]


def _parts(step: Step, *, whole: bool) -> list[Part]:
    parts = [Part("kind", json.dumps(type(step).__name__))]
    for item in fields(step):
        if item.name in _NO_PART:
            continue
        value = getattr(step, item.name)
        if not whole and isinstance(step, RunCommand):
            value = _run_value(step, item.name, value)
        if not whole and isinstance(step, CopyFiles):
            value = [_plain(action) | {"source": clean(action.source).rpartition("/")[2]} for action in step.actions]
        if item.name == "environment":
            parts += [Part(f"variable {name}", json.dumps(text)) for name, text in value]
        else:
            parts.append(Part(item.name, json.dumps(_plain(value), sort_keys=True)))
    return parts


def _run_value(step: RunCommand, name: str, value: Any) -> Any:
    if name == "mounts":
        # where the content lay does not matter, what it is does: the input's digest says that
        read = (BindMount, CacheMount)
        return [[type(m).__name__, _plain(m) | ({"source": ""} if isinstance(m, read) else {})] for m in step.mounts]
    if name == "settings":
        # addresses of hosts and proxies are how one reaches what is fetched, not what
        settings = step.settings
        return {"hosts": [host for host, _ in settings.hosts], "shm": settings.shm_size, "ulimits": settings.ulimits}
    return value


def _plain(value: Any) -> Any:
    """Values of dataclasses, tuples and texts as JSON has them."""
    if is_dataclass(value) and not isinstance(value, type):
        return {item.name: _plain(getattr(value, item.name)) for item in fields(value)}
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    return value
