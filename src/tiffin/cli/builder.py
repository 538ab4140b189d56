"""`tiffin builder prune` and `tiffin builder du`: what builds keep."""

from __future__ import annotations

from tiffin.cli import flags, units
from tiffin.cli.command import Call, Command, Failed
from tiffin.cli.flags import Flag
from tiffin.cli.kinds import BYTES, FILTER

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

_ALL = "WARNING! This will remove all build cache."
_SOME = "WARNING! This will remove all dangling build cache."


def _ask(call: Call, method: str, request: Any) -> list[bytes]:
    import asyncio

    from tiffin.client.buildkit import Builder
    from tiffin.wire.grpc.status import StatusError

    try:
        return asyncio.run(Builder(call.engine).ask(method, request.SerializeToString()))
    except StatusError as error:
        raise Failed(f"ERROR: {error.message}") from error


def _filters(call: Call) -> list[str]:
    """`until=24h` and the like, as the daemon takes them."""
    given: dict[str, dict[str, bool]] = call.values.get("filter") or {}
    return [f"{name}={value}" for name, found in given.items() for value in found]


def prune(call: Call) -> int:
    from tiffin.cli.prune import confirm
    from tiffin.wire.buildkit import control, parse

    values = call.values
    confirm(call, f"{_ALL if values.on('all') else _SOME}\nAre you sure you want to continue?")
    request = control(
        "PruneRequest",
        filter=_filters(call),
        all=values.on("all"),
        reservedSpace=values.get("reserved-space") or values.get("keep-storage"),
        maxUsedSpace=values.get("max-used-space"),
        minFreeSpace=values.get("min-free-space"),
    )
    records = [parse("moby.buildkit.v1.UsageRecord", data) for data in _ask(call, "Prune", request)]
    if records:
        _table(call, records, values.on("verbose"))
    call.say(f"Total:\t{units.size(sum(record.Size for record in records))}")
    return 0


def usage(call: Call) -> int:
    from tiffin.wire.buildkit import control, parse

    (data,) = _ask(call, "DiskUsage", control("DiskUsageRequest", filter=_filters(call)))
    records = list(parse("moby.buildkit.v1.DiskUsageResponse", data).record)
    _table(call, records, call.values.on("verbose"))
    total = sum(record.Size for record in records)
    shared = sum(record.Size for record in records if record.Shared)
    free = sum(record.Size for record in records if not record.InUse and not record.Shared)
    if shared:
        call.say(f"Shared:\t\t{units.size(shared)}\nPrivate:\t{units.size(total - shared)}")
    call.say(f"Reclaimable:\t{units.size(free)}\nTotal:\t\t{units.size(total)}")
    return 0


def _table(call: Call, records: list[Any], verbose: bool) -> None:
    if verbose:
        for record in records:
            call.say(_details(record))
        return
    rows = [("ID", "RECLAIMABLE", "SIZE", "LAST ACCESSED")]
    for record in records:
        used = units.ago(record.LastUsedAt.seconds) if record.HasField("LastUsedAt") else ""
        shown = record.ID.partition(":")[2][:25] or record.ID
        rows.append((shown, "false" if record.InUse else "true", units.size(record.Size) + "*" * record.Shared, used))
    widths = [max(len(row[column]) for row in rows) + 3 for column in range(3)]
    for row in rows:
        call.say("".join(f"{cell:<{width}}" for cell, width in zip(row, widths, strict=False)) + row[3])


def _details(record: Any) -> str:
    lines = [
        ("ID:", record.ID),
        ("Parents:", ", ".join(record.Parents)),
        ("Created at:", units.go_time(record.CreatedAt.seconds)),
        ("Reclaimable:", "false" if record.InUse else "true"),
        ("Shared:", "true" if record.Shared else "false"),
        ("Size:", units.size(record.Size)),
        ("Description:", record.Description),
        ("Usage count:", str(record.UsageCount) if record.UsageCount else ""),
        ("Last used:", units.ago(record.LastUsedAt.seconds) if record.HasField("LastUsedAt") else ""),
        ("Type:", record.RecordType),
    ]
    return "".join(f"{name:<14}{value}\n" for name, value in lines if value)


_FILTER = Flag("filter", FILTER, 'Provide filter values (e.g., "until=24h")')
_VERBOSE = flags.switch("verbose", "Provide a more verbose output")

COMMANDS = {
    "builder prune": Command(
        "builder prune",
        prune,
        flags=(
            flags.switch("all", "Remove all unused build cache, not just dangling ones", "a"),
            _FILTER,
            flags.switch("force", "Do not prompt for confirmation", "f"),
            Flag("keep-storage", BYTES, "Amount of disk space to keep for cache", hidden=True),
            Flag("max-used-space", BYTES, "Maximum amount of disk space allowed to keep for cache"),
            Flag("min-free-space", BYTES, "Target amount of free disk space after pruning"),
            Flag("reserved-space", BYTES, "Amount of disk space always allowed to keep for cache"),
            _VERBOSE,
        ),
    ),
    "builder du": Command("builder du", usage, flags=(_FILTER, _VERBOSE)),
}
