"""Create a container: an image, a name, a layer, volumes, and a record of it all."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable, Mapping
from contextlib import AsyncExitStack
from dataclasses import dataclass, replace

from tiffin.containers import creation, logs, modes, mounts, names, spec_devices, spec_mounts, validation
from tiffin.content import crash
from tiffin.engine import container_external, container_images, container_links, container_volumes
from tiffin.engine.container_context import Context, now
from tiffin.engine.threads import in_thread
from tiffin.errors import Invalid, NotFound, Unavailable
from tiffin.model.container import Config, Container, ContainerId, EndpointRequest
from tiffin.model.container_host import HostConfig, MountPoint
from tiffin.model.container_status import Health
from tiffin.model.digest import Digest
from tiffin.model.image import Image
from tiffin.model.platform import host_platform, parse_platform, rank


@dataclass(frozen=True, slots=True)
class Created:
    id: str
    warnings: tuple[str, ...]


class Creation:
    def __init__(self, context: Context) -> None:
        self._context = context
        self.created: Callable[[Container], None] = lambda _: None
        """Is told of each container that was made; set by the composition of the use cases."""

    async def create(
        self,
        name: str,
        config: Config,
        host: HostConfig,
        networks: Mapping[str, EndpointRequest] | None = None,
        *,
        platform: str = "",
    ) -> Created:
        """Raises Invalid, NotFound (image, network, container of a shared namespace), Conflict (name)."""
        context = self._context
        endpoints = _endpoints(host, config, dict(networks or {}))
        validation.check(config, host, endpoints)
        self._check_networks(endpoints)
        spec_devices.check(host)
        container_links.check(context, host.links or ())
        if not config.image:
            raise Invalid("invalid reference format: the request names no image")
        image = context.images.chosen(config.image, parse_platform(platform) if platform else None)
        merged = creation.merge(config, image.config.run)
        host = self._settle(host)
        logs.check_options(host.log_config)
        self._check_runtime(host)
        for path in host.tmpfs or {}:
            spec_mounts.tmpfs(path, (host.tmpfs or {})[path])
        container_id = ContainerId(names.new_id())
        await container_volumes.answering(host)
        points = mounts.settle(merged, host, self._other)
        path, args = creation.command_of(merged)
        async with AsyncExitStack() as undo:
            bare = context.records.reserve_name(name, container_id)
            undo.callback(context.records.release_name, bare)
            points = tuple([await self._volume(point, container_id, undo) for point in points])
            crash.point("container-volumes-made")
            undo.push_async_callback(self._drop_layer, container_id)  # what there is of one when it fails half-way
            await self._prepare_layer(container_id, image.chain)
            crash.point("container-layer-made")
            container = Container(
                id=container_id,
                name=bare,
                created=now(),
                image_id=image.id,
                config=replace(merged, hostname=creation.hostname(merged, host, container_id, socket.gethostname())),
                host=host,
                path=path,
                args=args,
                driver=context.snapshots.name,
                networks=endpoints,
                mounts=points,
                chain=image.chain,
                health=Health() if _has_probe(merged) else None,
            )
            context.records.add(container)
            undo.pop_all()
        context.publish(container, "create")
        asyncio.get_running_loop().call_soon(self.created, container)  # behind the answer
        return Created(container_id, (*image.warnings, *_platform_warnings(image, platform), *_warnings(host)))

    def _settle(self, host: HostConfig) -> HostConfig:
        settings = self._context.settings
        unified = self._context.hierarchies.version == 2
        settled = creation.settle(
            settings.host_defaults(host),
            runtime=settings.default_runtime,
            log=settings.default_log,
            unified_cgroups=unified,
        )
        return replace(
            settled,
            network_mode=self._resolved(settled.network_mode),
            ipc_mode=self._joined(settled.ipc_mode),
            pid_mode=self._joined(settled.pid_mode),
        )

    def _resolved(self, mode: str) -> str:
        """`container:NAME` as `container:ID`; that there is none shows at the start, as in docker."""
        try:
            return self._joined(mode)
        except Invalid:
            return mode

    def _joined(self, mode: str) -> str:
        reference = modes.container_of(mode)
        return mode if reference is None else f"container:{self._other(reference).id}"

    def _other(self, reference: str) -> Container:
        """A container that the request names. Raises Invalid: what the request is about is not there yet."""
        try:
            return self._context.records.find(reference)
        except NotFound as error:
            raise Invalid(str(error)) from error

    def _check_networks(self, endpoints: Mapping[str, EndpointRequest]) -> None:
        """Raises Invalid for places that the networks can't give; a missing network shows at the start."""
        for name, request in endpoints.items():
            try:
                self._context.networks.check_request(name, request)
            except Invalid as error:
                raise Invalid(f"invalid config for network {name}: {error}") from error
            except NotFound:
                continue

    def _check_runtime(self, host: HostConfig) -> None:
        if host.runtime != container_external.BUILT_IN and not container_external.program(self._context, host.runtime):
            raise Invalid(f"unknown or invalid runtime name: {host.runtime}")

    async def _volume(self, point: MountPoint, container_id: str, undo: AsyncExitStack) -> MountPoint:
        """Make or find a volume; its directory becomes the mount's source. An image's files are kept from here on."""
        if point.type == "image":
            undo.push_async_callback(asyncio.to_thread, container_images.release, self._context, container_id, (point,))
            return await asyncio.to_thread(container_images.pin, self._context, container_id, point)
        if point.type != "volume":
            return point
        volumes = self._context.volumes
        options = point.request.volume_options if point.request else None
        driver = options.driver_config if options else None
        undo.callback(volumes.release, container_id)
        volume = await in_thread(
            volumes.create,
            point.name,
            driver="" if point.driver == "local" else point.driver,  # whoever has it, where nobody else is asked for
            options=dict((driver.options if driver else None) or {}),
            labels=dict((options.labels if options else None) or {}),
            anonymous=point.anonymous,
            holder=container_id,
        )
        await in_thread(volumes.reference, point.name, container_id)
        return replace(point, source=volume.mountpoint, driver=volume.driver)

    async def _prepare_layer(self, container_id: str, chain: Digest | None) -> None:
        snapshots = self._context.snapshots
        try:
            if snapshots.name == "copy":
                await asyncio.to_thread(snapshots.prepare, container_id, chain)
            else:  # a few mkdirs: a thread would cost more
                snapshots.prepare(container_id, chain)
        except OSError as error:
            reason = (error.strerror or str(error)).lower()
            raise Unavailable(f"{reason}: making the container's layer {error.filename or ''}") from error

    async def _drop_layer(self, container_id: str) -> None:
        await asyncio.to_thread(self._context.snapshots.remove, container_id)


def _endpoints(host: HostConfig, config: Config, given: dict[str, EndpointRequest]) -> dict[str, EndpointRequest]:
    """Requests by network name. `default` means bridge; the mode's own network is meant where none is named."""
    found = {("bridge" if name == "default" else name): request for name, request in given.items()}
    mode = "bridge" if host.network_mode in ("", "default") else host.network_mode
    if modes.container_of(mode) is not None:
        return {}
    request = found.get(mode, EndpointRequest())
    if config.mac_address and not request.mac_address:
        request = replace(request, mac_address=config.mac_address)
    if found and mode not in found:
        return found
    return {mode: request, **{name: other for name, other in found.items() if name != mode}}


def _has_probe(config: Config) -> bool:
    health = config.healthcheck
    return bool(health and health.test and health.test[0] not in ("NONE", ""))


def _platform_warnings(image: Image, wanted: str) -> list[str]:
    """docker's words for an image that may not run here."""
    here, of = host_platform(), image.config.platform
    if wanted or not of.architecture or rank(here, of) is not None:
        return []
    return [
        f"The requested image's platform ({of}) does not match the detected host platform ({here}) "
        "and no specific platform was requested"
    ]


def _warnings(host: HostConfig) -> list[str]:
    found = []
    if host.oom_kill_disable and not host.memory:
        found.append(
            "OOM killer is disabled for the container, but no memory limit is set, this can result in the system"
            " running out of resources."
        )
    if host.network_mode == "host" and (host.port_bindings or host.publish_all_ports):
        found.append("Published ports are discarded when using host network mode")
    return found
