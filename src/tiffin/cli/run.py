"""`tiffin run`: create, attach, start, and end with the container's own status."""

from __future__ import annotations

from tiffin.cli import create, flags, signals, terminal
from tiffin.cli.command import Call, Command, Failed
from tiffin.cli.streams import Attachment, Detached
from tiffin.errors import TiffinError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from tiffin.client.engine import Engine
    from tiffin.client.wire_http import Response


def start_status(message: str) -> int:
    """What `run` ends with when the container can't be started: 127 not found, 126 not executable, else 125."""
    if "executable file not found" in message or "no such file or directory" in message:
        return 127
    if "permission denied" in message or "is a directory" in message:
        return 126
    return 125


class Waiting:
    """A pending answer of /wait, asked for before the container starts so that no exit is missed."""

    def __init__(self, engine: Engine, container: str, condition: str) -> None:
        self._engine = engine.fork()
        self._response: Response = self._engine.request(
            "POST", f"/containers/{container}/wait", {"condition": condition}
        )

    def fileno(self) -> int:
        return self._response.connection.socket.fileno()

    def status(self, call: Call) -> int:
        """Blocks until the container has ended (and is removed, if that was the condition)."""
        import json

        answer = json.loads(self._response.read() or b"{}")
        error = (answer.get("Error") or {}).get("Message")
        if error:
            call.warn(f"Error waiting for container: {error}")
            return 125
        return int(answer.get("StatusCode", 0))


def resize(engine: Engine, path: str) -> None:
    """Tell the daemon the terminal's size; failures are no concern (the container may be gone)."""
    rows, columns = terminal.size()
    if rows or columns:
        try:
            engine.call("POST", f"{path}/resize", {"h": rows, "w": columns})
        except TiffinError:
            pass


def check_terminal(stdin: bool, tty: bool) -> None:
    if stdin and tty and not terminal.is_terminal(terminal.STDIN):
        raise Failed("the input device is not a TTY")


def keys(call: Call) -> tuple[str, bytes]:
    """The detach keys as text for the daemon and as bytes for us."""
    text = call.values.text("detach-keys") or call.session.settings.text("detachKeys")
    try:
        return text, terminal.detach_keys(text)
    except ValueError as error:
        raise Failed(f"invalid detach keys provided: {error}") from error


def forward(engine: Engine, container: str, number: int) -> None:
    try:
        engine.call("POST", f"/containers/{container}/kill", {"signal": signals.name(number)})
    except TiffinError:
        pass


def run(call: Call) -> int:
    values = call.values
    made = create.configure(call)
    if values.on("detach"):
        if values.list("attach"):
            raise Failed("conflicting options: cannot specify both --attach and --detach")
        made.update(AttachStdin=False, AttachStdout=False, AttachStderr=False, StdinOnce=False)
    else:
        check_terminal(made["AttachStdin"], made["Tty"])
    try:
        container = create.create(call, made)
    except TiffinError as error:
        raise create.with_help(call, error, start_status(str(error))) from error
    if not (made["AttachStdin"] or made["AttachStdout"] or made["AttachStderr"]):
        call.say(container)
        call.session.flush()
        _start(call, container, None)
        return 0
    return _attached(call, made, container)


def _start(call: Call, container: str, waiting: Waiting | None) -> None:
    try:
        call.engine.call("POST", f"/containers/{container}/start")
    except TiffinError as error:
        if waiting is not None and call.values.on("rm"):
            waiting.status(call)
        raise create.with_help(call, error, start_status(str(error))) from error


def _attached(call: Call, made: dict[str, Any], container: str) -> int:
    engine = call.engine
    text, sequence = keys(call)
    query = {
        "stream": True,
        "stdin": made["AttachStdin"],
        "stdout": made["AttachStdout"],
        "stderr": made["AttachStderr"],
        "detachKeys": text or None,
    }
    hijacked = engine.hijack(f"/containers/{container}/attach", query)
    waiting = Waiting(engine, container, "removed" if call.values.on("rm") else "next-exit")
    proxy = call.values.on("sig-proxy")
    on_terminal = made["Tty"] and terminal.is_terminal(terminal.STDOUT)
    session = Attachment(
        hijacked,
        tty=made["Tty"],
        stdin=made["AttachStdin"],
        output=made["AttachStdout"] or made["AttachStderr"],
        keys=sequence,
        on_signal=(lambda number: forward(engine, container, number)) if proxy else None,
        on_resize=(lambda: resize(engine, f"/containers/{container}")) if on_terminal else None,
        until=waiting.fileno(),
    )
    # from here on a signal is the container's, not ours: one that comes during the start waits for the loop
    with signals.Caught(signals.wanted(forward=proxy, resize=on_terminal)) as bell:
        _start(call, container, waiting)
        if on_terminal:
            resize(engine, f"/containers/{container}")
        try:
            session.run(bell)
        except Detached:
            return 0
    return waiting.status(call)


COMMANDS = {
    "container run": Command(
        "container run",
        run,
        "IMAGE [COMMAND] [ARG...]",
        (
            *create.CONTAINER_FLAGS,
            *create.pull_flags("running"),
            flags.switch("detach", "Run in the background and print the container ID", "d"),
            flags.text("detach-keys", "Keys that detach from the container"),
            flags.switch("sig-proxy", "Pass received signals on to the process", default=True),
        ),
        least=1,
        most=None,
        interspersed=False,
    )
}
