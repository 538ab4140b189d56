"""`tiffin start`."""

from __future__ import annotations

from tiffin.cli import flags, run, signals, terminal
from tiffin.cli.command import Call, Command, Failed
from tiffin.cli.lifecycle import MANY, post
from tiffin.cli.streams import Attachment, Detached
from tiffin.client.engine import quote
from tiffin.errors import TiffinError, Unsupported


def start(call: Call) -> int:
    values = call.values
    if values.text("checkpoint") or values.text("checkpoint-dir"):
        raise Unsupported("checkpoints are not supported by tiffin")
    if not (values.on("attach") or values.on("interactive")):
        return _start_all(call)
    if len(call.operands) > 1:
        raise Failed("you cannot start and attach multiple containers at once")
    return _start_attached(call, call.operands[0])


def _start_all(call: Call) -> int:
    failed = []
    for name in call.operands:
        try:
            post(call, name, "start")
        except TiffinError as error:
            call.warn(error)
            failed.append(name)
            continue
        call.say(name)
    if failed:
        raise Failed(f"Error: failed to start containers: {', '.join(failed)}")
    return 0


def _start_attached(call: Call, name: str) -> int:
    values, engine = call.values, call.engine
    container = engine.get(f"/containers/{quote(name)}/json")
    identifier, config = container["Id"], container["Config"]
    tty, stdin = config["Tty"], values.on("interactive") and config["OpenStdin"]
    text, sequence = run.keys(call)
    query = {"stream": True, "stdin": stdin, "stdout": True, "stderr": True, "detachKeys": text or None}
    hijacked = engine.hijack(f"/containers/{identifier}/attach", query)
    removed = (container.get("HostConfig") or {}).get("AutoRemove")
    waiting = run.Waiting(engine, identifier, "removed" if removed else "next-exit")
    # a terminal sends its signals as bytes
    proxy = not tty
    on_terminal = tty and terminal.is_terminal(terminal.STDOUT)
    session = Attachment(
        hijacked,
        tty=tty,
        stdin=stdin,
        keys=sequence,
        on_signal=(lambda number: run.forward(engine, identifier, number)) if proxy else None,
        on_resize=(lambda: run.resize(engine, f"/containers/{identifier}")) if on_terminal else None,
    )
    with signals.Caught(signals.wanted(forward=proxy, resize=on_terminal)) as bell:
        post(call, identifier, "start")
        if on_terminal:
            run.resize(engine, f"/containers/{identifier}")
        try:
            session.run(bell)
        except Detached:
            return 0
    return waiting.status(call)


COMMANDS = {
    "container start": Command(
        "container start",
        start,
        MANY,
        (
            flags.switch("attach", "Attach STDOUT and STDERR and forward signals", "a"),
            flags.text("checkpoint", "Restore from this checkpoint"),
            flags.text("checkpoint-dir", "Where the checkpoint is stored"),
            flags.text("detach-keys", "Keys that detach from the container"),
            flags.switch("interactive", "Attach the container's STDIN", "i"),
        ),
        least=1,
        most=None,
    )
}
