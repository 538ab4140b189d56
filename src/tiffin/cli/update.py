"""`tiffin update`."""

from __future__ import annotations

from tiffin.cli import flags, flags_process, flags_resources
from tiffin.cli.command import Call, Command, Failed
from tiffin.cli.flags import Flag
from tiffin.cli.kinds import BYTES
from tiffin.cli.lifecycle import MANY
from tiffin.client.engine import quote
from tiffin.errors import TiffinError


def update(call: Call) -> int:
    values = call.values
    if not any(values.changed(flag.name) for flag in _FLAGS):
        raise Failed("you must provide one or more flags when using this command")
    body = flags_resources.shared(values)
    if not values.number("pids-limit"):
        # zero means, as with docker, that it stays as it is
        body["PidsLimit"] = None
    body["RestartPolicy"] = flags_process.restart_policy(values.text("restart"))
    warnings: list[str] = []
    failures: list[str] = []
    for name in call.operands:
        try:
            answer = call.engine.post(f"/containers/{quote(name)}/update", body)
        except TiffinError as error:
            failures.append(str(error))
            continue
        call.say(name)
        warnings += answer.get("Warnings") or []
    if warnings:
        call.say("\n".join(warnings))
    if failures:
        raise Failed("\n".join(failures))
    return 0


_FLAGS: tuple[Flag, ...] = (
    *(flag for flag in flags_resources.SHARED if flag.name != "kernel-memory"),
    Flag("kernel-memory", BYTES, "Kernel memory limit", hidden=True),
    flags.text("restart", "Restart policy to apply when the container exits"),
)

COMMANDS = {"container update": Command("container update", update, MANY, _FLAGS, least=1, most=None)}
