"""When things were made: a build that finds all of its steps in the cache is the image that it was before."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from tiffin.build.drafts import HistoryEntry, ImageDraft
from tiffin.build.plan import BuildPlan
from tiffin.build.solve.values import Stack
from tiffin.engine.moments import rfc3339
from tiffin.images.making import now
from tiffin.model.digest import Digest, chain_ids

_NEVER = rfc3339(0)


def dated(plan: BuildPlan, stack: Stack, created: Callable[[Digest], int | None]) -> tuple[ImageDraft, str]:
    """The configuration with a time for every line of its history, and the image's own. created: of a layer, in ns.

    A layer's line has the layer's time; the others the last one before, those in front the first one after.
    """
    draft = plan.image
    if plan.epoch is not None:
        moment = rfc3339(plan.epoch * 10**9)
        history = tuple(_at(entry, moment) for entry in draft.history)
        return replace(draft, history=history), moment
    times = [created(chain) for chain in chain_ids(stack.diffs)]
    layer = 0
    found: list[HistoryEntry] = []
    for entry in draft.history:
        if not entry.empty:
            time = times[layer] if layer < len(times) else None
            entry = _at(entry, rfc3339(time) if time else now()) if layer >= len(draft.based_on) else entry
            layer += 1
        found.append(entry)
    filled = _filled(found)
    return replace(draft, history=filled), next((one.created for one in reversed(filled) if one.created), _NEVER)


def _filled(history: list[HistoryEntry]) -> tuple[HistoryEntry, ...]:
    current: str | None = None
    missing = False
    for entry in history:  # the first time after the first line that has none
        if entry.created is not None:
            current = entry.created
            if missing:
                break
        else:
            missing = True
    found, missing = [], False
    for entry in history:
        if entry.created is not None:
            current = entry.created if missing else current
        else:
            missing = True
            entry = _at(entry, current or _NEVER)
        found.append(entry)
    return tuple(found)


def _at(entry: HistoryEntry, moment: str) -> HistoryEntry:
    return entry if entry.created is not None else replace(entry, created=moment)
