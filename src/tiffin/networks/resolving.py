"""The name servers of all running containers that have one."""

import asyncio
import logging
import os
import socket
from collections.abc import Awaitable, Callable, Sequence
from functools import partial

from tiffin.model.network import Endpoint, Endpoints
from tiffin.networks import dns_message as dns
from tiffin.networks import doorway, files
from tiffin.networks.names import Names
from tiffin.networks.resolver import Resolver
from tiffin.networks.upstreams import Forwarder, choose

log = logging.getLogger(__name__)

InsideOf = Callable[..., Awaitable[list[int]]]
"""Makes sockets in a running container's network namespace: its id, then (family, type, protocol) of each."""

Sockets = tuple[socket.socket, socket.socket]

_LAST = 1.0
"""Seconds that a daemon which ends waits for resolvers elsewhere."""


async def nowhere(container_id: str, *wanted: tuple[int, int, int]) -> list[int]:
    """Without containers there are no sockets inside."""
    raise OSError(f"container {container_id} does not run")


class Resolvers:
    """Names are known from `add` to `remove`; a container is answered from `serve` to `end`."""

    def __init__(self, endpoints: Callable[[str], Endpoints | None]) -> None:
        """`endpoints` tells where a container is at the moment."""
        self.inside: InsideOf = nowhere
        self._endpoints = endpoints
        self._names = Names()
        self._serving: dict[str, Resolver] = {}
        self.add = self._names.add
        self.remove = self._names.remove

    def serves(self, container_id: str) -> bool:
        """Whether a container has a name server."""
        return container_id in self._serving

    def serve(self, endpoints: Endpoints, sockets: Sockets) -> None:
        """Begin to answer a container; the sockets are ours from here on."""
        container_id = endpoints.container_id
        self.end(container_id)
        upstreams = choose(
            endpoints.nameservers,
            files.upstreams(files.host_resolv_conf(), keep_loopback=True),
            ipv6=any(one.ipv6 for one in endpoints.endpoints),
        )
        self._serving[container_id] = Resolver(
            endpoints.container_name,
            sockets,
            partial(self._answer, container_id),
            partial(self._leads_out, container_id),
            Forwarder(upstreams, partial(self.inside, container_id)),
        )

    def end(self, container_id: str) -> None:
        """Answer it no more; no error where nobody did."""
        if (resolver := self._serving.pop(container_id, None)) is not None:
            resolver.close()

    async def close(self) -> None:
        """Let go of all; their sockets live on in the monitors.

        What was read would be lost, and a client waits for seconds before it asks again: so that is answered first.
        """
        asking = [task for one in self._serving.values() for task in one.pause()]
        if asking:
            await asyncio.wait(asking, timeout=_LAST)
        for container_id in list(self._serving):
            self.end(container_id)

    def _places(self, container_id: str) -> Sequence[Endpoint]:
        found = self._endpoints(container_id)
        return found.endpoints if found else ()

    def _answer(self, container_id: str, question: dns.Question, limit: int) -> bytes | None:
        return self._names.answer(question, self._places(container_id), limit=limit)

    def _leads_out(self, container_id: str) -> bool:
        # from internal networks nothing gets out, not even as a question (CVE-2024-29018)
        return any(one.gateway for one in self._places(container_id))


def open_sockets(resolver: Sequence[int], *, anew: bool = False) -> Sockets | None:
    """A name server's sockets, of a sandbox's `resolver`, ready to be served. Blocking; None where there are none.

    `anew`: there may have been others in this namespace.
    """
    if not resolver:
        return None
    datagrams, listener, netfilter = resolver
    made = (socket.socket(fileno=os.dup(datagrams)), socket.socket(fileno=os.dup(listener)))
    try:
        if not doorway.is_open(made[0]):
            doorway.open_to(*made, netfilter, anew=anew)
    except BaseException:
        for sock in made:
            sock.close()
        raise
    return made
