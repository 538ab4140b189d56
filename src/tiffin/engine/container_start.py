"""Start a container: from its record to a running process.

In order: its layer's mounts, who its user is, its volumes, its addresses and files, the specification, the plan, and
the word to the forkserver. What was acquired is given back in the opposite order when a step fails.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Mapping
from contextlib import AsyncExitStack, suppress
from dataclasses import replace
from typing import Any, NamedTuple

import msgspec

from tiffin.containers import logs, modes, spec, spec_devices, spec_mounts
from tiffin.containers.users import User, resolve
from tiffin.content import crash
from tiffin.engine import (
    container_external,
    container_files,
    container_images,
    container_links,
    container_owners,
    container_root,
    container_volumes,
)
from tiffin.engine.container_context import Context, log
from tiffin.engine.container_failures import OTHER, StartError, of_runtime
from tiffin.engine.container_links import Link
from tiffin.engine.container_plan import Facts, Plan, Plans
from tiffin.engine.threads import in_thread
from tiffin.errors import Conflict, Forbidden, Internal, Invalid, NotFound, TiffinError
from tiffin.linux import cgroups_live, mounts
from tiffin.model.container import Container
from tiffin.model.container_status import Paused, Restarting, process_of, status_word
from tiffin.model.container_status import Running as RunningStatus
from tiffin.model.mount import Mount
from tiffin.model.network import Endpoints
from tiffin.runtime import journald
from tiffin.runtime.launcher import Attachment, Networking, Running, Sandbox, StartFailed

_NETWORKING = "failed to set up container networking"
_REMEMBERED = 256
_ARRIVAL = 5.0  # s; on an idle machine it takes less than one thousandth of that


class _Networking(NamedTuple):
    """What a plan says of a container's networks."""

    networked: bool
    named: bool
    sysctls: Mapping[str, str]

    @classmethod
    def of(cls, endpoints: Endpoints | None) -> _Networking:
        if endpoints is None:
            return cls(False, False, {})
        networked = any(one.interface for one in endpoints.endpoints)
        return cls(networked, endpoints.named, endpoints.sysctls if networked else {})


class Starter:
    """`launch` one container. It knows nothing of restarts, events or waiting clients."""

    def __init__(self, context: Context) -> None:
        self._context = context
        self._networkings: dict[str, _Networking] = {}  # as last seen, by network mode
        self._users: dict[tuple[str | None, str, tuple[str, ...]], User] = {}
        self._root_at = context.settings.exec_root / "root"
        container_files.make_directory(self._root_at, 0o700)
        self._plans = Plans(context, self._root_at)

    async def launch(self, container: Container) -> Running:
        """Raises StartError, which carries the exit code that docker gives such a failure."""
        async with AsyncExitStack() as undo:
            try:
                plan, network = await self._prepare(container, undo)
                crash.point("container-prepared")
                early = await self._context.early.take(container.id, plan)
                if early is not None:
                    undo.callback(early.close)
                # the client that starts it may have been told of its attachment before us
                await self._context.live(container.id).arriving.settled(_ARRIVAL)
                attachments = self._context.take_pending(container.id)
                process = await self._begin(plan, attachments, network, early)
                for one in attachments:
                    if one.ended is not None:
                        self._context.watch_stream(container.id, one.ended)
                if network is None and (endpoints := self._context.networks.endpoints(container.id)) is not None:
                    self._context.networks.joined(endpoints)
            except StartFailed as failure:
                if failure.step == "monitor":  # it died: where the forkserver did too, nobody else ends what it began
                    await asyncio.to_thread(cgroups_live.discard, self._context.cgroup(container))
                raise of_runtime(failure) from failure
            except TiffinError as failure:
                raise StartError(failure, OTHER) from failure
            except Exception as failure:
                if not isinstance(failure, OSError):  # a mistake of ours, which must not keep what the start has taken
                    log.exception("cannot start container %s", container.id[:12])
                raise StartError(Internal(f"cannot start container {container.id[:12]}: {failure}"), OTHER) from failure
            undo.pop_all()
        return process

    async def _begin(
        self, plan: Plan, attachments: list[Attachment], network: Networking | None, early: Running | None
    ) -> Running:
        if early is None:
            return await self._context.launcher.start(plan, attachments=attachments, network=network)
        await early.release(attachments, network)
        return early

    def close(self) -> None:
        """At the daemon's end."""
        self._context.early.close()
        if os.path.ismount(self._root_at):
            mounts.umount(os.fsencode(self._root_at), mounts.MNT_DETACH)

    async def clean(self, container_id: str) -> None:
        """Give back what a run held outside the monitor's reach; nothing happens when there is nothing."""
        await self._context.networks.release(container_id)
        if self._context.volumes.mounted(container_id):
            await in_thread(self._context.volumes.unmount, container_id)
        container_files.drop_shm(self._context.state(container_id))
        container_images.unmount(self._context.state(container_id))
        container_external.drop(self._context, container_id)

    async def _prepare(self, container: Container, undo: AsyncExitStack) -> tuple[Plan, Networking | None]:
        context = self._context
        directory, state = context.directory(container.id), context.state(container.id)
        container_files.make_directory(directory, 0o710)
        container_files.make_directory(state, 0o700)
        layers = context.snapshots.mounts(container.id)
        undo.push_async_callback(self.clean, container.id)
        sources = await container_volumes.sources(context, container, layers)
        endpoints = await self._reserve(container)
        links = container_links.resolve(context, container)
        files = self._files(container, endpoints, links)
        network = None
        if endpoints is not None and any(one.interface for one in endpoints.endpoints):

            async def network(sandbox: Sandbox) -> None:
                await context.networks.attach(endpoints, sandbox)
                await container_links.connect(context, container, links)
                await container_links.refresh(context, container)

        networking = _Networking.of(endpoints)
        if endpoints is not None:
            while len(self._networkings) >= _REMEMBERED:
                del self._networkings[next(iter(self._networkings))]
            self._networkings[container.host.network_mode] = networking
        if container.id in context.early and (plan := self._plans.just_made(container, *networking)) is not None:
            return plan, network
        around = self._around(container, layers, self._user(container, layers), links, files, sources)
        return self._plans.of(self._facts(container, around, layers, networking), undo), network

    def foresee(self, container: Container) -> None:
        """Plan, and begin, the start of what was just created, where that needs nothing that only a start may do."""
        host = container.host
        networking = self._networkings.get(host.network_mode)
        user = self._users.get((container.chain, container.config.user, host.group_add or ()))
        if networking is None or user is None or not _is_foreseeable(container):
            return
        with suppress(TiffinError, OSError):  # the start will say so
            layers = self._context.snapshots.mounts(container.id)
            files = container_files.blank(self._context.directory(container.id))
            container_files.make_directory(self._context.state(container.id), 0o700)
            around = self._around(container, layers, user, [], files, {})
            plan = self._plans.foresee(self._facts(container, around, layers, networking))
            self._context.early.begin(container, plan)

    def _around(
        self,
        container: Container,
        layers: tuple[Mount, ...],
        user: User,
        links: list[Link],
        files: dict[str, str],
        sources: dict[str, str],
    ) -> spec.Surroundings:
        context = self._context
        return spec.Surroundings(
            user=user,
            root="rootfs",
            devices=spec_devices.devices(container.host, context.settings.cdi_directories),
            hostname=container.config.hostname or self._shared_hostname(container),
            cgroup_parent=container.host.cgroup_parent or context.settings.cgroup_parent,
            unified_cgroups=context.hierarchies.version == 2,
            joined=self._joined(container),
            files=files,
            sources=sources,
            owners=container_owners.mappings(container, layers, user),
            variables=tuple(container_links.variables(container, links)),
            shm=self._shm(container),
        )

    def _facts(
        self, container: Container, around: spec.Surroundings, layers: tuple[Mount, ...], networking: _Networking
    ) -> Facts:
        init = self._context.settings.init if container.host.init is None else container.host.init
        return Facts(container, around, layers, self._log(container), init, *networking)

    def _user(self, container: Container, layers: tuple[Mount, ...]) -> User:
        """Read from the container's files; while nobody wrote to its layer, what the image says is remembered."""
        groups = container.host.group_add or ()
        key = (container.chain, container.config.user, groups)
        if container.pristine and key in self._users:
            return self._users[key]
        with container_root.opened(layers) as root:
            user = resolve(container.config.user, groups, lambda path: container_root.read_small(root, path))
        if container.pristine and container.chain:
            while len(self._users) >= _REMEMBERED:
                del self._users[next(iter(self._users))]
            self._users[key] = user
        return user

    async def _reserve(self, container: Container) -> Endpoints | None:
        """Addresses and ports; None for a container on another one's network."""
        if modes.container_of(container.host.network_mode) is not None or container.config.network_disabled:
            return None
        try:
            return await self._context.networks.reserve(container)
        except (NotFound, Invalid, Forbidden) as error:
            if str(error).startswith(_NETWORKING):
                raise
            kind = next(one for one in (NotFound, Invalid, Forbidden) if isinstance(error, one))
            raise kind(f"{_NETWORKING}: {error}") from error

    def _files(self, container: Container, endpoints: Endpoints | None, links: list[Link]) -> dict[str, str]:
        context = self._context
        donor = modes.container_of(container.host.network_mode)
        if donor is not None:
            base = context.directory(context.records.find(donor).id)
            return {f"/etc/{name}": str(base / name) for name in container_files.MOUNTED}
        gateway = context.networks.host_gateway if _names_the_host(container) else ""
        contents = container_files.contents(
            container, endpoints, gateway, [(one.address, one.names()) for one in links]
        )
        return container_files.write(context.directory(container.id), contents)

    def _shared_hostname(self, container: Container) -> str:
        donor = modes.container_of(container.host.network_mode)
        return self._context.records.find(donor).config.hostname if donor else ""

    def _joined(self, container: Container) -> dict[str, int]:
        """Process ids of the containers whose namespaces it shares. Raises Conflict when one does not run."""
        host = container.host
        found = {}
        for kind, mode in (("network", host.network_mode), ("ipc", host.ipc_mode), ("pid", host.pid_mode)):
            reference = modes.container_of(mode)
            if reference is not None:
                found[kind] = process_of(self._donor(reference, kind).status)
        if "network" in found:
            found["uts"] = found["network"]  # its hostname goes with its network
        return found

    def _donor(self, reference: str, kind: str) -> Container:
        donor = self._context.records.find(reference)
        if isinstance(donor.status, Restarting):
            raise Conflict(f"Container {reference} is restarting, wait until the container is running")
        if not isinstance(donor.status, RunningStatus | Paused):
            state = f"container {donor.name} is {status_word(donor.status)}"
            raise Conflict(f"cannot join {kind} namespace of a non running container: {state}")
        if kind == "ipc" and not spec_mounts.is_shareable(donor.host):
            raise Conflict(
                f"failed to join IPC namespace: container {donor.id}: non-shareable IPC (hint: use IpcMode:shareable"
                " for the donor container)"
            )
        return donor

    def _shm(self, container: Container) -> str | None:
        context, host = self._context, container.host
        if host.ipc_mode == "shareable":
            return container_files.mount_shm(context.state(container.id), host.shm_size)
        reference = modes.container_of(host.ipc_mode)
        if reference is None:
            return None
        return str(context.state(context.records.find(reference).id) / "shm")

    def _log(self, container: Container) -> dict[str, Any] | None:
        context, config = self._context, container.host.log_config
        if config.type == "none":
            return None
        if config.type == "json-file":
            config = replace(config, config={**context.settings.log_bounds, **config.config})
        max_size, max_file, compress = logs.settings(config)
        facts = _log_facts(container)
        attributes = logs.attributes(config, facts)
        found: dict[str, Any] = {
            "driver": config.type,
            "path": str(log_file(self._context, container)),
            "max_size": max_size,
            "max_file": max_file,
            "compress": compress,
            "attrs": msgspec.json.encode(attributes) if attributes else None,
        }
        if config.type == "journald":
            if not os.path.exists(journald.SOCKET):
                raise Internal("failed to initialize logging driver: journald is not enabled on this host")
            fields = logs.journal_fields(config, facts)
            found["journal"] = b"".join(journald.field(name.encode(), value.encode()) for name, value in fields.items())
        return found


def _log_facts(container: Container) -> logs.Facts:
    config = container.config
    return logs.Facts(
        container.id,
        container.name,
        config.image,
        container.image_id,
        " ".join((container.path, *container.args)),
        config.labels or {},
        config.env or (),
    )


def _is_foreseeable(container: Container) -> bool:
    """Whether nothing of another container, of a volume or of a log service is to be had for its plan."""
    host = container.host
    shared = any(modes.container_of(mode) for mode in (host.network_mode, host.ipc_mode, host.pid_mode))
    return not (shared or container.mounts or host.links or host.ipc_mode == "shareable") and (
        host.runtime == container_external.BUILT_IN and host.log_config.type == "json-file"
    )


def _names_the_host(container: Container) -> bool:
    return any(entry.endswith("host-gateway") for entry in container.host.extra_hosts or ())


def log_file(context: Context, container: Container) -> str:
    """Where the monitor writes what it said."""
    directory = context.directory(container.id)
    if container.host.log_config.type == "json-file":
        return str(directory / f"{container.id}-json.log")
    path = directory / "local-logs"
    container_files.make_directory(path, 0o700)
    return os.path.join(path, "container.log")
