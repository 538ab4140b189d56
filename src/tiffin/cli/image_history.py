"""`tiffin history`."""

from __future__ import annotations

import time

from tiffin.cli import flags, units
from tiffin.cli.command import Call, Command
from tiffin.cli.container_list import ellipsis, short_id
from tiffin.cli.formats import table_format
from tiffin.cli.inspect import asked_platform
from tiffin.cli.table import Format, Row, show
from tiffin.client.engine import quote

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

HEADERS = {
    "ID": "IMAGE",
    "CreatedSince": "CREATED",
    "CreatedAt": "CREATED AT",
    "CreatedBy": "CREATED BY",
    "Size": "SIZE",
    "Comment": "COMMENT",
}
_COLUMNS = "{{.ID}}\t{{.%s}}\t{{.CreatedBy}}\t{{.Size}}\t{{.Comment}}"


def _date(stamp: int) -> str:
    local = time.localtime(stamp)
    zone = time.strftime("%z", local)
    zone = "Z" if zone == "+0000" else f"{zone[:3]}:{zone[3:]}"
    return time.strftime("%Y-%m-%dT%H:%M:%S", local) + zone


def _row(layer: dict[str, Any], full: bool, human: bool) -> Row:
    by = layer.get("CreatedBy", "").replace("\t", " ")
    identifier = layer.get("Id", "")
    created = layer.get("Created", 0)
    since = ""
    if human:
        # images made without a date say the year 1, or 1970
        since = units.ago(created) if created > -62135596800 else "N/A"
    return Row(
        {
            "ID": identifier if full else short_id(identifier) if identifier != "<missing>" else identifier,
            "CreatedSince": since or _date(created),
            "CreatedAt": _date(created),
            "CreatedBy": by if full else ellipsis(by, 45),
            "Size": units.size(layer.get("Size", 0)) if human else str(layer.get("Size", 0)),
            "Comment": layer.get("Comment", ""),
        },
        type_name="*image.historyContext",
    )


def run(call: Call) -> int:
    values = call.values
    wanted = asked_platform(values.text("platform"))
    layers = call.engine.get(f"/images/{quote(call.operands[0], b'/:@')}/history", platform=wanted)
    full, human = values.on("no-trunc"), values.on("human")
    rows = [_row(layer, full, human) for layer in layers]
    if values.on("quiet"):
        for row in rows:
            call.say(row.values["ID"])
        return 0
    show(
        call,
        Format(
            values.text("format") or "table",
            _COLUMNS % ("CreatedSince" if human else "CreatedAt"),
        ),
        HEADERS,
        rows,
    )
    return 0


COMMANDS = {
    "image history": Command(
        "image history",
        run,
        "IMAGE",
        (
            table_format(),
            flags.switch("human", "Print sizes and dates in human readable format", "H", True),
            flags.switch("no-trunc", "Don't truncate output"),
            flags.text("platform", 'Show history of this platform (e.g., "linux/amd64")'),
            flags.switch("quiet", "Only show image IDs", "q"),
        ),
        least=1,
        most=1,
    )
}
