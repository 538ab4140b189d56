"""The cache that travels in an image: which steps made its layers, under a key of its configuration of its own.

    "io.tiffin.build.cache": {"version": 1, "steps": [[layers, key, label, created], …]}

`layers` counts from the lowest; a step's result is that many of the image's layers. `created` in ns.
"""

import json
from collections.abc import Iterator
from typing import Any

from tiffin.build.solve.cache import IMPORTED, Step
from tiffin.build.solve.trail import Trail
from tiffin.build.solve.values import Stack
from tiffin.errors import Invalid
from tiffin.model.digest import chain_ids, parse_digest

NAME = "io.tiffin.build.cache"
BUILDKIT = "moby.buildkit.cache.v0"
"""Where BuildKit has the same; its keys are others."""

_VERSION = 1
_MOST = 10_000


def written(document: bytes, stack: Stack, trail: Trail) -> bytes:
    """A configuration that tells of the steps that made its layers."""
    numbers = {chain: number for number, chain in enumerate(chain_ids(stack.diffs), 1)}
    made = [(numbers.get(step.stack.chain), step) for step in trail.steps if step.stack.chain is not None]
    steps = [[number, step.key, step.label, step.created] for number, step in made if number is not None]
    body = {**json.loads(document), NAME: {"version": _VERSION, "steps": steps}}
    return json.dumps(body, separators=(",", ":"), ensure_ascii=False).encode()


def read(document: bytes, stack: Stack) -> Iterator[Step]:
    """The steps that an image tells of. Invalid for an image that tells of none, or not in this way."""
    config = json.loads(document)
    if BUILDKIT in config and NAME not in config:
        return
    told: Any = config.get(NAME)
    if not isinstance(told, dict) or told.get("version") != _VERSION or not isinstance(told.get("steps"), list):
        raise Invalid("the image carries no cache of this builder")
    for entry in told["steps"][:_MOST]:
        try:
            number, key, label, created = entry
            layers = stack.layers[: int(number)]
            yield Step(parse_digest(key), str(label)[:4096], IMPORTED, (), (), Stack(layers), 0, int(created))
        except (TypeError, ValueError) as error:
            raise Invalid("the image's cache can't be read") from error
