"""`tiffin images --tree`: each image with the platforms that are to be had of it. Docker's columns, no colours.

DISK USAGE is what a platform takes here, CONTENT SIZE what its blobs have; both are 0B for one that isn't here.
"""

from __future__ import annotations

from tiffin.cli import units
from tiffin.cli.command import Call, Failed
from tiffin.cli.container_list import short_id

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any

_UNSUPPORTED = {"quiet": "quiet", "no-trunc": "no-trunc", "digests": "show-digest", "format": "format"}
_GAP = "   "


def show(call: Call, filters: dict[str, list[str]]) -> int:
    """Asks the daemon and prints. Failed for flags that a tree has no place for."""
    values = call.values
    for flag, name in _UNSUPPORTED.items():
        if values.text("format") if flag == "format" else values.on(flag):
            raise Failed(f"--{name} is not yet supported with --tree")
    if not call.engine.at_least("1.47"):
        raise Failed("--tree needs a daemon with API version 1.47")
    images = call.engine.get("/images/json", all=values.on("all") or None, filters=filters or None, manifests=True)
    call.warn("WARNING: This is an experimental feature. The output may change and shouldn't be depended on.")
    rows = [list(_rows(image)) for image in images]
    width = max((len(row[0]) for group in rows for row in group), default=len("IMAGE"))
    call.say(_line(("IMAGE", "ID", "DISK USAGE", "CONTENT SIZE", "EXTRA"), width))
    for group in rows:
        for row in group:
            call.say(_line(row, width))
        call.say("")
    return 0


_Row = tuple[str, str, str, str, str]


def _rows(image: dict[str, Any]) -> Iterator[_Row]:
    """The image's names, each on a line, the facts beside the last; then its platforms."""
    children = [one for one in image.get("Manifests") or [] if one["Kind"] == "image"]
    used = image.get("Containers", 0) > 0 or any(one["ImageData"]["Containers"] for one in children)
    content = sum(one["Size"]["Content"] for one in children)
    *names, last = image.get("RepoTags") or ["<untagged>"]
    for name in names:
        yield name, "", "", "", ""
    yield _row(last, image["Id"], image.get("Size", 0), content, used)
    for one in children:
        branch = "└─ " if one is children[-1] else "├─ "
        data, size = one["ImageData"], one["Size"]
        name = branch + _platform(data["Platform"])
        yield _row(name, one["ID"], size["Total"], size["Content"], bool(data["Containers"]))


def _row(name: str, identifier: str, disk: int, content: int, used: bool) -> _Row:
    return name, short_id(identifier), units.size(disk), units.size(content), "U" if used else ""


def _platform(values: dict[str, str]) -> str:
    return "/".join(values[key] for key in ("os", "architecture", "variant") if values.get(key))


def _line(row: _Row, width: int) -> str:
    name, identifier, disk, content, extra = row
    return _GAP.join((f"{name:{width}}", f"{identifier:12}", f"{disk:>10}", f"{content:>12}", extra)).rstrip()
