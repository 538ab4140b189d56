"""Why a step is run although there is a cache: the first thing that differs from when it was run last."""

import json
import os
import re
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any

from tiffin.build.keys import Part, first_difference
from tiffin.build.solve.cache import Step
from tiffin.model.digest import Digest

Listings = Callable[[Digest], Mapping[bytes, bytes] | None]
"""The files behind a digest, each with something that differs where the file does; None where that is not known."""

_PLAIN = {
    "arguments": "the command",
    "directory": "the working directory",
    "user": "the user",
    "mounts": "its mounts",
    "network": "the network mode",
    "security": "the security mode",
    "platform": "the platform",
    "settings": "hosts, limits or devices that the build was given",
    "hostname": "the host name",
    "path": "the path",
    "mode": "the mode",
    "owner": "the owner",
    "epoch": "SOURCE_DATE_EPOCH",
}
_SHELL = ["/bin/sh", "-c"]
_SHOWN = 60
_PREFIX = re.compile(r"\[[^\]]*\] ")


def explain(
    known: Sequence[Step],
    own: Collection[str],
    label: str,
    parts: Sequence[Part],
    bases: Sequence[str],
    listings: Listings,
) -> tuple[str, str]:
    """The part that differs ("" where the step is new), and a sentence.

    known: cached steps, oldest first; own: the keys of those of this project; bases: what the step's inputs are, in
    words.
    """
    former = _former(known, own, label, parts)
    if former is None:
        return "", "it has not been run before"
    found = first_difference(former.parts, parts)
    if found is None:
        return "", "its result was removed, or stands on layers that are stored otherwise"
    return found[0], _sentence(*found, bases, listings)


def _former(known: Sequence[Step], own: Collection[str], label: str, parts: Sequence[Part]) -> Step | None:
    """The step as it was: the nearest of the same words, else this project's on the same thing or in the same place."""
    words, now = _words(label), set(parts)
    same = [step for step in reversed(known) if _words(step.label) == words]
    if same:
        return max(same, key=lambda step: len(now & set(step.parts)))
    kind = {part for part in parts if part.name == "kind"}
    below = {part for part in parts if part.name == "input 0"}
    place = _PREFIX.match(label)
    ours = [step for step in reversed(known) if step.key in own and kind <= set(step.parts)]
    on_the_same = (step for step in ours if below <= set(step.parts))
    there = (step for step in ours if place and step.label.startswith(place[0]))
    return next(on_the_same, None) or next(there, None)


def _words(label: str) -> str:
    """Without the step's place in its Dockerfile."""
    return _PREFIX.sub("", label, count=1)


def _sentence(name: str, old: str | None, new: str | None, bases: Sequence[str], listings: Listings) -> str:
    kind, _, rest = name.partition(" ")
    if kind == "files":
        return "the files that it takes have changed" + _files(old, new, listings)
    if kind == "input":
        base = bases[int(rest)] if int(rest) < len(bases) else ""
        what = "what it is based on" if rest == "0" else "another stage or image that it reads"
        if base.startswith("FROM "):
            what = "the base image" if rest == "0" else "an image that it reads"
            return f"{what} has changed: {base} has layers to {_layers(new)}, it had layers to {_layers(old)}"
        return f"{what} has changed: {base}" if base else f"{what} has changed"
    if kind == "variable":
        return f"the variable {rest} is {_shown(new)}, it was {_shown(old)}"
    if name == "actions" and old is not None and new is not None:
        return _action(json.loads(old), json.loads(new))
    return f"{_PLAIN.get(name, name)} has changed from {_shown(old)} to {_shown(new)}"


def _files(old: str | None, new: str | None, listings: Listings) -> str:
    """`: a/file and 2 more`, as far as it is known."""
    before = listings(Digest(json.loads(old))) if old else None
    after = listings(Digest(json.loads(new))) if new else None
    if before is None or after is None:
        return ""
    changed = sorted(path for path in {*before, *after} if before.get(path) != after.get(path))
    # directories are named where nothing in them is
    told = [path for path in changed if not any(other.startswith(path + b"/") for other in changed[:1000])] or changed
    if not told:
        return ""
    state = " is new" if told[0] not in before else " is gone" if told[0] not in after else ""
    more = f" and {len(told) - 1} more" if len(told) > 1 else ""
    return f": {os.fsdecode(told[0])}{state}{more}"


def _layers(value: str | None) -> str:
    text = json.loads(value) if value else None
    return str(text)[:19] if text else "none"


def _action(old: list[dict[str, Any]], new: list[dict[str, Any]]) -> str:
    for before, after in zip(old, new, strict=False):
        for name in after:
            if before.get(name) != after[name]:
                shown = _shown(json.dumps(before.get(name))), _shown(json.dumps(after[name]))
                return f"its {name} has changed from {shown[0]} to {shown[1]}"
    return f"what is copied has changed: {len(new)} sources, there were {len(old)}"


def _shown(value: str | None) -> str:
    if value is None:
        return "not set"
    found = json.loads(value)
    if isinstance(found, list) and all(isinstance(one, str) for one in found):
        found = " ".join(found[2:] if found[:2] == _SHELL else found)
    text = (found or "empty") if isinstance(found, str) else value
    return text if len(text) <= _SHOWN else text[: _SHOWN - 1] + "…"
