"""Flags of run and create that say how far a container is walled off: capabilities, profiles, namespaces, sysctls."""

from __future__ import annotations

import json
import os

from tiffin.cli import flags
from tiffin.cli.flags import Flag, Values
from tiffin.cli.kinds import BadValue, Kind
from tiffin.errors import Invalid

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

_SYSCTLS = [
    "kernel.msgmax",
    "kernel.msgmnb",
    "kernel.msgmni",
    "kernel.sem",
    "kernel.shmall",
    "kernel.shmmax",
    "kernel.shmmni",
    "kernel.shm_rmid_forced",
]


def _sysctl(raw: str, previous: dict[str, str]) -> dict[str, str]:
    key, equals, value = raw.partition("=")
    if not equals or not key or not (key in _SYSCTLS or key.startswith(("net.", "fs.mqueue."))):
        raise BadValue(f"sysctl '{raw}' is not allowed")
    return {**previous, key: value}


FLAGS = (
    flags.several("cap-add", "Add Linux capabilities"),
    flags.several("cap-drop", "Drop Linux capabilities"),
    flags.text(
        "cgroupns",
        "Cgroup namespace to use (host|private)\n"
        "'host':    The host's\n'private': One of the container's own\n'':        As the daemon says (default)",
    ),
    flags.several("group-add", "Add additional groups to join"),
    flags.text("ipc", "IPC mode to use"),
    flags.text("isolation", "Container isolation technology"),
    flags.text("pid", "PID namespace to use"),
    flags.switch("privileged", "Give the container every capability and device"),
    flags.switch("read-only", "Mount the container's root file system as read only"),
    flags.several("security-opt", "Security options"),
    Flag("sysctl", Kind("map", _sysctl, dict, always_shown="map[]"), "Sysctl options"),
    flags.text("userns", "User namespace to use"),
    flags.text("uts", "UTS namespace to use"),
)


def seccomp_profile(path: str) -> str:
    """The profile file as compact JSON: the daemon takes its content, not its path. Raises Invalid."""
    try:
        with open(path, "rb") as file:
            raw = file.read()
    except OSError as error:
        reason = f"open {path}: {os.strerror(error.errno or 0).lower()}"
        raise Invalid(f"opening seccomp profile ({path}) failed: {reason}") from error
    try:
        return json.dumps(json.loads(raw), separators=(",", ":"))
    except ValueError as error:
        raise Invalid(f"compacting json for seccomp profile ({path}) failed: {_reason(raw, error)}") from error


def _reason(raw: bytes, error: ValueError) -> str:
    """Why it is no JSON, as Go says of text that ends too soon."""
    if isinstance(error, json.JSONDecodeError) and not error.doc[error.pos :].strip():
        return "unexpected end of JSON input"
    return str(error)


def _capabilities(given: list[str]) -> list[str] | None:
    """By their full names, as docker's client sends them, so that they show alike in inspect."""
    names = [name.strip().upper() for name in given]
    full = {name if name == "ALL" or name.startswith("CAP_") else f"CAP_{name}" for name in names}
    return sorted(full) or None


def security_options(given: list[str]) -> list[str]:
    """The options as the daemon takes them, seccomp profiles read in. Raises Invalid."""
    options = []
    for item in given:
        key, separator, value = item.partition("=")
        if not separator and item != "no-new-privileges":
            key, separator, value = item.partition(":")
        if not value and key != "no-new-privileges":
            raise Invalid(f'Invalid --security-opt: "{item}"')
        if key == "seccomp" and value not in ("unconfined", "builtin"):
            item = f"seccomp={seccomp_profile(value)}"
        options.append(item)
    return options


def _one_of(flag: str, what: str, value: str, plain: tuple[str, ...], with_container: bool) -> None:
    if value in plain or (with_container and value.startswith("container:") and value != "container:"):
        return
    raise Invalid(f"--{flag}: invalid {what} mode")


def fill(values: Values, host: dict[str, Any]) -> None:
    """Put these flags' part into the body of `HostConfig`. Raises Invalid."""
    _one_of("pid", "PID", values.text("pid"), ("", "host"), with_container=True)
    _one_of("uts", "UTS", values.text("uts"), ("", "host"), with_container=False)
    _one_of("userns", "USER", values.text("userns"), ("", "host"), with_container=False)
    _one_of("cgroupns", "CGROUP", values.text("cgroupns"), ("", "host", "private"), with_container=False)
    options = security_options(values.list("security-opt"))
    if "systempaths=unconfined" in options:
        # decided here: the daemon is told which paths to mask, not this name
        options = [option for option in options if option != "systempaths=unconfined"]
        host["MaskedPaths"] = host["ReadonlyPaths"] = []
    host.update(
        CapAdd=_capabilities(values.list("cap-add")),
        CapDrop=_capabilities(values.list("cap-drop")),
        CgroupnsMode=values.text("cgroupns"),
        GroupAdd=values.list("group-add") or None,
        IpcMode=values.text("ipc"),
        Isolation=values.text("isolation"),
        PidMode=values.text("pid"),
        Privileged=values.on("privileged"),
        ReadonlyRootfs=values.on("read-only"),
        SecurityOpt=options or None,
        Sysctls=values.map("sysctl"),
        UsernsMode=values.text("userns"),
        UTSMode=values.text("uts"),
    )
