"""`tiffin events`."""

from __future__ import annotations

import time

from tiffin.cli import flags, units
from tiffin.cli.command import Call, Command, Failed
from tiffin.cli.flags import Flag
from tiffin.cli.formats import plain_format
from tiffin.cli.kinds import FILTER
from tiffin.cli.table import Row
from tiffin.cli.template import Template, TemplateError, parse, render
from tiffin.cli.template_values import go_json, mark

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


def _stamp(nanoseconds: int) -> str:
    local = time.localtime(nanoseconds // 10**9)
    zone = time.strftime("%z", local)
    zone = "Z" if zone == "+0000" else f"{zone[:3]}:{zone[3:]}"
    return f"{time.strftime('%Y-%m-%dT%H:%M:%S', local)}.{nanoseconds % 10**9:09}{zone}"


def line(event: dict[str, Any]) -> str:
    """An event for people."""
    actor = event.get("Actor") or {}
    head = _stamp(event["timeNano"]) if event.get("timeNano") else _stamp(event["time"] * 10**9)
    text = f"{head} {event['Type']} {event['Action']} {actor.get('ID', '')}"
    attributes = actor.get("Attributes") or {}
    if attributes:
        text += " (" + ", ".join(f"{key}={attributes[key]}" for key in sorted(attributes)) + ")"
    return text


def _when(text: str) -> str | None:
    try:
        return units.query_time(text) if text else None
    except ValueError as error:
        raise Failed(f'failed to parse value as time or duration: "{text}"') from error


def run(call: Call) -> int:
    values = call.values
    form = values.text("format")
    template = None
    if form and form != "json":
        try:
            template = parse(form.replace("\\t", "\t").replace("\\n", "\n"))
        except TemplateError as error:
            raise Failed(f"Error parsing format: {error}", 64) from error
        _check_fields(template)
    query = {
        "filters": values.get("filter") or None,
        "since": _when(values.text("since")),
        "until": _when(values.text("until")),
    }
    for event in call.engine.documents("GET", "/events", query):
        if form == "json":
            call.say(go_json(event))
        elif template is not None:
            try:
                call.say(render(template, mark(_with_legacy_names(event))))
            except TemplateError as error:
                raise Failed(str(error)) from error
        else:
            call.say(line(event))
        call.session.flush()
    return 0


_FIELDS = ("Status", "ID", "From", "Type", "Action", "Actor", "Scope", "Time", "TimeNano")


def _check_fields(template: Template) -> None:
    """Raises Failed for a field that no event has, before one is waited for."""
    try:
        render(template, Row(dict.fromkeys(_FIELDS), type_name="*events.Message"))
    except TemplateError as error:
        if "can't evaluate field" in str(error) and "*events.Message" in str(error):
            raise Failed(f"Error parsing format: {error}", 64) from error


def _with_legacy_names(event: dict[str, Any]) -> dict[str, Any]:
    """Templates see the names of Go's struct."""
    actor = event.get("Actor") or {}
    more = {
        "Status": event.get("status", event.get("Action")),
        "ID": event.get("id", actor.get("ID")),
        "From": event.get("from", (actor.get("Attributes") or {}).get("image", "")),
        "Scope": event.get("scope", ""),
        "Time": event.get("time"),
        "TimeNano": event.get("timeNano"),
    }
    return {**event, **more}


COMMANDS = {
    "system events": Command(
        "system events",
        run,
        "",
        (
            Flag("filter", FILTER, "Show only what these conditions fit", short="f"),
            plain_format(),
            flags.text("since", "Show all events since a time"),
            flags.text("until", "Stream events until a time"),
        ),
    )
}
