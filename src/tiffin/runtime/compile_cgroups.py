"""A container's control groups as operations of the plan: directories, limits, device rules, and its view of them."""

import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from tiffin.errors import Invalid
from tiffin.linux import cgroups, cgroups_devices, cgroups_v1, cgroups_v2, mounts
from tiffin.runtime import plan
from tiffin.runtime.compile_options import Options

VIEW_ATTRIBUTES = mounts.MOUNT_ATTR_NOSUID | mounts.MOUNT_ATTR_NODEV | mounts.MOUNT_ATTR_NOEXEC


@dataclass(frozen=True, slots=True)
class Groups:
    """operations for plan["cgroup"]; procs, oom, rmdir as the plan has them."""

    cgroup: cgroups.Cgroup
    operations: tuple[plan.Operation, ...]
    procs: tuple[bytes, ...]
    oom: bytes | None
    rmdir: tuple[bytes, ...]


def compile_groups(
    hierarchies: cgroups.Hierarchies,
    cgroups_path: str,
    resources: Mapping[str, Any],
    rules: Iterable[Mapping[str, Any]],
) -> Groups:
    """Directories, limits and rules of a new container. Raises Invalid where a limit makes no sense or has no file."""
    place = hierarchies.place(cgroups_path)
    try:
        operations = [*_create(hierarchies, place), *_limit(hierarchies, place, resources), *_devices(place, rules)]
    except OSError as error:
        raise Invalid(error.strerror) from error
    memory = place.directory("memory")
    oom = None
    if memory is not None:
        oom = f"{memory}/{'memory.oom_control' if place.version == 1 else 'memory.events'}".encode()
    return Groups(
        cgroup=place,
        operations=tuple(operations),
        procs=tuple(path.encode() for path in place.procs()),
        oom=oom,
        rmdir=tuple(path.encode() for path in place.unique()),
    )


def update(
    hierarchies: cgroups.Hierarchies, place: cgroups.Cgroup, resources: Mapping[str, Any]
) -> list[tuple[str, str, tuple[int, ...]]]:
    """What to write in order to change the limits of a group that lives: for cgroups_live.write_all. Raises Invalid."""
    try:
        if place.version == 2:
            return cgroups_v2.writes(place.directories[cgroups.UNIFIED], resources, hierarchies.controllers)
        return cgroups_v1.writes(place, resources, live=True)
    except OSError as error:
        raise Invalid(error.strerror) from error


def _create(hierarchies: cgroups.Hierarchies, place: cgroups.Cgroup) -> Iterable[plan.Operation]:
    controls = {}
    if hierarchies.version == 2 and hierarchies.unified is not None:
        controls = dict(cgroups_v2.subtree_controls(place, hierarchies.unified, hierarchies.controllers))
        for parent, writes in controls.items():
            if parent != hierarchies.unified:
                yield plan.mkdir(parent.encode())
            yield from _writes(writes)
        yield plan.mkdir(place.directories[cgroups.UNIFIED].encode())
        return
    for directory in place.unique():
        yield plan.mkdir(directory.encode(), parents=True)
    for parent, directory in cgroups_v1.hierarchy_preparations(place, hierarchies.v1):
        for file in ("cpuset.cpus", "cpuset.mems"):
            yield plan.copy(f"{parent}/{file}".encode(), f"{directory}/{file}".encode())


def _limit(
    hierarchies: cgroups.Hierarchies, place: cgroups.Cgroup, resources: Mapping[str, Any]
) -> Iterable[plan.Operation]:
    if place.version == 2:
        return _writes(cgroups_v2.writes(place.directories[cgroups.UNIFIED], resources, hierarchies.controllers))
    return _writes(cgroups_v1.writes(place, resources))


def _devices(place: cgroups.Cgroup, rules: Iterable[Mapping[str, Any]]) -> Iterable[plan.Operation]:
    policy = cgroups_devices.policy(rules)
    directory = place.directory("devices")
    if directory is None:
        return
    if place.version == 2:
        yield plan.device_filter(directory.encode(), cgroups_devices.program(policy))
        return
    for file, line in cgroups_devices.v1_writes(policy):
        yield plan.write(f"{directory}/{file}".encode(), line.encode())


def _writes(writes: Sequence[tuple[str, str, tuple[int, ...]]]) -> Iterable[plan.Operation]:
    return [plan.write(path.encode(), data.encode(), ignore=ignore) for path, data, ignore in writes]


# -- the container's view ----------------------------------------------------------------------------------------------


def view(
    hierarchies: cgroups.Hierarchies, place: cgroups.Cgroup, target: bytes, options: Options, *, private: bool
) -> Iterable[plan.Operation]:
    """The mount of type "cgroup". `private`: in a cgroup namespace, where the file system shows only what is below."""
    attributes = (options.set | VIEW_ATTRIBUTES, 0)
    if hierarchies.version == 2:
        yield plan.mount(target, b"cgroup2", b"cgroup", attributes=attributes, propagation=options.propagation)
        return
    # read-only last: the directories in it have to be made first
    writable = (attributes[0] & ~mounts.MOUNT_ATTR_RDONLY, 0)
    yield plan.mount(
        target, b"tmpfs", b"tmpfs", options=(b"mode=755",), attributes=writable,
        propagation=options.propagation,
    )  # fmt: skip
    names: dict[str, list[str]] = {}
    for controller, mount_point in hierarchies.v1.items():
        names.setdefault(mount_point, []).append(controller)
    for mount_point, controllers in names.items():
        base = os.path.basename(mount_point).encode()
        below = target + b"/" + base
        if private:
            yield plan.mount(
                below, b"cgroup", b"cgroup", attributes=attributes,
                options=tuple(controller.encode() for controller in controllers),
            )  # fmt: skip
        else:
            source = place.directories[controllers[0]].encode()
            yield plan.mount(below, b"bind", source, attributes=attributes, bind=1)
        for controller in controllers:
            if controller.encode() != base and not controller.startswith("name="):
                yield plan.symlink(target + b"/" + controller.encode(), base)
    if options.set & mounts.MOUNT_ATTR_RDONLY:
        yield plan.attributes(target, mounts.MOUNT_ATTR_RDONLY)
