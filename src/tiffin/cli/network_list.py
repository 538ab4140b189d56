"""`tiffin network ls`."""

from __future__ import annotations

from tiffin.cli import flags, units
from tiffin.cli.command import Call, Command
from tiffin.cli.container_list import labels_text, short_id
from tiffin.cli.flags import Flag
from tiffin.cli.formats import table_format
from tiffin.cli.kinds import FILTER
from tiffin.cli.table import Format, Row, show

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

HEADERS = {
    "ID": "NETWORK ID",
    "Name": "NAME",
    "Driver": "DRIVER",
    "Scope": "SCOPE",
    "IPv4": "IPV4",
    "IPv6": "IPV6",
    "Internal": "INTERNAL",
    "Labels": "LABELS",
    "CreatedAt": "CREATED AT",
}


_RAW = "network_id: {{.ID}}\nname: {{.Name}}\ndriver: {{.Driver}}\nscope: {{.Scope}}\n"


def _flag(value: object) -> str:
    return "true" if value else "false"


def _created(text: str) -> str:
    stamp = units.go_time(units.parse_stamp(text))
    _, dot, rest = text.partition(".")
    digits = rest[: len(rest) - len(rest.lstrip("0123456789"))].rstrip("0") if dot else ""
    return stamp[:19] + (f".{digits}" if digits else "") + stamp[19:]


def _row(network: dict[str, Any], full: bool) -> Row:
    labels = network.get("Labels") or {}
    return Row(
        {
            "ID": network["Id"] if full else short_id(network["Id"]),
            "Name": network["Name"],
            "Driver": network["Driver"],
            "Scope": network.get("Scope", ""),
            "IPv4": _flag(network.get("EnableIPv4")),
            "IPv6": _flag(network.get("EnableIPv6")),
            "Internal": _flag(network.get("Internal")),
            "Labels": labels_text(labels),
            "CreatedAt": lambda: _created(network.get("Created", "")),
        },
        {"Label": lambda name: labels.get(name, "")},
        "*network.networkContext",
    )


def run(call: Call) -> int:
    values = call.values
    networks = call.engine.get("/networks", filters=values.get("filter") or None)
    networks.sort(key=lambda network: network["Name"])
    full = values.on("no-trunc")
    text = values.text("format")
    if values.on("quiet") and not text:
        for network in networks:
            call.say(network["Id"] if full else short_id(network["Id"]))
        return 0
    text = text or call.session.settings.text("networksFormat") or "table"
    rows = [_row(network, full) for network in networks]
    show(call, Format(text, "{{.ID}}\t{{.Name}}\t{{.Driver}}\t{{.Scope}}", raw=_RAW), HEADERS, rows)
    return 0


COMMANDS = {
    "network ls": Command(
        "network ls",
        run,
        "",
        (
            Flag("filter", FILTER, 'Show only what these conditions fit (e.g. "driver=bridge")', short="f"),
            table_format(),
            flags.switch("no-trunc", "Do not truncate the output"),
            flags.switch("quiet", "Only display network IDs", "q"),
        ),
    )
}
