"""Changes to a container that exists: its name, its limits, its restart policy, its networks."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields, replace
from typing import Any

from tiffin.containers import restart, spec_resources, validation
from tiffin.containers.names import checked
from tiffin.engine.container_context import Context
from tiffin.engine.container_networks import Joining
from tiffin.errors import Conflict, Invalid
from tiffin.linux import cgroups_live
from tiffin.model.container import Container
from tiffin.model.container_host import HostConfig
from tiffin.model.container_status import Dead, Paused, Removing, Running
from tiffin.runtime import compile_cgroups

_UPDATABLE = frozenset(
    [
        "cpu_shares",
        "memory",
        "nano_cpus",
        "blkio_weight",
        "cpu_period",
        "cpu_quota",
        "cpu_realtime_period",
        "cpu_realtime_runtime",
        "cpuset_cpus",
        "cpuset_mems",
        "memory_reservation",
        "memory_swap",
        "kernel_memory",
        "pids_limit",
        "restart_policy",
    ]
)


class Changing:
    def __init__(self, context: Context) -> None:
        self._context = context
        joining = Joining(context)
        self.connect = joining.connect
        self.disconnect = joining.disconnect

    async def rename(self, reference: str, name: str) -> None:
        """Raises NotFound, Invalid, Conflict."""
        context = self._context
        container = context.records.find(reference)
        if not name:
            raise Invalid("Neither old nor new names may be empty")
        async with context.records.lock(container.id):
            container = context.records.get(container.id)
            bare = checked(name)
            if bare == container.name:
                raise Invalid("Renaming a container with the same name as its current name")
            try:
                context.records.reserve_name(bare, container.id)
            except Conflict as error:
                raise Conflict(f"Error when allocating new name: {error}") from error
            old = container.name
            container = replace(container, name=bare)
            context.records.rewrite(container)
            context.records.release_name(old)
            await context.networks.rename(container.id, bare)
        context.publish(container, "rename", oldName=f"/{old}")

    async def update(self, reference: str, given: Mapping[str, Any]) -> list[str]:
        """`given` holds the fields of HostConfig that the request sets. Gives warnings. Raises Invalid, Conflict."""
        context = self._context
        container = context.records.find(reference)
        async with context.records.lock(container.id):
            container = context.records.get(container.id)
            if isinstance(container.status, Removing | Dead):
                raise Conflict('Container is marked for removal and cannot be "update".')
            asked = {key: value for key, value in given.items() if key in _UPDATABLE}
            if asked.get("nano_cpus"):
                validation.check_resources(replace(HostConfig(), **asked))
            try:
                host = _merged(container.host, asked)
            except (Conflict, Invalid) as error:
                raise type(error)(f"Cannot update container {container.id}: {error}") from error
            validation.check_resources(host)
            if container.host.auto_remove and host.restart_policy.name != "no":
                raise Conflict("Restart policy cannot be updated because AutoRemove is enabled for the container")
            host = replace(host, restart_policy=restart.check(host.restart_policy, container.host.auto_remove))
            if isinstance(container.status, Running | Paused):
                self._apply(container, host)
            container = replace(container, host=host)
            context.records.rewrite(container)
        context.publish(container, "update")
        return []

    def _apply(self, container: Container, host: HostConfig) -> None:
        try:
            hierarchies, place = self._context.hierarchies, self._context.cgroup(container)
            cgroups_live.write_all(compile_cgroups.update(hierarchies, place, spec_resources.limits(host)))
        except OSError as error:
            raise Conflict(f"Cannot update container {container.id}: {error}") from error


def _merged(host: HostConfig, given: Mapping[str, Any]) -> HostConfig:
    """Zero and empty mean "as it is", as docker reads an update."""
    defaults = {item.name: item.default for item in fields(HostConfig)}
    changes = {key: value for key, value in given.items() if value != defaults[key] and value is not None}
    if changes.get("nano_cpus") and (host.cpu_quota or host.cpu_period):
        raise Conflict("Conflicting options: Nano CPUs cannot be updated as CPU Period has already been set")
    if (changes.get("cpu_quota") or changes.get("cpu_period")) and host.nano_cpus:
        option = "CPU Quota" if changes.get("cpu_quota") else "CPU Period"
        raise Conflict(f"Conflicting options: {option} cannot be updated as NanoCPUs has already been set")
    memory, swap = changes.get("memory"), changes.get("memory_swap")
    if memory and not swap and 0 < host.memory_swap < memory:
        raise Invalid(
            "Memory limit should be smaller than already set memoryswap limit, update the memoryswap at the same time"
        )
    if (limit := changes.get("pids_limit")) is not None and limit < 0:
        changes["pids_limit"] = 0  # no limit, as docker shows it
    policy = changes.get("restart_policy")
    if policy is not None and not policy.name:
        del changes["restart_policy"]
    return replace(host, **changes)
