"""Images as files and names: `tiffin load`, `save`, `import`, `tag`, `rmi`."""

from __future__ import annotations

import os
import sys

from tiffin.cli import flags, progress, references, terminal
from tiffin.cli.command import Call, Command, Failed
from tiffin.cli.container_files import change_flag, check_output, receive, refuse_terminal
from tiffin.cli.flags import Flag
from tiffin.cli.inspect import asked_platform, platform
from tiffin.cli.kinds import STRINGS
from tiffin.client.engine import quote
from tiffin.errors import NotFound, TiffinError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import BinaryIO

_PIECE = 1 << 20
_KEPT = b"/:@"


def pieces(file: BinaryIO) -> Iterator[bytes]:
    while data := file.read(_PIECE):
        yield data


def open_file(path: str) -> BinaryIO:
    """For reading. Raises Failed."""
    try:
        return open(path, "rb", buffering=0)
    except OSError as error:
        raise Failed(f"open {path}: {os.strerror(error.errno or 0).lower()}") from error


def load(call: Call) -> int:
    values = call.values
    path = values.text("input")
    if not path and terminal.is_terminal(terminal.STDIN):
        raise Failed("requested load from stdin, but stdin is empty")
    wanted = asked_platform(values.text("platform"))
    # progress is drawn on a terminal only
    quiet = values.on("quiet") or not terminal.is_terminal(terminal.STDOUT)
    source = open_file(path) if path else sys.stdin.buffer
    query = {"quiet": "1" if quiet else "0", "platform": wanted}
    documents = call.engine.documents(
        "POST", "/images/load", query, pieces(source), {"Content-Type": "application/x-tar"}
    )
    progress.show(call.session, documents)
    return 0


def save(call: Call) -> int:
    values = call.values
    path = values.text("output")
    refuse_terminal(path, "")
    if path:
        try:
            check_output(path)
        except Failed as error:
            raise Failed(f"failed to save image: {error}") from error
    wanted = asked_platform(values.text("platform"))
    query = {"names": call.operands, "platform": wanted}
    receive(call, call.engine.request("GET", "/images/get", query), path)
    return 0


def import_image(call: Call) -> int:
    values = call.values
    source = call.operands[0]
    reference = call.operands[1] if len(call.operands) > 1 else ""
    if reference:
        references.check(reference)
    repository, tag = references.split(reference)
    query = {
        "fromSrc": source,
        "repo": repository,
        "tag": tag or None,
        "message": values.text("message"),
        "changes": values.list("change"),
        "platform": values.text("platform") or None,
    }
    body = None
    if source == "-":
        body = pieces(sys.stdin.buffer)
    elif not source.startswith(("http://", "https://", "git://", "github.com/", "git@")):
        query["fromSrc"] = "-"
        body = pieces(open_file(source))
    headers = {"Content-Type": "text/plain"}
    progress.show(call.session, call.engine.documents("POST", "/images/create", query, body, headers))
    return 0


def tag(call: Call) -> int:
    source, target = call.operands
    for name in (source, target):
        try:
            references.check(name)
        except TiffinError as error:
            raise Failed(f'Error parsing reference: "{name}" is not a valid repository/tag: {error}') from error
    repository, name = references.split(target)
    call.engine.post(f"/images/{quote(source, _KEPT)}/tag", repo=repository, tag=name or "latest")
    return 0


def remove(call: Call) -> int:
    values = call.values
    failures, only_missing = [], True
    wanted = [platform(text) for text in values.list("platform")]
    for name in call.operands:
        query = {"force": values.on("force"), "noprune": values.on("no-prune"), "platforms": wanted or None}
        try:
            answer = call.engine.delete(f"/images/{quote(name, _KEPT)}", **query)
        except TiffinError as error:
            failures.append(str(error))
            only_missing = only_missing and isinstance(error, NotFound)
            continue
        for item in answer:
            call.say(f"Deleted: {item['Deleted']}" if item.get("Deleted") else f"Untagged: {item['Untagged']}")
    if failures:
        if values.on("force") and only_missing:
            call.warn("\n".join(failures))
            return 0
        raise Failed("\n".join(failures))
    return 0


_PLATFORM = 'this platform only (e.g., "linux/amd64")'

COMMANDS = {
    "image load": Command(
        "image load",
        load,
        "",
        (
            flags.text("input", "Read from tar archive file, instead of STDIN", "i"),
            flags.text("platform", f"Load {_PLATFORM}"),
            flags.switch("quiet", "Suppress the load output", "q"),
        ),
    ),
    "image save": Command(
        "image save",
        save,
        "IMAGE [IMAGE...]",
        (
            flags.text("output", "Write to a file, instead of STDOUT", "o"),
            flags.text("platform", f"Save {_PLATFORM}"),
        ),
        least=1,
        most=None,
    ),
    "image import": Command(
        "image import",
        import_image,
        "file|URL|- [REPOSITORY[:TAG]]",
        (
            change_flag(),
            flags.text("message", "Set commit message for imported image", "m"),
            flags.text("platform", "Set platform if the daemon can run several"),
        ),
        least=1,
        most=2,
    ),
    "image tag": Command("image tag", tag, "SOURCE_IMAGE[:TAG] TARGET_IMAGE[:TAG]", least=2, most=2),
    "image rm": Command(
        "image rm",
        remove,
        "IMAGE [IMAGE...]",
        (
            flags.switch("force", "Force removal of the image", "f"),
            flags.switch("no-prune", "Do not delete untagged parents"),
            Flag("platform", STRINGS, f"Remove {_PLATFORM}"),
        ),
        least=1,
        most=None,
    ),
}
