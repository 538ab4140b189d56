"""`tiffin cp`: between a container and this machine, through tar archives."""

from __future__ import annotations

import base64
import json
import os
import posixpath
import sys

from tiffin.cli import copy_archive, flags, terminal, units
from tiffin.cli.command import Call, Command, Failed
from tiffin.cli.image_files import pieces
from tiffin.cli.logs import write_all
from tiffin.client.engine import quote
from tiffin.errors import TiffinError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from typing import Any

# Go's FileMode bits
_DIRECTORY, _LINK = 1 << 31, 1 << 27
_IRREGULAR = (1 << 26) | (1 << 25) | (1 << 24) | (1 << 21)


def split(argument: str) -> tuple[str, str]:
    """`(container, path)`; no container for a path of this machine's."""
    if argument.startswith("/"):
        return "", argument
    container, colon, path = argument.partition(":")
    return ("", argument) if not colon or container.startswith(".") else (container, path)


def _local(path: str) -> str:
    """Absolute, with a trailing slash or `/.` kept: it says that a directory's contents are meant."""
    full = os.path.abspath(path)
    if path.endswith("/.") or path == ".":
        return full.rstrip("/") + "/."
    return full.rstrip("/") + "/" if path.endswith("/") else full


class _Counted:
    def __init__(self) -> None:
        self.bytes = 0

    def through(self, stream: Iterable[bytes]) -> Iterator[bytes]:
        for piece in stream:
            self.bytes += len(piece)
            yield piece


def _stat(call: Call, container: str, path: str) -> dict[str, Any]:
    response = call.engine.request("HEAD", f"/containers/{quote(container)}/archive", {"path": path})
    call.engine.release(response)
    return _decode(response.headers)


def _decode(headers: dict[str, str]) -> dict[str, Any]:
    try:
        found: dict[str, Any] = json.loads(base64.b64decode(headers["x-docker-container-path-stat"]))
    except (KeyError, ValueError) as error:
        raise Failed(f"unable to decode container path stat header: {error}") from error
    return found


def _follow(call: Call, container: str, path: str) -> tuple[str, dict[str, Any] | None]:
    """The path behind a symbolic link, and what is there (None: nothing, or nobody can tell: the copy will show it)."""
    try:
        found = _stat(call, container, path)
        if found["mode"] & _LINK:
            target = found.get("linkTarget", "")
            path = target if target.startswith("/") else posixpath.join(posixpath.dirname(path.rstrip("/")), target)
            found = _stat(call, container, path)
    except TiffinError:
        return path, None
    return path, found


def _report(call: Call, count: int, target: str) -> None:
    quiet = call.values.on("quiet") if call.values.changed("quiet") else not terminal.is_terminal(terminal.STDOUT)
    if not quiet:
        call.warn(f"Successfully copied {units.size(count)} to {target}")


def from_container(call: Call, container: str, source: str, target: str) -> int:
    if target != "-":
        target = _local(target)
        parent = os.path.dirname(target.removesuffix(".").rstrip("/"))
        if not os.path.isdir(parent or "/"):
            raise Failed(f'invalid output path: directory "{parent}" does not exist')
        if target.endswith("/") and os.path.isfile(target.rstrip("/")):
            raise Failed(f"stat {target}: not a directory")
        if os.path.exists(target) and not (os.path.isdir(target) or os.path.isfile(target)):
            raise Failed(f'invalid output path: "{target}" must be a directory or a regular file')
    rename = ""
    if call.values.on("follow-link"):
        followed, _ = _follow(call, container, source)
        if followed != source:
            source, rename = followed, posixpath.basename(source.rstrip("/"))
    response = call.engine.request("GET", f"/containers/{quote(container)}/archive", {"path": source})
    if target == "-":
        call.session.flush()
        for piece in response.chunks():
            write_all(terminal.STDOUT, piece)
        return 0
    is_directory = bool(_decode(response.headers)["mode"] & _DIRECTORY)
    counted = _Counted()
    folder, name = destination(target, os.path.isdir(target), os.path.exists(target), is_directory)
    copy_archive.extract(counted.through(response.chunks()), folder, name or rename, call.values.on("archive"))
    call.engine.release(response)
    _report(call, counted.bytes, target)
    return 0


def destination(target: str, is_folder: bool, exists: bool, source_is_folder: bool) -> tuple[str, str]:
    """Where to extract, and the name the copy gets there (empty: its own). Raises Failed.

    The rules are those of `cp -r`, as `docker cp` documents them.
    """
    if is_folder:
        return target, ""
    bare = target.rstrip("/") if not target.endswith("/.") else target[:-2].rstrip("/")
    if exists and source_is_folder:
        raise Failed("cannot copy directory")
    if not exists and not source_is_folder and (bare != target or not bare):
        raise Failed("no such directory")
    return posixpath.dirname(bare) or "/", posixpath.basename(bare)


def to_container(call: Call, source: str, container: str, target: str) -> int:
    resolved, found = _follow(call, container, target)
    if found is not None and found["mode"] & _IRREGULAR:
        raise Failed(f'destination "{container}:{target}" must be a directory or a regular file')
    is_folder = found is not None and bool(found["mode"] & _DIRECTORY)
    counted = _Counted()
    if source == "-":
        if not is_folder:
            raise Failed(f'destination "{container}:{target}" must be a directory')
        folder, archive = resolved, pieces(sys.stdin.buffer)
    else:
        folder, archive = _local_archive(call, source, resolved, is_folder, found is not None)
    query = {
        "path": folder,
        "noOverwriteDirNonDir": "true",
        "copyUIDGID": "true" if call.values.on("archive") else None,
    }
    path = f"/containers/{quote(container)}/archive"
    call.engine.call("PUT", path, query, counted.through(archive), {"Content-Type": "application/x-tar"})
    _report(call, counted.bytes, f"{container}:{resolved}")
    return 0


def _local_archive(call: Call, source: str, target: str, is_folder: bool, exists: bool) -> tuple[str, Iterator[bytes]]:
    path = _local(source)
    bare = path.rstrip("/")
    if not os.path.lexists(bare):
        raise Failed(f"lstat {path}: no such file or directory")
    if call.values.on("follow-link"):
        real = os.path.realpath(bare)
        if not os.path.lexists(real):
            raise Failed(f"lstat {real}: no such file or directory")
        path = real + path[len(bare) :]
    source_is_folder = os.path.isdir(path) and not (os.path.islink(bare) and path == bare)
    if path.endswith("/") and not source_is_folder:
        raise Failed("not a directory")
    folder, name = destination(target, is_folder, exists, source_is_folder)
    contents = path.endswith("/.")
    name = name or ("." if contents else posixpath.basename(bare))
    return folder, copy_archive.create(path[:-2] if contents else path.rstrip("/") or "/", name)


def copy(call: Call) -> int:
    source, target = (split(operand) for operand in call.operands)
    if not call.operands[0]:
        raise Failed("source can not be empty")
    if not call.operands[1]:
        raise Failed("destination can not be empty")
    if source[0] and target[0]:
        raise Failed("copying between containers is not supported")
    if source[0]:
        return from_container(call, source[0], source[1], target[1])
    if target[0]:
        return to_container(call, source[1], target[0], target[1])
    raise Failed("must specify at least one container source")


COMMANDS = {
    "container cp": Command(
        "container cp",
        copy,
        "CONTAINER:SRC_PATH DEST_PATH|-",
        (
            flags.switch("archive", "Archive mode (copy all uid/gid information)", "a"),
            flags.switch("follow-link", "Always follow symbol link in SRC_PATH", "L"),
            flags.switch("quiet", "Suppress progress output (which needs a terminal)", "q"),
        ),
        least=2,
        most=2,
        second_usage="SRC_PATH|- CONTAINER:DEST_PATH",
        details=(
            "Copy files and folders between a container and this machine\n\n"
            "'-' as the source reads a tar archive from stdin and extracts it to a directory in a container.\n"
            "'-' as the destination writes a tar archive of the container's source to stdout."
        ),
    )
}
