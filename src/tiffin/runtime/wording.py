"""Failures of a start in the words of Docker and runc: the docker CLI derives its exit status 126 or 127 from them."""

import os
from errno import EISDIR, ENOTDIR

_CREATE = "failed to create task for container: failed to create shim task: OCI runtime create failed: "
_TASK = f"{_CREATE}runc create failed: unable to start container process: "
_EXEC = "OCI runtime exec failed: exec failed: unable to start container process: "
_MISMATCH = (
    ": Are you trying to mount a directory onto a file (or vice-versa)? Check if the specified host path exists and is"
    " the expected type"
)
_MOUNTING = ("mount", "rootfs", "mask", "readonly", "device", "symlink", "file", "directory", "source")


def start_failure(step: str, number: int, path: str, text: str) -> str:
    """Of a container's first process. step and path: see plan.py; number: errno, or 0."""
    if step == "runtime":
        return f"{_CREATE}{text}"  # another runtime's own words
    return f"{_TASK}error during container init: {_reason(step, number, path, text)}"


def exec_failure(step: str, number: int, path: str, text: str) -> str:
    """Of a further process."""
    return f"{_EXEC}{_reason(step, number, path, text)}"


def _quoted(text: str) -> str:
    escaped = text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
    return f'"{escaped}"'


def _reason(step: str, number: int, path: str, text: str) -> str:
    what = (text or os.strerror(number)).lower() if text == os.strerror(number) else text
    if number == ENOTDIR and step in ("exec", "chdir", *_MOUNTING):
        what += _MISMATCH
    if step == "exec":
        what += ": permission denied" if number == EISDIR else ""
        return f"exec: {_quoted(path)}: {what}"
    if step == "chdir":
        return f"chdir to cwd ({_quoted(path)}) set in config.json failed: {what}"
    if step in _MOUNTING:
        return f"error mounting {_quoted(path)} to rootfs ({step}): {what}"
    if step == "cgroup":
        return f"unable to apply cgroup configuration: failed to write {_quoted(path)}: {what}"
    place = f" {_quoted(path)}" if path else ""
    return f"{step}{place}: {what}"
