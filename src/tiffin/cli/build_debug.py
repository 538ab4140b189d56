"""`tiffin builder debug`, and what `tiffin build --debug` does when a step fails: a shell in what it has left."""

from __future__ import annotations

from tiffin.cli import flags, run, signals, terminal, units
from tiffin.cli.command import Call, Command, Failed
from tiffin.cli.streams import Attachment
from tiffin.errors import NotFound

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

_SHORT = 12
DETAIL = "tiffin.build.failed"
"""The type of an error's detail that names the failed step."""


def hint(identifier: str) -> str:
    """How a step is opened later."""
    return f"To open a shell in the step that failed: tiffin builder debug {identifier[:_SHORT]}"


def on_terminal() -> bool:
    return terminal.is_terminal(terminal.STDIN) and terminal.is_terminal(terminal.STDOUT)


def open_shell(call: Call, identifier: str, command: list[str]) -> None:
    """Until it ends. Its files go with it."""
    engine = call.engine
    rows, columns = terminal.size()
    hijacked = engine.hijack("/build/failed/shell", {"id": identifier, "cmd": command, "h": rows, "w": columns})
    session = Attachment(
        hijacked, tty=True, stdin=True, on_resize=lambda: run.resize(engine, f"/build/failed/{identifier}")
    )
    call.session.flush()
    with signals.Caught(signals.wanted(forward=False, resize=True)) as bell:
        session.run(bell)


def debug(call: Call) -> int:
    """The newest of the steps that failed, or the one whose ID begins so."""
    listed: list[dict[str, Any]] = call.engine.get("/build/failed")
    if call.values.on("list"):
        for one in listed:
            size, when = units.size(one["Size"]), units.ago(one["Created"])
            call.say(f"{one['Id'][:_SHORT]}   {when:<20} exit {one['ExitCode']:<3}  {size:>8}   {one['Step']}")
        return 0
    wanted, command = (call.operands[0], call.operands[1:]) if call.operands else ("", [])
    found = [one for one in listed if one["Id"].startswith(wanted)]
    if not found or (wanted and len(found) > 1):
        raise NotFound(f"no failed step {wanted or 'is kept'}: `tiffin builder debug --list` shows those that are")
    if not on_terminal():
        raise Failed("the input device is not a TTY: a shell in a failed step needs a terminal")
    call.say(f"{found[0]['Step']}: exit code {found[0]['ExitCode']}")
    open_shell(call, found[0]["Id"], command)
    return 0


COMMANDS = {
    "builder debug": Command(
        "builder debug",
        debug,
        "[STEP [COMMAND] [ARG...]]",
        (flags.switch("list", "List the failed steps whose files are kept, newest first", "l"),),
        least=0,
        most=None,
        interspersed=False,
    )
}
