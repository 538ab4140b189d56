"""exec of the OCI runtime CLI: a further process in a running container."""

import json
import os
from typing import Any

from tiffin.errors import Conflict, Invalid, TiffinError
from tiffin.linux import cgroups, namespaces
from tiffin.runtime import (
    compile_linux,
    compile_machine,
    oci_bundle,
    oci_launch,
    oci_log,
    oci_run,
    oci_state,
    oci_terminal,
)
from tiffin.runtime.compile import compile_exec
from tiffin.runtime.oci_options import Parsed

FAILED = 255


class ExecFailed(TiffinError):
    """The exit status is 255 rather than 1, so that it differs from most commands' own."""

    status = FAILED


def execute(root: str, options: Parsed) -> int:
    """The process's exit status; 0 with --detach."""
    try:
        return _execute(root, options)
    except (TiffinError, OSError) as error:
        raise ExecFailed(f"exec failed: {error}") from error


def _execute(root: str, options: Parsed) -> int:
    pid_file = os.path.abspath(options.text("pid_file")) if options.text("pid_file") else ""
    container = oci_state.load(root, options.arguments[0])
    status = container.status()
    if status == "stopped":
        raise Conflict("cannot exec in a stopped container")
    if status == "paused" and not options.on("ignore_paused"):
        raise Conflict("cannot exec in a paused container (use --ignore-paused to override)")
    process = _process(container, options)
    detach, terminal = options.on("detach"), bool(process.get("terminal"))
    oci_terminal.check(terminal, options.text("console_socket"), detach=detach)
    kept = oci_bundle.inherited(options.number("preserve_fds"))
    machine = compile_machine.detect()
    compiled = compile_exec(process, container.spec, machine=machine)
    linux = container.spec.get("linux") or {}
    spaces = compile_linux.parse_namespaces(linux)
    oci_bundle.complete(compiled, f"/proc/{container.pid}/root", kept)
    plan: dict[str, Any] = {
        "id": container.id,
        "state": container.directory,
        "unshare": spaces.unshare,
        "join": tuple(spaces.join),
        "user": compile_linux.owner_maps(linux, spaces),
        "procs": tuple(_groups(container, machine, options.several("cgroup"))),
        "process": compiled,
        "stdio": {"terminal": terminal, **_size(process)},
    }
    pidfd = namespaces.pidfd_open(container.pid)
    if oci_state.process_start_time(container.pid) != container.start_time:
        raise Conflict("cannot exec in a stopped container")
    console, relay = oci_run.open_console(options.text("console_socket"), terminal)
    launched = oci_launch.further(plan, pidfd, None if terminal else (0, 1, 2))
    try:
        launched.until_ready(console)
        oci_log.debug(f"process {launched.pid} joined container {container.id}")
        if pid_file:
            oci_run.write_pid(pid_file, launched.pid)
        if not detach:
            oci_run.hold_signals()
        launched.go()
    except TiffinError:
        if relay is not None:
            relay.restore()
        raise
    return 0 if detach else oci_run.supervise(launched.pid, relay)


def _size(process: dict[str, Any]) -> dict[str, object]:
    size = process.get("consoleSize") or {}
    return {"size": (size.get("height") or 0, size.get("width") or 0)} if size else {}


def _process(container: oci_state.Container, options: Parsed) -> dict[str, Any]:
    """The OCI process: a file's, or the container's own with what the options change."""
    if options.text("process"):
        with open(options.text("process"), encoding="utf-8") as file:
            process: dict[str, Any] = json.load(file)
        oci_bundle.check_process(process)
        return process
    if len(options.arguments) < 2:
        raise Invalid("process args cannot be empty")
    process = dict(container.spec["process"])
    process["args"] = options.arguments[1:]
    process["env"] = [*(process.get("env") or ()), *options.several("env")]
    process["terminal"] = options.on("tty")
    for option, key in (("cwd", "cwd"), ("apparmor", "apparmorProfile"), ("process_label", "selinuxLabel")):
        if options.text(option):
            process[key] = options.text(option)
    if options.on("no_new_privs"):
        process["noNewPrivileges"] = True
    process["user"] = _user(process.get("user") or {}, options)
    added = options.several("cap")
    if added:
        sets = dict(process.get("capabilities") or {})
        for name in ("bounding", "effective", "permitted", "inheritable", "ambient"):
            if name != "inheritable":
                sets[name] = [*(sets.get(name) or ()), *added]
        process["capabilities"] = sets
    oci_bundle.check_process(process)
    return process


def _user(user: dict[str, Any], options: Parsed) -> dict[str, Any]:
    found = dict(user)
    if options.text("user"):
        uid, colon, gid = options.text("user").partition(":")
        for key, text in (("uid", uid), ("gid", gid)):
            if key == "gid" and not colon:
                continue
            if not (text.isascii() and text.isdigit()):
                raise Invalid(f"parsing {text} as int for {key} failed: invalid syntax")
            found[key] = int(text)
    more = []
    for text in options.several("additional_gids"):
        if not (text.isascii() and text.isdigit()):
            raise Invalid(f"additional-gids must be a positive number {text}")
        more.append(int(text))
    if more:
        found["additionalGids"] = [*(found.get("additionalGids") or ()), *more]
    return found


def _groups(container: oci_state.Container, machine: compile_machine.Machine, wanted: list[str]) -> list[bytes]:
    """cgroup.procs files to enter: the container's, or groups below it (--cgroup [controllers:]path)."""
    directories = dict(container.groups)
    for argument in wanted:
        parts = argument.split(":")
        if len(parts) > 2:
            raise Invalid(f"invalid --cgroup argument: {argument}")
        if len(parts) == 1 and len(wanted) != 1:
            raise Invalid(f"invalid --cgroup argument: {argument} (missing <controller>: prefix)")
        names = parts[0].split(",") if len(parts) == 2 else list(directories)
        for name in names:
            if name not in directories or (len(parts) == 2 and container.cgroup_version == 2):
                raise Invalid(f"unknown controller {name} in SubCgroupPaths")
            path = os.path.normpath(container.groups[name] + "/" + parts[-1])
            if path != container.groups[name] and not path.startswith(container.groups[name] + "/"):
                raise Invalid(f"{argument} is not a sub cgroup path")
            directories[name] = path
    place = cgroups.Cgroup(directories, container.cgroup_version)
    if container.cgroup_version == 2 and not wanted:
        place = _where_it_lives(container, machine) or place
    return [path.encode() for path in place.procs()]


def _where_it_lives(container: oci_state.Container, machine: compile_machine.Machine) -> cgroups.Cgroup | None:
    """An init that moved below its group left one behind that takes no processes any more."""
    group = cgroups.groups_of(f"/proc/{container.pid}/cgroup").get(cgroups.UNIFIED)
    mount_point = machine.hierarchies.unified
    if group is None or mount_point is None or not os.path.isdir(mount_point + group):
        return None
    return cgroups.Cgroup({cgroups.UNIFIED: mount_point + group}, 2)
