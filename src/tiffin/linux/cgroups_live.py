"""A container's control groups while it lives: who is in them, freezing, killing, removing.

These calls may block for as long as the kernel takes to stop or to reap the processes: seconds at worst.
"""

from __future__ import annotations

import os
import signal as signals
import time

from .cgroups import UNIFIED, Cgroup

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

    from .cgroups_v1 import Write

EBUSY, ENOENT, ENODEV, EOPNOTSUPP, ESRCH = 16, 2, 19, 95, 3
STEP = 0.001  # seconds between looks at a state that the kernel changes by itself


def pids(cgroup: Cgroup, *, descendants: bool = True) -> list[int]:
    """Processes of the group and of groups below it, ascending."""
    found: set[int] = set()
    top = _processes_directory(cgroup)
    for directory in _tree(top) if descendants else [top]:
        try:
            with open(directory + "/cgroup.procs", encoding="ascii") as file:
                found.update(int(line) for line in file)
        except OSError as error:
            # gone in between; a threaded group on v2 has no list of processes
            if error.errno not in (ENOENT, ENODEV, EOPNOTSUPP):
                raise
    found.discard(0)  # a process of a pid namespace that we don't see
    return sorted(found)


def exists(cgroup: Cgroup) -> bool:
    return os.path.isdir(_processes_directory(cgroup))


def remains(cgroup: Cgroup) -> bool:
    """Whether there is anything of it, in any hierarchy."""
    return any(map(os.path.isdir, cgroup.unique()))


def freeze(cgroup: Cgroup, timeout: float = 10.0) -> None:
    """Stop every process of the group; returns when they stand. Raises OSError EBUSY, thawed again, after `timeout`."""
    _set_frozen(cgroup, True, timeout)


def thaw(cgroup: Cgroup, timeout: float = 10.0) -> None:
    _set_frozen(cgroup, False, timeout)


def frozen(cgroup: Cgroup) -> bool:
    """Whether the group is frozen by its own setting (not merely by a parent's)."""
    directory = _freezer(cgroup)
    if directory is None:
        return False
    try:
        if cgroup.version == 1 and cgroup.directory("freezer"):
            return _read(directory + "/freezer.self_freezing") == "1"
        return _read(directory + "/cgroup.freeze") == "1"
    except OSError as error:
        if error.errno == ENOENT:
            return False
        raise


def kill(cgroup: Cgroup, signal: int = signals.SIGKILL) -> None:
    """Send a signal to every process of the group and below; SIGKILL in one step where the kernel has cgroup.kill.

    A frozen group of v1 dies when it is thawed, which this does. Nothing happens when the group is gone.
    """
    try:
        _kill(cgroup, signal)
    except FileNotFoundError:
        pass


def _kill(cgroup: Cgroup, signal: int) -> None:
    unified = cgroup.directories.get(UNIFIED)
    if signal == signals.SIGKILL and unified is not None and os.path.exists(unified + "/cgroup.kill"):
        _write(unified + "/cgroup.kill", "1")
    else:
        for pid in pids(cgroup):
            try:
                os.kill(pid, signal)
            except ProcessLookupError:
                pass
    if signal == signals.SIGKILL and frozen(cgroup):
        thaw(cgroup)


def write_all(writes: Iterable[Write]) -> None:
    """Set limits of a living group. Raises OSError with the file; what was written before stays."""
    for path, data, ignore in writes:
        try:
            _write(path, data)
        except OSError as error:
            if error.errno not in ignore:
                raise OSError(error.errno, error.strerror, path) from error


def remove(cgroup: Cgroup, timeout: float = 5.0) -> None:
    """Remove the group from every hierarchy with all groups below it. Raises OSError EBUSY if processes stay."""
    deadline = time.monotonic() + timeout
    for top in cgroup.unique():
        for directory in reversed(list(_tree(top))):
            while True:
                try:
                    os.rmdir(directory)
                except FileNotFoundError:
                    pass
                except OSError as error:
                    # the kernel lets go of a reaped process a moment later
                    if error.errno == EBUSY and time.monotonic() < deadline:
                        time.sleep(STEP)
                        continue
                    raise
                break


def discard(cgroup: Cgroup) -> None:
    """Kill who is in the group, frozen or not, and remove it as far as it goes; nothing happens when it is gone."""
    try:
        if exists(cgroup):
            kill(cgroup)
        remove(cgroup)
    except OSError:
        pass  # a process that not even SIGKILL ends


def _processes_directory(cgroup: Cgroup) -> str:
    for name in (UNIFIED, "devices", "freezer", "pids", "memory"):
        if name in cgroup.directories:
            return cgroup.directories[name]
    return cgroup.unique()[0]


def _freezer(cgroup: Cgroup) -> str | None:
    return cgroup.directory("freezer") or cgroup.directories.get(UNIFIED)


def _set_frozen(cgroup: Cgroup, wanted: bool, timeout: float) -> None:
    directory = _freezer(cgroup)
    if directory is None:
        raise OSError(EOPNOTSUPP, "cannot freeze: no freezer control group")
    deadline = time.monotonic() + timeout
    if cgroup.version == 1 and cgroup.directory("freezer"):
        _set_frozen_v1(directory + "/freezer.state", "FROZEN" if wanted else "THAWED", deadline)
        return
    _write(directory + "/cgroup.freeze", str(int(wanted)))
    while f"frozen {int(wanted)}" not in _read(directory + "/cgroup.events"):
        if time.monotonic() > deadline:
            _write(directory + "/cgroup.freeze", "0")
            raise OSError(EBUSY, "processes did not freeze in time", directory)
        time.sleep(STEP)


def _set_frozen_v1(path: str, wanted: str, deadline: float) -> None:
    attempts = 0
    _write(path, wanted)
    while _read(path) != wanted:
        if time.monotonic() > deadline:
            _write(path, "THAWED")
            raise OSError(EBUSY, "processes did not freeze in time", path)
        attempts += 1
        # a process caught in vfork stays FREEZING until the others run again for a moment
        if wanted == "FROZEN" and attempts % 50 == 0:
            _write(path, "THAWED")
        time.sleep(STEP)
        _write(path, wanted)


def _tree(top: str) -> list[str]:
    """The directory and all below it, parents first."""
    found = [top]
    for directory in found:
        try:
            with os.scandir(directory) as entries:
                found += sorted(entry.path for entry in entries if entry.is_dir(follow_symlinks=False))
        except FileNotFoundError:
            pass
    return found


def _gone(path: str) -> FileNotFoundError:
    """A group that was removed between open and read or write: ENODEV there, ENOENT a moment earlier."""
    return FileNotFoundError(ENOENT, os.strerror(ENOENT), path)


def _read(path: str) -> str:
    try:
        with open(path, encoding="ascii") as file:
            return file.read().strip()
    except OSError as error:
        if error.errno == ENODEV:
            raise _gone(path) from error
        raise


def _write(path: str, text: str) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_CLOEXEC)
    try:
        os.write(descriptor, text.encode())
    except OSError as error:
        if error.errno == ENODEV:
            raise _gone(path) from error
        raise
    finally:
        os.close(descriptor)
