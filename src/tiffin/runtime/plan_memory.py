"""How a plan travels: in a memfd, so that everyone reads its own part only.

In it are the length of the monitor's part (8 bytes), that part, and all of the plan, for the stage. The forkserver is
told its charge beside it. As plan.py, this imports nothing that a forkserver should not have.
"""

import marshal
import os

from tiffin.runtime.plan import defaults

_STAGE = ("operations", "process")  # what a monitor has no use for
_NEWPID, _NEWUSER, _NEWCGROUP, _NEWTIME = 0x20000000, 0x10000000, 0x2000000, 0x80  # CLONE_*
_OF_GROUPS = ("scheduler", "affinity", "memory_policy")  # what control groups bound, or overwrite


def sealed(plan: dict[str, object]) -> tuple[bytes, dict[str, object]]:
    """What the memfd holds, and the forkserver's charge: what it has to know of a container."""
    filled = defaults(plan)
    filled["eager"] = bool(filled["procs"]) and not filled["gate"] and not filled["prepared"]
    filled["later"] = _can_enter_later(filled)
    part = marshal.dumps({key: value for key, value in filled.items() if key not in _STAGE})
    stdio: dict[str, object] = filled["stdio"]  # type: ignore[assignment]
    charge: dict[str, object] = {key: filled[key] for key in ("id", "state", "procs", "rmdir")}
    charge |= {"terminal": bool(stdio["terminal"]), "stdin": bool(stdio["stdin"]), "log": bool(filled["log"])}
    # what is interactive, or is there for a moment only, is watched by the process that started it
    waited_for = (
        charge["terminal"] or charge["stdin"] or any(filled[key] for key in ("ephemeral", "external", "prepared"))
    )
    # of another pid namespace, the host's maybe, orphans become the monitor's children: it must be there to reap them
    charge["rests"] = not waited_for and bool(int(filled["unshare"]) & _NEWPID)  # type: ignore[call-overload]
    # a user namespace takes two forks, a time namespace is for a process with memory of its own
    charge["ahead"] = not _flags(filled) & (_NEWUSER | _NEWTIME) and not filled["external"]
    return len(part).to_bytes(8, "little") + part + marshal.dumps(filled), charge


def _can_enter_later(plan: dict[str, object]) -> bool:
    """Whether nothing but the mounts depends on the groups: the stage makes its namespaces meanwhile."""
    process: dict[str, object] = plan["process"]  # type: ignore[assignment]
    bounded = any(process[key] is not None for key in _OF_GROUPS)
    return len(plan["procs"]) > 1 and not _flags(plan) & (_NEWUSER | _NEWCGROUP) and not bounded  # type: ignore[arg-type]


def _flags(plan: dict[str, object]) -> int:
    """The kinds of namespaces that are not the engine's."""
    flags: int = plan["unshare"]  # type: ignore[assignment]
    for flag, _ in plan["join"]:  # type: ignore[attr-defined]
        flags |= flag
    return flags


def monitor_part(memory: int) -> dict[str, object]:
    """Of a plan in a memfd, without what only a stage needs."""
    return marshal.loads(os.pread(memory, _length(memory), 8))  # type: ignore[no-any-return]


def stage_part(memory: int) -> dict[str, object]:
    """All of a plan in a memfd."""
    start = 8 + _length(memory)
    return marshal.loads(os.pread(memory, os.fstat(memory).st_size - start, start))  # type: ignore[no-any-return]


def _length(memory: int) -> int:
    return int.from_bytes(os.pread(memory, 8, 0), "little")
