"""BuildKit's cache configuration, written and read."""

from __future__ import annotations

import json
import tracemalloc
from typing import Any

import pytest

from tiffin.build.solve.exchange import DIFF_ANNOTATION, moment, read, written
from tiffin.build.solve.solved import LayerBlob
from tiffin.build.solve.trail import Traced, Trail
from tiffin.build.solve.values import Stack
from tiffin.errors import Invalid
from tiffin.model.descriptor import Descriptor
from tiffin.model.digest import Digest, digest_of

TIME = 1_704_067_200_123_456_700


def digest(text: str) -> Digest:
    return digest_of(text.encode())


def stack(*names: str) -> Stack:
    return Stack(tuple(LayerBlob(digest(name), digest(name)) for name in names))


def stored(name: str) -> Descriptor:
    notes = {DIFF_ANNOTATION: digest(name)}
    return Descriptor("application/vnd.oci.image.layer.v1.tar+gzip", digest(f"{name}.gz"), 7, notes)


TRAIL = Trail(
    (
        Traced(digest("one"), "RUN one", (digest("source"),), stack("base", "a"), TIME),
        Traced(digest("aside"), "RUN aside", (digest("source"),), stack("base", "c"), TIME),
        Traced(digest("two"), "COPY", (digest("one"), digest("aside")), stack("base", "a", "b"), TIME + 1),
    ),
    {(stack("base", "c").chain or digest(""), "what"): digest("content")},
)


def test_what_was_written_is_read() -> None:
    blobs = {digest(name): stored(name) for name in ("base", "a", "b")}
    raw = written(TRAIL, blobs)
    found = read(raw, {one.digest: one for one in blobs.values()})
    assert found.own
    assert found.contents == TRAIL.contents
    assert {key: (step.stack.diffs, step.created) for key, step in found.steps.items()} == {
        one.key: (one.stack.diffs, one.created) for one in TRAIL.steps
    }
    assert [layer.blob for layer in found.steps[digest("two")].stack.layers] == [
        stored(name).digest for name in ("base", "a", "b")
    ]


def test_it_has_buildkits_shape() -> None:
    document = json.loads(written(TRAIL, {digest("base"): stored("base")}))
    base = document["layers"][0]
    assert (base["blob"], base["parent"]) == (stored("base").digest, -1)
    assert base["annotations"]["diffID"] == digest("base")
    assert [one.get("parent") for one in document["layers"]] == [-1, 0, 0, 1]
    last = document["records"][-1]
    assert last["digest"] == digest("two")
    assert [document["records"][one["link"]]["digest"] for (one,) in last["inputs"]] == [digest("one"), digest("aside")]
    assert last["layers"] == [{"layer": 3, "createdAt": "2024-01-01T00:00:00.123456701Z"}]


def test_a_cache_of_buildkits_is_read() -> None:
    """Its layers have their diff IDs in the manifest's annotations."""
    layers: list[dict[str, Any]] = [{"blob": stored("b").digest}, {"blob": stored("a").digest, "parent": -1}]
    layers[0]["parent"] = 1
    record = {"digest": digest("key"), "layers": [{"layer": 0, "createdAt": "2024-01-01T02:00:00.1234567+02:00"}]}
    raw = json.dumps({"layers": layers, "records": [record]}).encode()
    found = read(raw, {stored(name).digest: stored(name) for name in ("a", "b")})
    assert not found.own
    (step,) = found.steps.values()
    assert step.stack.diffs == (digest("a"), digest("b"))
    assert moment(step.created) == "2024-01-01T00:00:00.1234567Z"
    assert read(raw, {}).steps == {}, "layers that nobody can name are no results"


A, B = str(digest("a")), str(digest("b"))


@pytest.mark.parametrize(
    "document",
    [
        b"",
        b"[]",
        b"null",
        b'{"layers": {}}{',
        b"[" * 100_000,
        {"layers": [{"blob": "sha256:../../etc/passwd"}]},
        {"layers": [{"blob": A, "parent": 0}]},
        {"layers": [{"blob": A, "parent": 1}, {"blob": B, "parent": 0}]},
        {"layers": [{"blob": A, "parent": 7}]},
        {"layers": [{"blob": A, "parent": -2}]},
        {"layers": [{"blob": A, "parent": "x"}]},
        {"layers": ["x"]},
        {"layers": 7},
        {"records": [{}]},
        {"records": [{"digest": A, "layers": [{"layer": 0}]}]},
        {"records": [{"digest": A, "layers": [{"layer": -1}]}]},
        {"records": [{"digest": A, "layers": "x"}]},
        {"records": [{"digest": A, "inputs": [[{"link": 1}]]}]},
        {"records": [{"digest": A, "inputs": [[{"link": -1}]]}]},
        {"records": [{"digest": A, "chains": [{"layers": [0]}]}]},
        {"records": [{"digest": "md5:x"}]},
        {"records": [{}] * 20_001},
        {"io.tiffin.build.cache": {"version": 1, "contents": [[0, "x", A]]}},
        {"io.tiffin.build.cache": {"version": 1, "contents": [7]}},
        {"io.tiffin.build.cache": "x"},
    ],
)
def test_what_makes_no_sense_is_refused(document: Any) -> None:
    raw = document if isinstance(document, bytes) else json.dumps(document).encode()
    with pytest.raises(Invalid):
        read(raw, {})


def test_layers_without_end_take_no_memory() -> None:
    notes = {"diffID": A}
    layers = [{"blob": A, "parent": index - 1, "annotations": notes} for index in range(5_000)]
    tracemalloc.start()
    try:
        with pytest.raises(Invalid, match=r"above each other|no end below"):
            read(json.dumps({"layers": layers}).encode(), {})
        assert tracemalloc.get_traced_memory()[1] < 100 << 20
    finally:
        tracemalloc.stop()
