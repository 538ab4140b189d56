"""A cache as builders hand it to each other: BuildKit's cache configuration, read and written.

    {"layers": [{"blob", "parent", "annotations": {"mediaType", "diffID", "size", "createdAt"}}],
     "records": [{"digest": KEY, "inputs": [[{"link": RECORD}]], "layers": [{"layer": LAYER, "createdAt"}]}],
     "io.tiffin.build.cache": {"version": 1, "contents": [[LAYER, WHAT, DIGEST]]}}

A layer's parent is the one below it, -1 for none. A layer may be told of whose blob does not come along; BuildKit
passes over such, here they are known by name. Keys are this builder's, so that neither finds what the other made.

Source: moby/buildkit cache/remotecache/v1 (types/spec.go, parse.go).
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from tiffin.build.solve.cache import IMPORTED, Step
from tiffin.build.solve.solved import LayerBlob
from tiffin.build.solve.trail import Contents, Trail
from tiffin.build.solve.values import Stack
from tiffin.errors import Invalid
from tiffin.model.descriptor import Descriptor
from tiffin.model.digest import Digest, chain_ids, parse_digest

MEDIA_TYPE = "application/vnd.buildkit.cacheconfig.v0"
LARGEST = 16 << 20
"""Bytes of a cache configuration. BuildKit reads 1 MiB."""

DIFF_ANNOTATION = "containerd.io/uncompressed"
CREATED_ANNOTATION = "buildkit/createdat"
_OWN = "io.tiffin.build.cache"
_VERSION = 1
_MOST = 20_000  # records
_MOST_LAYERS = 5_000
_DEEPEST = 500
_TIME = re.compile(r"(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d)(?:\.(\d{1,9}))?(Z|[+-]\d\d:\d\d)")


@dataclass(frozen=True, slots=True)
class Read:
    """What a configuration tells. own: this builder's kind has written it."""

    steps: Mapping[Digest, Step] = field(default_factory=dict)
    contents: Contents = field(default_factory=dict)
    own: bool = True


def moment(nanoseconds: int) -> str:
    """RFC 3339, as Go writes it."""
    seconds, rest = divmod(nanoseconds, 10**9)
    fraction = f".{rest:09d}".rstrip("0") if rest else ""
    return f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%dT%H:%M:%S}{fraction}Z"


def _nanoseconds(text: object) -> int:
    match = _TIME.fullmatch(text) if isinstance(text, str) else None
    if match is None:
        return 0
    whole = datetime.fromisoformat(match[1] + match[3].replace("Z", "+00:00"))
    return int(whole.timestamp()) * 10**9 + int((match[2] or "0").ljust(9, "0"))


def written(trail: Trail, blobs: Mapping[Digest, Descriptor]) -> bytes:
    """The configuration. blobs: the stored forms of the layers that come along, by diff ID."""
    layers, places = _layers(trail, blobs)
    records: list[dict[str, Any]] = []
    numbers: dict[Digest, int] = {}
    for step in trail.steps:
        for parent in step.parents:
            if parent not in numbers:  # a source: it has no layers of its own to tell of
                numbers[parent] = len(records)
                records.append({"digest": parent})
        if step.key in numbers or step.stack.chain is None:
            continue
        numbers[step.key] = len(records)
        result = {"layer": places[step.stack.chain], "createdAt": moment(step.created)}
        record: dict[str, Any] = {"digest": step.key, "layers": [result]}
        if step.parents:
            record["inputs"] = [[{"link": numbers[parent]}] for parent in step.parents]
        records.append(record)
    own = {
        "version": _VERSION,
        "contents": [
            [places[chain], what, digest] for (chain, what), digest in trail.contents.items() if chain in places
        ],
    }
    return json.dumps({"layers": layers, "records": records, _OWN: own}, separators=(",", ":")).encode()


def _layers(trail: Trail, blobs: Mapping[Digest, Descriptor]) -> tuple[list[dict[str, Any]], dict[Digest, int]]:
    """The list of layers, and the place in it of each chain."""
    found: list[dict[str, Any]] = []
    places: dict[Digest, int] = {}
    for step in trail.steps:
        below = -1
        for layer, chain in zip(step.stack.layers, chain_ids(step.stack.diffs), strict=True):
            if chain not in places:
                blob = blobs.get(layer.diff)
                told: dict[str, Any] = {"diffID": layer.diff, "createdAt": moment(step.created)}
                if blob is not None:
                    told |= {"mediaType": blob.media_type, "size": blob.size}
                places[chain] = len(found)
                found.append({"blob": blob.digest if blob else layer.diff, "parent": below, "annotations": told})
            below = places[chain]
    return found, places


def read(raw: bytes, offered: Mapping[Digest, Descriptor]) -> Read:
    """What a cache holds. offered: the blobs that come along. Raises Invalid for what is no cache configuration."""
    try:
        document = json.loads(raw)
        layers, records = document.get("layers") or [], document.get("records") or []
        if len(layers) > _MOST_LAYERS or len(records) > _MOST:
            raise Invalid(f"the cache has more than {_MOST_LAYERS} layers or {_MOST} records")
        stacks = _stacks(layers, offered)
        own = document.get(_OWN) or {}
        steps = {step.key: step for record in records for step in _steps(record, stacks, len(records))}
        contents = dict(_contents(own, stacks))
    except (ValueError, TypeError, AttributeError, KeyError, IndexError, RecursionError) as error:
        raise Invalid(f"the cache's configuration can't be read: {error}") from error
    return Read(steps, contents, own.get("version") == _VERSION)


def _stacks(layers: list[Any], offered: Mapping[Digest, Descriptor]) -> list[Stack | None]:
    """Each layer with those below it; None where the diff ID of one is not known."""
    found: dict[int, Stack | None] = {-1: Stack()}
    for index in range(len(layers)):
        above: list[int] = []  # those on the way down that are not known yet
        while index not in found:
            if index in above or not 0 <= index < len(layers) or len(above) > _DEEPEST:
                raise Invalid(f"the cache's configuration can't be read: layer {index} has no end below it")
            above.append(index)
            index = int(layers[index].get("parent", 0))
        below = found[index]
        for one in reversed(above):
            layer = _layer(layers[one], offered)
            below = None if below is None or layer is None else Stack((*below.layers, layer))
            if below is not None and len(below.layers) > _DEEPEST:
                raise Invalid(f"the cache has more than {_DEEPEST} layers above each other")
            found[one] = below
    return [found[index] for index in range(len(layers))]


def _layer(told: Mapping[str, Any], offered: Mapping[Digest, Descriptor]) -> LayerBlob | None:
    blob = parse_digest(told["blob"])
    diff = (told.get("annotations") or {}).get("diffID")
    if diff is None and blob in offered:
        diff = offered[blob].annotations.get(DIFF_ANNOTATION)
    return None if diff is None else LayerBlob(parse_digest(diff), blob)


def _steps(record: Mapping[str, Any], stacks: list[Stack | None], count: int) -> Iterator[Step]:
    key = parse_digest(record["digest"])
    for alternatives in record.get("inputs") or []:
        for one in alternatives:
            if not 0 <= int(one["link"]) < count:
                raise Invalid(f"the cache's configuration can't be read: there is no record {one['link']}")
    for result in record.get("layers") or []:
        stack = _at(stacks, result["layer"])
        if stack is not None:
            yield Step(key, "", IMPORTED, (), (), stack, 0, _nanoseconds(result.get("createdAt")))
    for result in record.get("chains") or []:
        for index in result["layers"]:
            _at(stacks, index)


def _contents(own: Mapping[str, Any], stacks: list[Stack | None]) -> Iterator[tuple[tuple[Digest, str], Digest]]:
    chains: dict[object, Digest | None] = {}
    for index, what, digest in (own.get("contents") or [])[:_MOST]:
        if index not in chains:
            stack = _at(stacks, index)
            chains[index] = stack.chain if stack is not None else None
        if (chain := chains[index]) is not None:
            yield (chain, str(what)), parse_digest(digest)


def _at(stacks: list[Stack | None], index: object) -> Stack | None:
    if not isinstance(index, int) or not 0 <= index < len(stacks):
        raise Invalid(f"the cache's configuration can't be read: there is no layer {index}")
    return stacks[index]
