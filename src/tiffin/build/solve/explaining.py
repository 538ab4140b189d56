"""Why a step is run although there is a cache: the first thing that differs from when it was run last."""

import json
from collections.abc import Sequence

from tiffin.build.keys import Part, first_difference
from tiffin.build.solve.cache import Step

_PLAIN = {
    "arguments": "the command",
    "directory": "the working directory",
    "user": "the user",
    "mounts": "its mounts",
    "network": "the network mode",
    "security": "the security mode",
    "platform": "the platform",
    "actions": "what is copied, or how",
    "settings": "hosts, limits or devices that the build was given",
    "hostname": "the host name",
    "path": "the path",
    "mode": "the mode",
    "owner": "the owner",
    "epoch": "SOURCE_DATE_EPOCH",
}
_SHOWN = 60


def explain(known: Sequence[Step], label: str, parts: Sequence[Part]) -> tuple[str, str]:
    """The part that differs ("" where the step is new), and a sentence. `known` are cached steps, oldest first."""
    former = _former(known, label, parts)
    if former is None:
        return "", "it has not been run before"
    found = first_difference(former.parts, parts)
    if found is None:
        return "", "its result was removed, or stands on layers that are stored otherwise"
    name, old, new = found
    return name, _sentence(name, old, new)


def _former(known: Sequence[Step], label: str, parts: Sequence[Part]) -> Step | None:
    """The step as it was: of the same words, else what was run on the same thing."""
    newest = list(reversed(known))
    for step in newest:
        if step.label == label:
            return step
    decisive = {part for part in parts if part.name in ("kind", "input 0")}
    return next((step for step in newest if decisive <= set(step.parts)), None)


def _sentence(name: str, old: str | None, new: str | None) -> str:
    kind, _, rest = name.partition(" ")
    if kind == "files":
        return "the files that it takes have changed"
    if kind == "input":
        return "what it is based on has changed" if rest == "0" else "another stage or image that it reads has changed"
    if kind == "variable":
        return f"the variable {rest} is {_shown(new)}, it was {_shown(old)}"
    return f"{_PLAIN.get(name, name)} has changed from {_shown(old)} to {_shown(new)}"


def _shown(value: str | None) -> str:
    if value is None:
        return "not set"
    text = str(json.loads(value)) if value[:1] == '"' else value
    return text if len(text) <= _SHOWN else text[: _SHOWN - 1] + "…"
