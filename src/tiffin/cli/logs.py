"""`tiffin logs`."""

from __future__ import annotations

import os

from tiffin.cli import flags, terminal, units
from tiffin.cli.command import Call, Command, Failed
from tiffin.client import frames
from tiffin.client.engine import quote


def write_all(descriptor: int, data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(descriptor, view) :]


def _time(flag: str, text: str) -> str | None:
    if not text:
        return None
    try:
        return units.query_time(text)
    except ValueError as error:
        raise Failed(f'invalid value for "{flag}": failed to parse value as time or duration: "{text}"') from error


def run(call: Call) -> int:
    values = call.values
    name = call.operands[0]
    query = {
        "stdout": True,
        "stderr": True,
        "follow": values.on("follow"),
        "timestamps": values.on("timestamps"),
        "details": values.on("details"),
        "tail": values.text("tail"),
        "since": _time("since", values.text("since")),
        "until": _time("until", values.text("until")),
    }
    # whether the log is framed depends on the container, not on the answer's headers: older daemons send none
    container = call.engine.get(f"/containers/{quote(name)}/json")
    response = call.engine.request("GET", f"/containers/{container['Id']}/logs", query)
    call.session.flush()
    if container["Config"]["Tty"]:
        for piece in response.chunks():
            write_all(terminal.STDOUT, piece)
        return 0
    for stream, part in frames.split(response.chunks()):
        write_all(terminal.STDERR if stream >= frames.STDERR else terminal.STDOUT, part)
    return 0


_STAMP = '(e.g. "2013-01-02T13:23:37Z") or how long ago (e.g. "42m")'

COMMANDS = {
    "container logs": Command(
        "container logs",
        run,
        "CONTAINER",
        (
            flags.switch("details", "Show extra details provided to logs"),
            flags.switch("follow", "Follow log output", "f"),
            flags.text("since", f"Show logs since a time {_STAMP}"),
            flags.text("tail", "Number of lines to show from the end of the logs", "n", "all"),
            flags.switch("timestamps", "Show timestamps", "t"),
            flags.text("until", f"Show logs before a time {_STAMP}"),
        ),
        least=1,
        most=1,
    )
}
