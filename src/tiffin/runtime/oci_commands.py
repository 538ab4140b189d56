"""The OCI runtime CLI's commands about containers that exist: state, list, ps, kill, delete, pause, resume, update."""

import json
import os
import shutil
import signal
import sys
import time
from collections.abc import Mapping
from typing import Any

from tiffin.errors import Conflict, Invalid, NotFound, Unsupported
from tiffin.linux import cgroups_live, cgroups_stats
from tiffin.runtime import compile_cgroups, compile_machine, oci_run, oci_state
from tiffin.runtime.oci_options import Parsed

KILL_TIMEOUT = 10.0
EBUSY = 16


def state(root: str, options: Parsed) -> int:
    found = oci_state.load(root, options.arguments[0]).oci_state()
    print(json.dumps(found, indent=2, ensure_ascii=False))
    return 0


def list_all(root: str, options: Parsed) -> int:
    containers = []
    for name in sorted(os.listdir(root)) if os.path.isdir(root) else ():
        try:
            containers.append(oci_state.load(root, name))
        except (NotFound, Invalid) as error:
            print(f"load container {name}: {error}", file=sys.stderr)
    if options.on("quiet"):
        for container in containers:
            print(container.id)
        return 0
    found = [container.oci_state() | {"owner": _owner(container.directory)} for container in containers]
    match options.text("format"):
        case "json":
            print(json.dumps(found or None, separators=(",", ":"), ensure_ascii=False))
        case "table":
            keys = ("id", "pid", "status", "bundle", "created", "owner")
            _print_table([[key.upper() for key in keys], *([str(one[key]) for key in keys] for one in found)])
        case _:
            raise Invalid("invalid format option")
    return 0


def _owner(path: str) -> str:
    import pwd

    uid = os.stat(path).st_uid
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return f"#{uid}"


def _print_table(rows: list[list[str]]) -> None:
    widths = [max(12, *(len(row[column]) + 3 for row in rows)) for column in range(len(rows[0]))]
    for row in rows:
        cells = [text.ljust(width) for text, width in zip(row[:-1], widths, strict=False)]
        print("".join(cells) + row[-1])


def ps(root: str, options: Parsed) -> int:
    import subprocess  # slow to import, and only this command needs it

    container = oci_state.load(root, options.arguments[0])
    pids = cgroups_live.pids(container.cgroup)
    match options.text("format"):
        case "json":
            print(json.dumps(pids))
            return 0
        case "table":
            pass
        case _:
            raise Invalid("invalid format option")
    listed = subprocess.run(
        ["ps", *(options.arguments[1:] or ["-ef"])], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
    if listed.returncode:
        raise Invalid(f"exit status {listed.returncode}: {listed.stdout}")
    title, *lines = listed.stdout.splitlines()
    if "PID" not in title.split():
        raise Invalid("couldn't find PID field in ps output")
    column = title.split().index("PID")
    print(title)
    for line in lines:
        if int(line.split()[column]) in pids:
            print(line)
    return 0


def parse_signal(text: str) -> int:
    """A number, or a name with or without SIG. Raises Invalid."""
    if text.isdigit():
        return int(text)
    name = text.upper() if text.upper().startswith("SIG") else "SIG" + text.upper()
    if name not in signal.Signals.__members__:
        raise Invalid(f'unknown signal "{text}"')
    return int(signal.Signals[name])


def kill(root: str, options: Parsed) -> int:
    container = oci_state.load(root, options.arguments[0])
    number = parse_signal(options.arguments[1] if len(options.arguments) > 1 else "SIGTERM")
    if options.on("all"):
        if cgroups_live.exists(container.cgroup):
            cgroups_live.kill(container.cgroup, number)
        return 0
    if container.status() == "stopped":
        raise Conflict("container not running")
    _signal(container, number)
    return 0


def _signal(container: oci_state.Container, number: int) -> None:
    try:
        os.kill(container.pid, number)
    except ProcessLookupError:
        raise Conflict("container not running") from None
    if number == signal.SIGKILL and cgroups_live.frozen(container.cgroup):
        # on v1 a frozen process does not even die
        cgroups_live.thaw(container.cgroup)


def delete(root: str, options: Parsed) -> int:
    container_id, force = options.arguments[0], options.on("force")
    try:
        container = oci_state.load(root, container_id)
    except NotFound:
        # what a start left behind that was cut off
        shutil.rmtree(os.path.join(root, container_id), ignore_errors=True)
        if force:
            return 0
        raise
    status = container.status()
    if status not in ("stopped", "created") and not force:
        raise Conflict(f"cannot delete container {container_id} that is not stopped: {status}")
    if status != "stopped":
        _signal(container, signal.SIGKILL)
        deadline = time.monotonic() + KILL_TIMEOUT
        while oci_state.process_start_time(container.pid) == container.start_time:
            if time.monotonic() > deadline:
                raise Conflict("container init still running")
            time.sleep(0.005)
    oci_run.destroy(container)
    return 0


def pause(root: str, options: Parsed) -> int:
    container = oci_state.load(root, options.arguments[0])
    if container.status() not in ("running", "created"):
        raise Conflict("container not running")
    cgroups_live.freeze(container.cgroup)
    return 0


def resume(root: str, options: Parsed) -> int:
    container = oci_state.load(root, options.arguments[0])
    if container.status() != "paused":
        raise Conflict("container not paused")
    cgroups_live.thaw(container.cgroup)
    return 0


def update(root: str, options: Parsed) -> int:
    container = oci_state.load(root, options.arguments[0])
    if options.text("l3_cache_schema") or options.text("mem_bw_schema"):
        raise Unsupported("Intel RDT is not supported: leave out --l3-cache-schema and --mem-bw-schema")
    source = options.text("resources")
    wanted = _resources_file(source) if source else _resources_options(options)
    kept = (container.spec.get("linux") or {}).get("resources") or {}
    cpu = wanted.get("cpu") or {}
    if container.cgroup_version == 2 and bool(cpu.get("period")) != bool(cpu.get("quota")):
        # one file holds both there
        cpu |= {key: (kept.get("cpu") or {}).get(key) for key in ("period", "quota") if not cpu.get(key)}
    machine = compile_machine.detect()
    try:
        cgroups_live.write_all(compile_cgroups.update(machine.hierarchies, container.cgroup, wanted))
    except OSError as error:
        raise Invalid(_update_failure(container, wanted, error)) from error
    merged = {**kept}
    for key, value in wanted.items():
        if isinstance(value, dict):
            merged[key] = {**(kept.get(key) or {}), **{name: one for name, one in value.items() if one}}
    container.spec.setdefault("linux", {})["resources"] = merged
    container.save()
    return 0


def _update_failure(container: oci_state.Container, wanted: Mapping[str, Any], error: OSError) -> str:
    path = str(error.filename or "")
    if error.errno == EBUSY and "memory" in path:
        memory = cgroups_stats.read(container.cgroup)["memory"]
        limit = (wanted.get("memory") or {}).get("limit")
        return (
            f"unable to set memory limit to {limit} "
            f"(current usage: {memory.get('usage')}, peak usage: {memory.get('max_usage')})"
        )
    return f"failed to write {path}: {(error.strerror or '').lower()}"


def _resources_file(path: str) -> dict[str, Any]:
    try:
        if path == "-":
            found = json.load(sys.stdin)
        else:
            with open(path, encoding="utf-8") as file:
                found = json.load(file)
    except ValueError as error:
        raise Invalid(f"{path}: {error}") from error
    if not isinstance(found, dict):
        raise Invalid(f"{path}: expected a JSON object")
    return found


NUMBERS = {
    "cpu_period": ("cpu", "period"),
    "cpu_quota": ("cpu", "quota"),
    "cpu_burst": ("cpu", "burst"),
    "cpu_share": ("cpu", "shares"),
    "cpu_rt_period": ("cpu", "realtimePeriod"),
    "cpu_rt_runtime": ("cpu", "realtimeRuntime"),
    "cpu_idle": ("cpu", "idle"),
}
SIZES = {
    "memory": ("memory", "limit"),
    "memory_reservation": ("memory", "reservation"),
    "memory_swap": ("memory", "swap"),
}
UNITS = {"": 1, "k": 1 << 10, "m": 1 << 20, "g": 1 << 30, "t": 1 << 40, "p": 1 << 50}


def _resources_options(options: Parsed) -> dict[str, Any]:
    found: dict[str, dict[str, Any]] = {"memory": {}, "cpu": {}, "pids": {}, "blockIO": {}}
    for option, (section, key) in NUMBERS.items():
        text = options.text(option)
        if text:
            try:
                found[section][key] = int(text)
            except ValueError:
                name = option.replace("_", "-")
                raise Invalid(f'invalid value for {name}: parsing "{text}": invalid syntax') from None
    for option, (section, key) in SIZES.items():
        if options.text(option):
            found[section][key] = parse_size(options.text(option), option.replace("_", "-"))
    for option, key in (("cpuset_cpus", "cpus"), ("cpuset_mems", "mems")):
        if options.text(option):
            found["cpu"][key] = options.text(option)
    if options.number("blkio_weight"):
        found["blockIO"]["weight"] = options.number("blkio_weight")
    if options.number("pids_limit"):
        found["pids"]["limit"] = options.number("pids_limit")
    return found


def parse_size(text: str, name: str) -> int:
    """Bytes from "64m", "1.5GiB", "-1". Raises Invalid."""
    if text == "-1":
        return -1
    number = text.lower().removesuffix("b").removesuffix("i").strip()
    unit = number[-1:] if number[-1:] in UNITS else ""
    try:
        return int(float(number.removesuffix(unit)) * UNITS[unit])
    except ValueError:
        raise Invalid(f"invalid value for {name}: invalid size: '{text}'") from None
