"""Commands that change the state of containers: stop restart kill rm pause unpause wait rename."""

from __future__ import annotations

from tiffin.cli import flags
from tiffin.cli.command import Call, Command, Failed
from tiffin.cli.flags import Flag
from tiffin.cli.kinds import INT
from tiffin.client.engine import quote
from tiffin.errors import NotFound, NotModified, TiffinError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

MANY = "CONTAINER [CONTAINER...]"


def post(call: Call, container: str, action: str, **query: Any) -> None:
    """POST /containers/NAME/ACTION; nothing to do is no failure."""
    try:
        call.engine.post(f"/containers/{quote(container)}/{action}", **query)
    except NotModified:
        pass


def _timeout(call: Call) -> dict[str, Any]:
    values = call.values
    name = "time" if values.changed("time") else "timeout"
    if values.changed("time") and values.changed("timeout"):
        raise Failed("conflicting options: cannot specify both --timeout and --time")
    if name == "time":
        call.say("Flag --time has been deprecated, use --timeout instead")
    seconds = values.number(name) if values.changed(name) else None
    return {"t": seconds, "signal": values.text("signal") or None}


def stop(call: Call) -> int:
    query = _timeout(call)
    return call.each(call.operands, lambda name: post(call, name, "stop", **query))


def restart(call: Call) -> int:
    query = _timeout(call)
    return call.each(call.operands, lambda name: post(call, name, "restart", **query))


def kill(call: Call) -> int:
    signal = call.values.text("signal")
    return call.each(call.operands, lambda name: post(call, name, "kill", signal=signal or None))


def pause(call: Call) -> int:
    return call.each(call.operands, lambda name: post(call, name, "pause"))


def unpause(call: Call) -> int:
    return call.each(call.operands, lambda name: post(call, name, "unpause"))


def remove(call: Call) -> int:
    values = call.values

    def one(given: str) -> None:
        name = given.strip("/")
        if not name:
            raise NotFound("container name cannot be empty")
        query = {"v": values.on("volumes"), "link": values.on("link"), "force": values.on("force")}
        try:
            call.engine.delete(f"/containers/{quote(name)}", **query)
        except NotFound as error:
            # with --force it is enough that the container is gone
            if not values.on("force"):
                raise
            call.warn(error)
            raise _Silent from error

    failures = []
    for operand in call.operands:
        try:
            one(operand)
        except _Silent:
            continue
        except TiffinError as error:
            failures.append(str(error))
            continue
        call.say(operand)
    if failures:
        raise Failed("\n".join(failures))
    return 0


class _Silent(Exception):
    """Reported already, and no failure."""


def wait(call: Call) -> int:
    def one(name: str) -> Any:
        answer = call.engine.post(f"/containers/{quote(name)}/wait")
        error = (answer.get("Error") or {}).get("Message")
        if error:
            raise TiffinError(error)
        return answer["StatusCode"]

    return call.each(call.operands, one)


def rename(call: Call) -> int:
    old, new = (name.strip() for name in call.operands)
    if not old or not new:
        raise Failed("Error: Neither old nor new names may be empty")
    try:
        call.engine.post(f"/containers/{quote(old)}/rename", name=new)
    except TiffinError as error:
        call.warn(error)
        raise Failed(f"Error: failed to rename container named {old}") from error
    return 0


_SIGNAL = flags.text("signal", "Signal to send to the container", "s")
_STOPPING = (
    _SIGNAL,
    flags.number("timeout", "Seconds to wait before killing the container", "t"),
    Flag("time", INT, "Seconds to wait before killing the container", hidden=True),
)

COMMANDS = {
    "container stop": Command("container stop", stop, MANY, _STOPPING, least=1, most=None),
    "container restart": Command("container restart", restart, MANY, _STOPPING, least=1, most=None),
    "container kill": Command("container kill", kill, MANY, (_SIGNAL,), least=1, most=None),
    "container pause": Command("container pause", pause, MANY, least=1, most=None),
    "container unpause": Command("container unpause", unpause, MANY, least=1, most=None),
    "container wait": Command("container wait", wait, MANY, least=1, most=None),
    "container rename": Command("container rename", rename, "CONTAINER NEW_NAME", least=2, most=2),
    "container rm": Command(
        "container rm",
        remove,
        MANY,
        (
            flags.switch("force", "Remove it even if it runs (uses SIGKILL)", "f"),
            flags.switch("link", "Remove the specified link", "l"),
            flags.switch("volumes", "Remove its anonymous volumes too", "v"),
        ),
        least=1,
        most=None,
    ),
}
