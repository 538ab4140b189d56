"""A container's files as a whole: `tiffin diff`, `tiffin export`, `tiffin commit`."""

from __future__ import annotations

import os

from tiffin.cli import flags, references, terminal
from tiffin.cli.command import Call, Command, Failed
from tiffin.cli.logs import write_all
from tiffin.client.engine import quote

TYPE_CHECKING = False
if TYPE_CHECKING:
    from tiffin.client.wire_http import Response

_KINDS = "CAD"


def diff(call: Call) -> int:
    if not call.operands[0]:
        raise Failed("Container name cannot be empty")
    for change in call.engine.get(f"/containers/{quote(call.operands[0])}/changes") or []:
        call.say(f"{_KINDS[change['Kind']]} {change['Path']}")
    return 0


def check_output(path: str) -> None:
    """Refuse a place that can't be written to, before the daemon is asked for gigabytes."""
    folder = os.path.dirname(path) or "."
    if not os.path.exists(folder):
        raise Failed(f"invalid output path: stat {folder}: no such file or directory")
    if os.path.exists(path):
        if os.path.isdir(path):
            raise Failed("cannot write to a directory")
        if not os.path.isfile(path):
            raise Failed(f'invalid output path: "{path}" must be a directory or a regular file')


def receive(call: Call, response: Response, path: str) -> None:
    """A stream to a file, which appears only when it is whole, or to standard output."""
    call.session.flush()
    if not path:
        for piece in response.chunks():
            write_all(terminal.STDOUT, piece)
        return
    temporary = f"{path}.tiffin-{os.getpid()}"
    try:
        with open(temporary, "xb") as file:
            for piece in response.chunks():
                file.write(piece)
        os.replace(temporary, path)
    except BaseException:
        if os.path.exists(temporary):
            os.unlink(temporary)
        raise


def refuse_terminal(path: str, what: str) -> None:
    if not path and terminal.is_terminal(terminal.STDOUT):
        raise Failed(f"cowardly refusing to save to a terminal. Use the -o flag or redirect{what}")


def export(call: Call) -> int:
    path = call.values.text("output")
    refuse_terminal(path, "")
    if path:
        try:
            check_output(path)
        except Failed as error:
            raise Failed(f"failed to export container: {error}") from error
    receive(call, call.engine.request("GET", f"/containers/{quote(call.operands[0])}/export"), path)
    return 0


def split_reference(name: str) -> tuple[str, str]:
    """`repository`, `tag` (empty for none)."""
    head, slash, last = name.rpartition("/")
    repository, _, tag = last.partition(":")
    return f"{head}{slash}{repository}", tag


def commit(call: Call) -> int:
    values = call.values
    if not call.operands[0].strip():
        raise Failed("invalid container name or ID: value is empty")
    if len(call.operands) > 1 and call.operands[1]:
        references.check(call.operands[1])
    repository, tag = split_reference(call.operands[1]) if len(call.operands) > 1 else ("", "")
    query = {
        "container": call.operands[0],
        "repo": repository,
        "tag": tag,
        "comment": values.text("message"),
        "author": values.text("author"),
        "changes": values.list("change"),
        # the daemon pauses unless it is told not to
        "pause": None if values.on("pause") else "0",
    }
    call.say(call.engine.call("POST", "/commit", query, {})["Id"])
    return 0


def change_flag() -> flags.Flag:
    return flags.several("change", "Apply a Dockerfile instruction to the image", "c")


COMMANDS = {
    "container diff": Command("container diff", diff, "CONTAINER", least=1, most=1),
    "container export": Command(
        "container export",
        export,
        "CONTAINER",
        (flags.text("output", "Write to a file, instead of STDOUT", "o"),),
        least=1,
        most=1,
    ),
    "container commit": Command(
        "container commit",
        commit,
        "CONTAINER [REPOSITORY[:TAG]]",
        (
            flags.text("author", 'Author (e.g., "John Hannibal Smith <hannibal@a-team.com>")', "a"),
            change_flag(),
            flags.text("message", "Commit message", "m"),
            flags.switch("pause", "Pause the container meanwhile", "p", default=True),
        ),
        least=1,
        most=2,
    ),
}
