"""Networks of a container that exists: connect and disconnect, while it runs or before.

The endpoints of a running one are the networks' business; here its record, its name files and its interfaces'
settings follow.
"""

from __future__ import annotations

import contextlib
import errno
import os
from dataclasses import replace

from tiffin.containers import modes
from tiffin.engine import container_files
from tiffin.engine.container_context import Context
from tiffin.errors import Conflict, Forbidden, Invalid, NotFound
from tiffin.model.container import Container, EndpointRequest
from tiffin.model.network import Endpoint, Endpoints
from tiffin.networks.placing import sysctls
from tiffin.networks.service import check_joinable
from tiffin.runtime.launcher import Running, Sandbox, StartFailed
from tiffin.runtime.link import close_all

_REFUSED = (errno.ENOENT, errno.EINVAL, errno.EACCES, errno.EPERM, errno.ERANGE)


class Joining:
    def __init__(self, context: Context) -> None:
        self._context = context

    async def connect(self, network: str, reference: str, request: EndpointRequest) -> None:
        """Put a container on a network, whether it runs or not. Raises NotFound, Forbidden, Conflict, Invalid."""
        context = self._context
        container = context.records.find(reference)
        async with context.records.lock(container.id):
            container = context.records.get(container.id)
            found = context.networks.get(network)
            process = context.live(container.id).process
            if process is not None:
                await self._join(container, process, found.id, request)
            else:
                check_joinable(found, container.host.network_mode)
                if _named(container, found.name, found.id) is not None:
                    raise Forbidden(f"endpoint with name {container.name} already exists in network {found.name}")
            context.records.rewrite(
                replace(context.records.get(container.id), networks={**container.networks, found.name: request})
            )

    async def _join(self, container: Container, process: Running, network_id: str, request: EndpointRequest) -> None:
        networks = self._context.networks
        before = networks.endpoints(container.id)
        sandbox = await _sandbox(container, process)
        try:
            place = await networks.connect(network_id, container, request, sandbox)
            settings = sysctls((place,), ipv6=os.path.exists("/proc/sys/net/ipv6"))
            try:
                if settings:
                    await process.set_sysctls(settings)
            except StartFailed as failure:
                with contextlib.suppress(Forbidden):  # it has ended, and been released
                    await networks.disconnect(network_id, container.id, sandbox)
                if failure.errno in _REFUSED:
                    raise Invalid(f"cannot set the interface's sysctls {dict(settings)}: {failure}") from failure
                raise _gone(container, failure) from failure
        finally:
            close_all(sandbox.descriptors)
        self._rewrite(container, before, added=place)

    def _rewrite(
        self,
        container: Container,
        before: Endpoints | None,
        *,
        added: Endpoint | None = None,
        gone: Endpoint | None = None,
    ) -> None:
        """Bring hosts and resolv.conf of a running container into line; what it wrote itself stays."""
        context = self._context
        directory = context.directory(container.id)
        container_files.change_hosts(directory, container, added=added, gone=gone)
        then = container_files.resolver(container, before)
        now = container_files.resolver(container, context.networks.endpoints(container.id))
        if then != now:
            container_files.exchange(directory / "resolv.conf", then, now)

    async def disconnect(self, network: str, reference: str, *, force: bool = False) -> None:
        """Take a container off a network. Raises NotFound, Forbidden, Conflict."""
        context = self._context
        container = context.records.find(reference)
        async with context.records.lock(container.id):
            container = context.records.get(container.id)
            found = context.networks.get(network)
            key = _named(container, found.name, found.id)
            if key is None or modes.container_of(container.host.network_mode) is not None:
                raise Forbidden(f"container {container.id} is not connected to network {found.name}")
            process = context.live(container.id).process
            if process is not None:
                try:
                    await self._leave(container, process, found.id)
                except (Conflict, Forbidden, NotFound):
                    if not force:
                        raise
            rest = {name: one for name, one in container.networks.items() if name != key}
            context.records.rewrite(replace(context.records.get(container.id), networks=rest))

    async def _leave(self, container: Container, process: Running, network_id: str) -> None:
        networks = self._context.networks
        sandbox = await _sandbox(container, process)
        try:
            gone = await networks.disconnect(network_id, container.id, sandbox)
        finally:
            close_all(sandbox.descriptors)
        # resolv.conf stays: who asks 127.0.0.11 goes on doing so, and is answered
        container_files.change_hosts(self._context.directory(container.id), container, gone=gone)


async def _sandbox(container: Container, process: Running) -> Sandbox:
    try:
        return await process.sandbox(resolver=True)
    except StartFailed as failure:  # it is ending, or has no monitor at the moment
        raise _gone(container, failure) from failure


def _gone(container: Container, failure: StartFailed) -> Conflict:
    return Conflict(f"container {container.id} is not running: {failure}")


def _named(container: Container, name: str, network_id: str) -> str | None:
    """The key under which a container has a network: its name or id."""
    return next((key for key in container.networks if key in (name, network_id)), None)
