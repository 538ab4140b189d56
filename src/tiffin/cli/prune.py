"""Removing what nothing uses: `container prune`, `image prune`, `network prune`, `volume prune`, `system prune`."""

from __future__ import annotations

import sys

from tiffin.cli import flags, units
from tiffin.cli.command import Call, Command, Failed
from tiffin.cli.flags import Flag
from tiffin.cli.kinds import FILTER

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


def confirm(call: Call, warning: str) -> None:
    """Ask, unless --force. Raises Failed when the answer is not yes."""
    if call.values.on("force"):
        return
    call.session.out(f"{warning} [y/N] ")
    call.session.flush()
    if sys.stdin.readline().strip().lower() not in ("y", "yes"):
        raise Failed("", 0)


def _filters(call: Call) -> dict[str, list[str]]:
    """Those of the command line and of config.json's pruneFilters."""
    filters = {key: list(values) for key, values in call.values.get("filter").items()}
    for item in call.session.settings.values.get("pruneFilters") or []:
        key, _, value = item.partition("=")
        filters.setdefault(key, []).append(value)
    return filters


def _containers(call: Call, filters: dict[str, Any]) -> tuple[int, str]:
    answer = call.engine.post("/containers/prune", filters=filters)
    removed = answer.get("ContainersDeleted") or []
    text = "Deleted Containers:\n" + "".join(f"{name}\n" for name in removed) if removed else ""
    return answer.get("SpaceReclaimed", 0), text


def _images(call: Call, filters: dict[str, Any], every: bool) -> tuple[int, str]:
    answer = call.engine.post("/images/prune", filters={**filters, "dangling": ["false" if every else "true"]})
    removed = answer.get("ImagesDeleted") or []
    lines = [
        f"untagged: {item['Untagged']}\n" if item.get("Untagged") else f"deleted: {item['Deleted']}\n"
        for item in removed
    ]
    return answer.get("SpaceReclaimed", 0), "Deleted Images:\n" + "".join(lines) if lines else ""


def _networks(call: Call, filters: dict[str, Any]) -> tuple[int, str]:
    answer = call.engine.post("/networks/prune", filters=filters)
    removed = answer.get("NetworksDeleted") or []
    return 0, "Deleted Networks:\n" + "".join(f"{name}\n" for name in removed) if removed else ""


def _volumes(call: Call, filters: dict[str, Any]) -> tuple[int, str]:
    answer = call.engine.post("/volumes/prune", filters=filters)
    removed = answer.get("VolumesDeleted") or []
    text = "Deleted Volumes:\n" + "".join(f"{name}\n" for name in removed) if removed else ""
    return answer.get("SpaceReclaimed", 0), text


def _build_cache(call: Call, filters: dict[str, Any], every: bool) -> tuple[int, str]:
    answer = call.engine.post("/build/prune", all=every, filters=filters)
    removed = answer.get("CachesDeleted") or []
    text = "Deleted build cache objects:\n" + "".join(f"{name}\n" for name in removed) if removed else ""
    return answer.get("SpaceReclaimed", 0), text


def _report(call: Call, space: int, text: str) -> None:
    if text:
        call.say(text)
    call.say(f"Total reclaimed space: {units.size(space, 4)}")


_SURE = "Are you sure you want to continue?"


def prune_containers(call: Call) -> int:
    confirm(call, f"WARNING! This will remove all stopped containers.\n{_SURE}")
    _report(call, *_containers(call, _filters(call)))
    return 0


def prune_images(call: Call) -> int:
    every = call.values.on("all")
    what = "all images without at least one container associated to them" if every else "all dangling images"
    confirm(call, f"WARNING! This will remove {what}.\n{_SURE}")
    _report(call, *_images(call, _filters(call), every))
    return 0


def prune_networks(call: Call) -> int:
    confirm(call, f"WARNING! This will remove all custom networks not used by at least one container.\n{_SURE}")
    _, text = _networks(call, _filters(call))
    if text:
        call.say(text)
    return 0


def prune_volumes(call: Call) -> int:
    filters = _filters(call)
    every = call.values.on("all")
    named = call.engine.at_least("1.42")
    if every and "all" in filters:
        raise Failed("conflicting options: cannot specify both --all and --filter all=1")
    if every and not named:
        need = f"requires API version 1.42, but the Docker daemon API version is {call.engine.version}"
        raise Failed(f'"--all" {need}')
    if every:
        filters["all"] = ["true"]
    # daemons below 1.42 know no difference between anonymous and named ones here
    what = "all local volumes" if not named or "all" in filters else "anonymous local volumes"
    confirm(call, f"WARNING! This will remove {what} not used by at least one container.\n{_SURE}")
    _report(call, *_volumes(call, filters))
    return 0


def prune_system(call: Call) -> int:
    values = call.values
    filters = _filters(call)
    every = values.on("all")
    if values.on("volumes") and "until" in filters:
        raise Failed('ERROR: The "until" filter is not supported with "--volumes"')
    warnings = ["all stopped containers", "all networks not used by at least one container"]
    if values.on("volumes"):
        warnings.append("all anonymous volumes not used by at least one container")
    warnings.append("all images without at least one container associated to them" if every else "all dangling images")
    warnings.append("all build cache" if every else "unused build cache")
    text = "WARNING! This will remove:\n" + "".join(f"  - {item}\n" for item in warnings)
    if filters:
        text += "\n  Items to be pruned will be filtered with:\n"
        text += "".join(f"  - {key}={value}\n" for key in sorted(filters) for value in filters[key])
    confirm(call, f"{text}\n{_SURE}")
    results = [_containers(call, filters), _networks(call, filters)]
    if values.on("volumes"):
        results.append(_volumes(call, filters))
    results.append(_images(call, filters, every))
    results.append(_build_cache(call, filters, every))
    for _, part in results:
        if part:
            call.say(part)
    call.say(f"Total reclaimed space: {units.size(sum(space for space, _ in results), 4)}")
    return 0


def _flags(example: str, *more: Flag) -> tuple[Flag, ...]:
    return (
        Flag("filter", FILTER, f'Narrow down what is removed (e.g. "{example}")'),
        flags.switch("force", "Do not prompt for confirmation", "f"),
        *more,
    )


_UNTIL = "until=<timestamp>"

COMMANDS = {
    "container prune": Command("container prune", prune_containers, "", _flags(_UNTIL)),
    "image prune": Command(
        "image prune",
        prune_images,
        "",
        _flags(_UNTIL, flags.switch("all", "Remove all unused images, not just dangling ones", "a")),
    ),
    "network prune": Command("network prune", prune_networks, "", _flags(_UNTIL)),
    "volume prune": Command(
        "volume prune",
        prune_volumes,
        "",
        _flags("label=<label>", flags.switch("all", "Remove all unused volumes, not just anonymous ones", "a")),
    ),
    "system prune": Command(
        "system prune",
        prune_system,
        "",
        _flags(
            "label=<key>=<value>",
            flags.switch("all", "Remove all unused images, not just dangling ones", "a"),
            flags.switch("volumes", "Remove anonymous volumes too"),
        ),
    ),
}
