"""`tiffin image layers`: what each layer of an image adds, changes, hides and wastes."""

from __future__ import annotations

import json

from tiffin.cli import flags, units
from tiffin.cli.command import Call, Command, Failed
from tiffin.cli.container_list import ellipsis, short_id
from tiffin.cli.inspect import asked_platform
from tiffin.client.engine import quote

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

_KINDS = (("Adds", "+"), ("Changes", "~"), ("Hides", "-"), ("Wastes", "!"))
_INSTRUCTION = 60
_HEAD = ("LAYER", "SIZE", "ADDS", "CHANGES", "HIDES", "WASTES", "INSTRUCTION")


def run(call: Call) -> int:
    values = call.values
    if values.text("format") not in ("", "table", "json"):
        raise Failed(f"--format {values.text('format')!r}: give table or json")
    wanted = asked_platform(values.text("platform"))
    path = f"/images/{quote(call.operands[0], b'/:@')}/layers"
    layers: list[dict[str, Any]] = call.engine.get(path, top=values.get("top"), platform=wanted)
    if values.text("format") == "json":
        call.say(json.dumps(layers, indent=2, ensure_ascii=False))
        return 0
    rows = [_row(one, values.on("no-trunc")) for one in layers]
    widths = [max(len(row[column]) for row in [_HEAD, *rows]) for column in range(len(_HEAD) - 1)]
    call.say(_line(_HEAD, widths))
    for layer, row in zip(layers, rows, strict=True):
        call.say(_line(row, widths))
        for name, sign in _KINDS:
            for file in layer[name]["Largest"]:
                call.say(f"    {sign} {units.size(file['Size']):>8}  {file['Path']}")
    call.say(_sum(layers))
    return 0


def _row(layer: dict[str, Any], full: bool) -> tuple[str, ...]:
    by = " ".join(layer["Instruction"].split()) or "-"
    return (
        layer["Id"] if full else short_id(layer["Id"]),
        units.size(layer["Size"]),
        *(_tally(layer[name]) for name in ("Adds", "Changes", "Hides")),
        units.size(layer["Wastes"]["Size"]),
        by if full else ellipsis(by, _INSTRUCTION),
    )


def _tally(tally: dict[str, Any]) -> str:
    return f"{tally['Names']} ({units.size(tally['Size'])})" if tally["Names"] else "-"


def _line(row: tuple[str, ...], widths: list[int]) -> str:
    *cells, last = row
    return "   ".join([*(f"{cell:<{width}}" for cell, width in zip(cells, widths, strict=True)), last])


def _sum(layers: list[dict[str, Any]]) -> str:
    stored = sum(layer["Size"] for layer in layers)
    wasted = sum(layer["Wastes"]["Size"] for layer in layers)
    share = f" ({100 * wasted / stored:.1f}%)" if wasted else ""
    return f"{units.size(stored)} in {len(layers)} layers, {units.size(wasted)}{share} of it is never seen"


COMMANDS = {
    "image layers": Command(
        "image layers",
        run,
        "IMAGE",
        (
            flags.text("format", 'Format output: "table" (with the largest files) or "json"'),
            flags.switch("no-trunc", "Don't truncate output"),
            flags.text("platform", 'Show the layers of this platform (e.g., "linux/amd64")'),
            flags.number("top", "How many of the largest files to name of each kind", default=3),
        ),
        least=1,
        most=1,
    )
}
