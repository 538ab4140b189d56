"""What a build went through: each step's key and result, as other builders may want to know."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from tiffin.build.solve.values import Stack
from tiffin.model.digest import Digest

Contents = Mapping[tuple[Digest, str], Digest]
"""Digests of what steps took of layers, by chain ID and what was taken; see `Cache.content`."""


@dataclass(frozen=True, slots=True)
class Traced:
    """One step. created: ns."""

    key: Digest
    label: str
    parents: tuple[Digest, ...]
    stack: Stack
    created: int


@dataclass(frozen=True, slots=True)
class Trail:
    """steps   inputs first
    kept    stacks that are held for as long as the result is: all whose layers are here, where all are to be told of
    """

    steps: tuple[Traced, ...] = ()
    contents: Contents = field(default_factory=dict)
    kept: tuple[Stack, ...] = ()
