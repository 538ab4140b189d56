"""Sentences about steps that are run although there is a cache, and what is remembered for them."""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

from tiffin.build.keys import Part
from tiffin.build.solve.cache import Cache, Step
from tiffin.build.solve.explaining import explain
from tiffin.build.solve.notes import Notes, shortened
from tiffin.build.solve.values import EMPTY
from tiffin.content.ledger import Ledger
from tiffin.model.digest import Digest, digest_of

OLD, NEW = digest_of(b"old"), digest_of(b"new")
LABEL = "[2/3] RUN make"


def parts(**values: Any) -> tuple[Part, ...]:
    """By name, `_` for a blank."""
    return tuple(Part(name.replace("_", " "), json.dumps(value)) for name, value in values.items())


def step(label: str, **values: Any) -> Step:
    found = parts(**values)
    key = digest_of(repr((label, found)).encode())
    return Step(key, label, "regular", found, (), EMPTY, 0, 1)


def told(
    *known: Step,
    own: Collection[str] = (),
    label: str = LABEL,
    bases: tuple[str, ...] = (),
    listings: Mapping[Digest, Mapping[bytes, bytes]] | None = None,
    **now: Any,
) -> str:
    return explain(known, own, label, parts(**now), bases, (listings or {}).get)[1]


def test_another_project_s_steps_are_no_reason() -> None:
    other = step("[2/3] RUN test", kind="RunCommand", arguments=["/bin/sh", "-c", "test"], input_0="base")
    now: dict[str, Any] = {"kind": "RunCommand", "arguments": ["/bin/sh", "-c", "make"], "input_0": "base"}
    assert told(other, **now) == "it has not been run before"
    assert told(other, own={other.key}, **now) == "the command has changed from test to make"


def test_the_same_words_elsewhere_in_the_file_are_the_same_step() -> None:
    former = step("[stage-0 7/9] RUN make", kind="RunCommand", user="a")
    assert told(former, kind="RunCommand", user="") == "the user has changed from a to empty"


def test_of_several_former_runs_the_nearest_is_compared_with() -> None:
    near = step(LABEL, kind="RunCommand", user="cook", variable_A="1")
    far = step(LABEL, kind="RunCommand", user="other", variable_A="2")
    assert told(near, far, kind="RunCommand", user="cook", variable_A="3") == "the variable A is 3, it was 1"
    assert told(far, near, kind="RunCommand", user="cook") == "the variable A is not set, it was 1"


def test_a_base_image_is_told_by_its_layers_a_step_by_its_words() -> None:
    former = step(LABEL, kind="RunCommand", input_0=OLD)
    said = told(former, bases=("FROM docker.io/library/busybox:latest",), kind="RunCommand", input_0=NEW)
    assert said == (
        "the base image has changed: FROM docker.io/library/busybox:latest has layers to "
        f"{NEW[:19]}, it had layers to {OLD[:19]}"
    )
    said = told(former, bases=("[1/3] COPY a /",), kind="RunCommand", input_0=NEW)
    assert said == "what it is based on has changed: [1/3] COPY a /"


def test_files_by_name_as_far_as_they_are_known() -> None:
    former = step("COPY . /", kind="CopyFiles", files_0=OLD)
    now: dict[str, Any] = {"label": "COPY . /", "kind": "CopyFiles", "files_0": NEW}
    before = {b"": b"1", b"a": b"1", b"d": b"1", b"d/f": b"1"}
    said = "the files that it takes have changed"
    assert told(former, **now) == said
    assert told(former, listings={OLD: before}, **now) == said
    assert told(former, listings={OLD: before, NEW: before | {b"a": b"2"}}, **now) == f"{said}: a"
    both = before | {b"d": b"2", b"d/f": b"2", b"d/g": b"1"}
    assert told(former, listings={OLD: before, NEW: both}, **now) == f"{said}: d/f and 1 more"
    assert told(former, listings={OLD: both, NEW: before}, **now) == f"{said}: d/f and 1 more"
    assert told(former, listings={OLD: {b"x": b"1"}, NEW: {}}, **now) == f"{said}: x is gone"
    assert told(former, listings={OLD: {}, NEW: {b"x": b"1"}}, **now) == f"{said}: x is new"


def test_how_files_are_copied() -> None:
    former = step("[2/3] COPY a /", kind="CopyFiles", actions=[{"source": "a", "owner": "", "mode": None}])
    now: dict[str, Any] = {"label": "[2/3] COPY --chown=cook a /", "own": {former.key}, "kind": "CopyFiles"}
    one = {"source": "a", "owner": "cook", "mode": None}
    assert told(former, **now, actions=[one]) == "its owner has changed from empty to cook"
    before = step("[2/3] COPY a /", kind="CopyFiles", actions=[one])
    now["own"] = {before.key}
    assert told(before, **now, actions=[one, one]) == "what is copied has changed: 2 sources, there were 1"


def test_notes_go_with_the_last_step_that_needs_them(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path / "ledger.db")
    cache, notes = Cache(ledger), Notes(ledger)
    one, two = (step(label, kind="CopyFiles", files_0=OLD) for label in ("one", "two"))
    listing = [(b"a", b"about a"), (b"d/\xff", b"about d")]
    for number, each in enumerate((one, two)):
        cache.add(each)
        notes.add(each.key, number, "here", {OLD: listing})
    assert notes.listing(OLD) == shortened(listing)
    assert (notes.took(two.key), notes.keys("here"), notes.keys("there")) == (1, {one.key, two.key}, set())
    cache.remove([one.key])
    notes.tidy()
    assert (notes.took(one.key), notes.listing(OLD)) == (None, shortened(listing))
    cache.remove([two.key])
    notes.tidy()
    assert notes.listing(OLD) is None
