"""`tiffin exec`."""

from __future__ import annotations

import os

from tiffin.cli import flags, flags_process, run, signals, terminal
from tiffin.cli.command import Call, Command, Failed
from tiffin.cli.streams import Attachment, Detached
from tiffin.client.engine import quote
from tiffin.errors import TiffinError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


def _config(call: Call, keys: str) -> dict[str, Any]:
    values = call.values
    attached = not values.on("detach")
    return {
        "User": values.text("user"),
        "Privileged": values.on("privileged"),
        "Tty": values.on("tty"),
        "AttachStdin": attached and values.on("interactive"),
        "AttachStdout": attached,
        "AttachStderr": attached,
        "DetachKeys": keys,
        "Env": flags_process.read_pairs(values.list("env-file"), os.environ.get) + values.list("env"),
        "WorkingDir": values.text("workdir"),
        "Cmd": call.operands[1:],
    }


def execute(call: Call) -> int:
    values, engine = call.values, call.engine
    # what they may be is the daemon's to say
    text = call.values.text("detach-keys") or call.session.settings.text("detachKeys")
    config = _config(call, text)
    container = quote(call.operands[0])
    if not values.on("detach"):
        # before anything is created: a mistake of ours must leave no half-made exec behind
        run.check_terminal(config["AttachStdin"], config["Tty"])
    if config["Tty"]:
        config["ConsoleSize"] = list(terminal.size())
    created = engine.post(f"/containers/{container}/exec", config)
    identifier = created["Id"]
    start = {"Detach": values.on("detach"), "Tty": config["Tty"]}
    if config["Tty"] and engine.at_least("1.42") and any(terminal.size()):
        start["ConsoleSize"] = list(terminal.size())
    if values.on("detach"):
        try:
            engine.post(f"/exec/{identifier}/start", start)
        except TiffinError as error:
            raise Failed(str(error)) from error
        return 0
    return _attached(call, identifier, config, start, run.keys(call)[1])


def _attached(call: Call, identifier: str, config: dict[str, Any], start: dict[str, Any], sequence: bytes) -> int:
    engine = call.engine
    try:
        hijacked = engine.hijack(f"/exec/{identifier}/start", None, start)
    except TiffinError as error:
        # a daemon may refuse before the stream begins: the status is then in its words
        raise Failed(str(error), run.start_status(str(error)) if "OCI runtime" in str(error) else 1) from error
    on_terminal = config["Tty"] and terminal.is_terminal(terminal.STDOUT)
    path = f"/exec/{identifier}"
    if on_terminal and not engine.at_least("1.42"):
        run.resize(engine, path)
    session = Attachment(
        hijacked,
        tty=config["Tty"],
        stdin=config["AttachStdin"],
        keys=sequence,
        on_resize=(lambda: run.resize(engine, path)) if on_terminal else None,
    )
    call.session.flush()
    try:
        with signals.Caught(signals.wanted(forward=False, resize=on_terminal)) as bell:
            session.run(bell)
    except Detached as detached:
        raise Failed("read escape sequence") from detached
    return int(engine.get(f"{path}/json")["ExitCode"] or 0)


COMMANDS = {
    "container exec": Command(
        "container exec",
        execute,
        "CONTAINER COMMAND [ARG...]",
        (
            flags.switch("detach", "Run the command in the background", "d"),
            flags.text("detach-keys", "Keys that detach from the container"),
            *flags_process.EXEC_ENVIRONMENT,
            flags.switch("interactive", "Keep STDIN open even if not attached", "i"),
            flags.switch("privileged", "Give the command every capability"),
            flags.switch("tty", "Allocate a pseudo-TTY", "t"),
            flags.text("user", 'Username or UID (format: "<name|uid>[:<group|gid>]")', "u"),
            flags.text("workdir", "Working directory inside the container", "w"),
        ),
        least=2,
        most=None,
        interspersed=False,
    )
}
