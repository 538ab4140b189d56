"""`tiffin attach`."""

from __future__ import annotations

from tiffin.cli import flags, run, signals, terminal
from tiffin.cli.command import Call, Command, Failed
from tiffin.cli.streams import Attachment, Detached
from tiffin.client.engine import quote

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


def check_state(container: dict[str, Any]) -> None:
    state = container["State"]
    if not state["Running"]:
        raise Failed("You cannot attach to a stopped container, start it first")
    if state["Paused"]:
        raise Failed("You cannot attach to a paused container, unpause it first")
    if state["Restarting"]:
        raise Failed("You cannot attach to a restarting container, wait until it is running")


def attach(call: Call) -> int:
    values, engine = call.values, call.engine
    container = engine.get(f"/containers/{quote(call.operands[0])}/json")
    check_state(container)
    identifier, config = container["Id"], container["Config"]
    tty, stdin = config["Tty"], config["OpenStdin"] and not values.on("no-stdin")
    run.check_terminal(stdin, tty)
    text, sequence = run.keys(call)
    query = {"stream": True, "stdin": stdin, "stdout": True, "stderr": True, "detachKeys": text or None}
    # asked first, so that an exit between the two is not missed
    waiting = run.Waiting(engine, identifier, "not-running")
    hijacked = engine.hijack(f"/containers/{identifier}/attach", query)
    on_terminal = tty and terminal.is_terminal(terminal.STDOUT)
    path = f"/containers/{identifier}"
    if on_terminal:
        # a size that differs makes the program inside draw itself again
        rows, columns = terminal.size()
        engine.call("POST", f"{path}/resize", {"h": rows + 1, "w": columns + 1})
        run.resize(engine, path)
    session = Attachment(
        hijacked,
        tty=tty,
        stdin=stdin,
        keys=sequence,
        on_signal=(lambda number: run.forward(engine, identifier, number)) if values.on("sig-proxy") else None,
        on_resize=(lambda: run.resize(engine, path)) if on_terminal else None,
    )
    try:
        with signals.Caught(signals.wanted(forward=values.on("sig-proxy"), resize=on_terminal)) as bell:
            session.run(bell)
    except Detached as detached:
        raise Failed("read escape sequence") from detached
    return waiting.status(call)


COMMANDS = {
    "container attach": Command(
        "container attach",
        attach,
        "CONTAINER",
        (
            flags.text("detach-keys", "Keys that detach from the container"),
            flags.switch("no-stdin", "Do not attach STDIN"),
            flags.switch("sig-proxy", "Pass received signals on to the process", default=True),
        ),
        least=1,
        most=1,
    )
}
