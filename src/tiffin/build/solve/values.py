"""What a step makes: a stack of layers, or a directory that no layer holds yet."""

from dataclasses import dataclass
from pathlib import Path

from tiffin.build.solve.contents import Hashes
from tiffin.build.solve.solved import LayerBlob
from tiffin.model.digest import Digest, chain_ids


@dataclass(frozen=True, slots=True)
class Stack:
    """Lowest first; nothing is an empty file system."""

    layers: tuple[LayerBlob, ...] = ()

    @property
    def diffs(self) -> tuple[Digest, ...]:
        return tuple(layer.diff for layer in self.layers)

    @property
    def chain(self) -> Digest | None:
        return chain_ids(self.diffs)[-1] if self.layers else None

    def stands_on(self, below: "Stack") -> bool:
        """Whether `below` is what this begins with, by content."""
        return self.diffs[: len(below.layers)] == below.diffs


@dataclass(frozen=True, slots=True)
class Files:
    """A directory of this machine: a context, a download. Nobody writes to it while the build lasts."""

    path: Path
    hashes: Hashes


Value = Stack | Files


@dataclass(frozen=True, slots=True)
class Outcome:
    """A step's value and the key that stands for it in the keys of steps above.

    believed: others' word was taken for it, or for something below it
    """

    key: Digest
    value: Value
    believed: bool = False


EMPTY = Stack()
