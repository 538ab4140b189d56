"""OCI `process` as the plan's process: identity, limits, capabilities, filter, scheduling."""

import re
from collections.abc import Iterable, Mapping
from typing import Any

from tiffin.errors import Invalid
from tiffin.linux import capabilities, seccomp
from tiffin.runtime.compile_machine import Machine

RLIMITS = {
    "RLIMIT_CPU": 0,
    "RLIMIT_FSIZE": 1,
    "RLIMIT_DATA": 2,
    "RLIMIT_STACK": 3,
    "RLIMIT_CORE": 4,
    "RLIMIT_RSS": 5,
    "RLIMIT_NPROC": 6,
    "RLIMIT_NOFILE": 7,
    "RLIMIT_MEMLOCK": 8,
    "RLIMIT_AS": 9,
    "RLIMIT_LOCKS": 10,
    "RLIMIT_SIGPENDING": 11,
    "RLIMIT_MSGQUEUE": 12,
    "RLIMIT_NICE": 13,
    "RLIMIT_RTPRIO": 14,
    "RLIMIT_RTTIME": 15,
}
INFINITY = 2**64 - 1
CAPABILITY_SETS = ("bounding", "permitted", "inheritable", "effective", "ambient")
POLICIES = {
    "SCHED_OTHER": 0,
    "SCHED_FIFO": 1,
    "SCHED_RR": 2,
    "SCHED_BATCH": 3,
    "SCHED_ISO": 4,
    "SCHED_IDLE": 5,
    "SCHED_DEADLINE": 6,
}
SCHEDULER_FLAGS = {
    "SCHED_FLAG_RESET_ON_FORK": 0x01,
    "SCHED_FLAG_RECLAIM": 0x02,
    "SCHED_FLAG_DL_OVERRUN": 0x04,
    "SCHED_FLAG_KEEP_POLICY": 0x08,
    "SCHED_FLAG_KEEP_PARAMS": 0x10,
    "SCHED_FLAG_UTIL_CLAMP_MIN": 0x20,
    "SCHED_FLAG_UTIL_CLAMP_MAX": 0x40,
}
IO_CLASSES = {"IOPRIO_CLASS_RT": 1, "IOPRIO_CLASS_BE": 2, "IOPRIO_CLASS_IDLE": 3}


def compile_process(
    process: Mapping[str, Any],
    machine: Machine,
    *,
    filter: Mapping[str, Any] | None = None,
    user_namespace: bool = False,
    cwd_create: bool = False,
    keyring: bytes | None = None,
) -> dict[str, object]:
    """plan["process"]; the same for a container's first process and for an exec.

    process: OCI process object. filter: OCI linux.seccomp. user_namespace: whether it runs in one, where it may hold
    every capability. keyring: name of a session keyring of its own. Raises Invalid, in runc's words.
    """
    _validate(process, machine)
    user = process.get("user") or {}
    found: dict[str, object] = {
        "argv": tuple(_bytes(argument, "args") for argument in process["args"]),
        "env": tuple(_bytes(variable, "env") for variable in process.get("env") or ()),
        "path": (),
        "cwd": _bytes(process["cwd"], "cwd"),
        "cwd_create": cwd_create,
        "uid": _identity(user.get("uid", 0), "uid"),
        "gid": _identity(user.get("gid", 0), "gid"),
        "groups": tuple(_identity(group, "additionalGids") for group in user.get("additionalGids") or ()),
        "umask": user.get("umask"),
        "capabilities": _capabilities(process.get("capabilities"), machine, user_namespace),
        "no_new_privileges": bool(process.get("noNewPrivileges")),
        "seccomp": None,
        "seccomp_flags": 0,
        "seccomp_notify": None,
        "rlimits": tuple(_rlimits(process.get("rlimits") or ())),
        "oom_score_adj": process.get("oomScoreAdj"),
        "apparmor": _bytes(process.get("apparmorProfile") or "", "apparmorProfile") or None,
        "selinux": _bytes(process.get("selinuxLabel") or "", "selinuxLabel") or None,
        "keyring": keyring,
        "scheduler": _scheduler(process.get("scheduler")),
        "io_priority": _io_priority(process.get("ioPriority")),
        "affinity": _affinity(process.get("execCPUAffinity")),
    }
    if filter is not None:
        found |= _seccomp(filter)
    return found


def _validate(process: Mapping[str, Any], machine: Machine) -> None:
    if not process.get("cwd"):
        raise Invalid("Cwd property must not be empty")
    if not process["cwd"].startswith("/"):
        raise Invalid("Cwd must be an absolute path")
    if not process.get("args"):
        raise Invalid("args must not be empty")
    if process.get("selinuxLabel") and not machine.selinux:
        raise Invalid("selinux label is specified in config, but selinux is disabled or not supported")
    if process.get("apparmorProfile") and not machine.apparmor:
        raise Invalid("apparmor: config provided but apparmor not supported")


def _bytes(text: str, where: str) -> bytes:
    encoded = text.encode("utf-8", "surrogateescape")
    if b"\0" in encoded:
        raise Invalid(f"process.{where} contains a NUL byte: {text!r}")
    return encoded


def _identity(value: object, name: str) -> int:
    """Strictly: a value that wraps around would be root (CVE-2024-40635)."""
    if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value <= 2**32 - 2:
        raise Invalid(f"process.user.{name} {value!r} is out of range: expected 0 to 4294967294")
    return value


def _capabilities(sets: Mapping[str, Any] | None, machine: Machine, user_namespace: bool) -> tuple[int, ...]:
    """What can't be granted is left out, as the specification asks: names unknown here, bits this machine withholds."""
    available = (1 << len(capabilities.NAMES)) - 1 if user_namespace else machine.capabilities
    found = []
    for name in CAPABILITY_SETS:
        known = (name for name in (sets or {}).get(name) or () if name in capabilities.NUMBERS)
        found.append(capabilities.bits(known) & available)
    bounding, permitted, inheritable, effective, ambient = found
    # the kernel wants effective within permitted, ambient within permitted and inheritable
    return bounding, permitted, inheritable, effective & permitted, ambient & permitted & inheritable


def _rlimits(limits: Iterable[Mapping[str, Any]]) -> Iterable[tuple[int, int, int]]:
    for limit in limits:
        if limit.get("type") not in RLIMITS:
            raise Invalid(
                f"invalid rlimit type {limit.get('type')!r}: expected RLIMIT_NOFILE or another of getrlimit(2)"
            )
        soft, hard = (-1 if limit[key] in (INFINITY, -1) else limit[key] for key in ("soft", "hard"))
        if hard != -1 and (soft == -1 or soft > hard):
            raise Invalid(f"{limit['type']}: the soft limit exceeds the hard limit")
        yield RLIMITS[limit["type"]], soft, hard


def _seccomp(filter: Mapping[str, Any]) -> dict[str, object]:
    notifies = any(rule.get("action") == "SCMP_ACT_NOTIFY" for rule in filter.get("syscalls") or ())
    if filter.get("defaultAction") == "SCMP_ACT_NOTIFY":
        raise Invalid("SCMP_ACT_NOTIFY cannot be used as default action")
    for rule in filter.get("syscalls") or ():
        if rule.get("action") == "SCMP_ACT_NOTIFY" and "write" in rule.get("names", ()):
            # the runtime itself writes between loading the filter and handing over its descriptor
            raise Invalid("SCMP_ACT_NOTIFY cannot be used for the write syscall")
    if notifies and not filter.get("listenerPath"):
        raise Invalid("seccomp listenerPath is required where a rule uses SCMP_ACT_NOTIFY")
    try:
        found: dict[str, object] = {
            "seccomp": seccomp.assemble_cached(filter),
            "seccomp_flags": seccomp.flags(filter),
        }
    except OSError as error:
        raise Invalid(error.strerror) from error
    if notifies:
        metadata = _bytes(filter.get("listenerMetadata") or "", "seccomp.listenerMetadata")
        found["seccomp_notify"] = (_bytes(filter["listenerPath"], "seccomp.listenerPath"), metadata)
    return found


def _scheduler(scheduler: Mapping[str, Any] | None) -> tuple[int, ...] | None:
    if not scheduler:
        return None
    policy = POLICIES.get(scheduler.get("policy", ""))
    if policy is None:
        raise Invalid(f"invalid scheduler policy: {scheduler.get('policy')}")
    flags = 0
    for flag in scheduler.get("flags") or ():
        if flag not in SCHEDULER_FLAGS:
            raise Invalid(f"invalid scheduler flag: {flag}")
        flags |= SCHEDULER_FLAGS[flag]
    nice, priority = scheduler.get("nice") or 0, scheduler.get("priority") or 0
    if policy in (0, 3) and not -20 <= nice <= 19:
        raise Invalid(f"invalid scheduler.nice: {nice}")
    if priority and policy not in (1, 2):
        raise Invalid("scheduler.priority can only be specified for SchedFIFO or SchedRR policy")
    deadline = tuple(scheduler.get(key) or 0 for key in ("runtime", "deadline", "period"))
    if any(deadline) and policy != 6:
        raise Invalid("scheduler runtime/deadline/period can only be specified for SchedDeadline policy")
    return (policy, flags, nice, priority, *deadline)


def _io_priority(priority: Mapping[str, Any] | None) -> int | None:
    if not priority:
        return None
    level = priority.get("priority") or 0
    if priority.get("class") not in IO_CLASSES:
        raise Invalid(f"invalid ioPriority.Class: {priority.get('class')}")
    if not 0 <= level <= 7:
        raise Invalid(f"invalid ioPriority.Priority: {level}")
    return IO_CLASSES[priority["class"]] << 13 | level


def _affinity(affinity: Mapping[str, Any] | None) -> tuple[int, ...] | None:
    text = (affinity or {}).get("final") or (affinity or {}).get("initial")
    return parse_cpus(text) if text else None


def parse_cpus(text: str) -> tuple[int, ...]:
    """ "0-2,5" → (0, 1, 2, 5). Raises Invalid."""
    found: set[int] = set()
    for part in text.split(","):
        first, _, last = part.strip().partition("-")
        if not re.fullmatch("[0-9]{1,5}", first) or (last and not re.fullmatch("[0-9]{1,5}", last)):
            raise Invalid(f"invalid CPU list {text!r}: expected numbers and ranges such as 0-3,7")
        found.update(range(int(first), int(last or first) + 1))
    return tuple(sorted(found))


PERSONALITIES = {"LINUX": 0, "LINUX32": 8}


def personality(value: Mapping[str, Any] | None) -> int | None:
    """OCI linux.personality for personality(2)."""
    if not value:
        return None
    if value.get("domain") not in PERSONALITIES:
        raise Invalid(f"invalid personality domain {value.get('domain')}")
    if value.get("flags"):
        raise Invalid("additional flags for personality are not supported")
    return PERSONALITIES[value["domain"]]


MEMORY_MODES = {
    "MPOL_DEFAULT": 0,
    "MPOL_PREFERRED": 1,
    "MPOL_BIND": 2,
    "MPOL_INTERLEAVE": 3,
    "MPOL_LOCAL": 4,
    "MPOL_PREFERRED_MANY": 5,
    "MPOL_WEIGHTED_INTERLEAVE": 6,
}
MEMORY_FLAGS = {"MPOL_F_NUMA_BALANCING": 1 << 13, "MPOL_F_RELATIVE_NODES": 1 << 14, "MPOL_F_STATIC_NODES": 1 << 15}


def memory_policy(value: Mapping[str, Any] | None) -> tuple[int, int] | None:
    """OCI linux.memoryPolicy for set_mempolicy(2): (mode with flags, node mask)."""
    if not value:
        return None
    mode = MEMORY_MODES.get(value.get("mode", ""))
    if mode is None:
        raise Invalid(f"invalid memory policy mode {value.get('mode')!r}")
    for flag in value.get("flags") or ():
        if flag not in MEMORY_FLAGS:
            raise Invalid(f"invalid memory policy flag {flag!r}")
        mode |= MEMORY_FLAGS[flag]
    nodes = parse_cpus(value["nodes"]) if value.get("nodes") else ()
    return mode, sum(1 << node for node in nodes)
