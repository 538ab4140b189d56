"""The bundle: config.json, what is inherited from the caller, and what only the root file system can tell."""

import json
import os
import stat
from typing import Any

from tiffin.errors import Invalid, NotFound
from tiffin.linux import paths

CONFIG = "config.json"
PASSWD_LIMIT = 1 << 20


def load_spec(bundle: str) -> dict[str, Any]:
    """Raises NotFound, Invalid."""
    try:
        with open(os.path.join(bundle, CONFIG), encoding="utf-8") as file:
            spec = json.load(file)
    except FileNotFoundError:
        raise NotFound(f"JSON specification file {CONFIG} not found") from None
    except ValueError as error:
        raise Invalid(f"{CONFIG}: {error}") from error
    if not isinstance(spec, dict):
        raise Invalid(f"{CONFIG}: expected a JSON object")
    check_process(spec.get("process"))
    if not isinstance(spec.get("root"), dict) or not spec["root"].get("path"):
        raise Invalid("root property must not be empty")
    return spec


def check_process(process: object) -> None:
    """What runc asks for before anything else. Raises Invalid."""
    if not isinstance(process, dict) or not process:
        raise Invalid("process property must not be empty")
    if not process.get("cwd"):
        raise Invalid("Cwd property must not be empty")
    if not str(process["cwd"]).startswith("/"):
        raise Invalid("Cwd must be an absolute path")
    if not process.get("args"):
        raise Invalid("args must not be empty")


def check_rootfs(bundle: str, spec: dict[str, Any]) -> None:
    """Raises Invalid where the root is missing or not what it says it is."""
    path = os.path.join(bundle, spec["root"]["path"])
    try:
        status = os.lstat(path)
    except FileNotFoundError:
        raise Invalid(f"invalid rootfs: rootfs ({path}) does not exist") from None
    if stat.S_ISLNK(status.st_mode) or os.path.realpath(path) != os.path.normpath(path):
        raise Invalid("invalid rootfs: not an absolute path, or a symlink")


def inherited(preserve: int) -> tuple[int, int]:
    """(sockets of $LISTEN_FDS, further ones to preserve): both are open from descriptor 3 on. Raises Invalid."""
    listen = int(os.environ.get("LISTEN_FDS") or 0) if os.environ.get("LISTEN_PID") in (None, str(os.getpid())) else 0
    for number in range(3, 3 + listen + preserve):
        try:
            os.fstat(number)
        except OSError as error:
            raise Invalid(
                f"unable to stat preserved-fd {number - 3 - listen} (of {preserve}): "
                f"stat /proc/self/fd/{number}: no such file or directory"
            ) from error
    return listen, preserve


def complete(process: dict[str, Any], root: str, kept: tuple[int, int]) -> None:
    """Fill in what depends on the caller and the root: descriptors to keep, HOME from its passwd."""
    listen, preserve = kept
    if listen:
        process["env"] += (b"LISTEN_FDS=%d" % listen, b"LISTEN_PID=1")
    if listen + preserve:
        process["preserve"] = listen + preserve
    if not any(variable.startswith(b"HOME=") and len(variable) > 5 for variable in process["env"]):
        kept_variables = tuple(variable for variable in process["env"] if not variable.startswith(b"HOME="))
        process["env"] = (*kept_variables, b"HOME=" + home(root, process["uid"]))


def home(root: str, uid: int) -> bytes:
    """The directory that the root's /etc/passwd gives a user; "/" where it does not say."""
    try:
        directory = os.open(root, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            fd = paths.open_in(directory, b"etc/passwd", os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY)
        finally:
            os.close(directory)
    except OSError:
        return b"/"
    with open(fd, "rb") as file:
        if not stat.S_ISREG(os.fstat(fd).st_mode):
            return b"/"  # a FIFO or a device would keep us waiting (CVE-2024-9676)
        for line in file.read(PASSWD_LIMIT).splitlines():
            fields = line.split(b":")
            if len(fields) >= 6 and fields[2] == str(uid).encode():
                return fields[5] or b"/"
    return b"/"
