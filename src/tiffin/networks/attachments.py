"""The life of containers on networks: reserve, attach, release; connect and disconnect while they run."""

import asyncio
import ipaddress
import secrets
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Protocol, TypeVar

from tiffin.content import crash
from tiffin.errors import Conflict, Forbidden, Internal
from tiffin.model.container import Container, EndpointRequest
from tiffin.model.network import Endpoint, Endpoints, Network, Published
from tiffin.networks import bridges, definition, firewall, placing, ports
from tiffin.networks.placing import Places
from tiffin.networks.records import Records
from tiffin.networks.registry import Registry
from tiffin.networks.relay import Relay
from tiffin.networks.resolving import Resolvers, Sockets, open_sockets

T = TypeVar("T")
Tell = Callable[[str, Network, str], None]
"""Called on the event loop: `create`, `destroy`, `connect` or `disconnect`, the network, a container's id or ""."""


class Sandbox(Protocol):
    """A network namespace: `netlink` is the fd of a NETLINK_ROUTE socket made inside, `namespace` its own.

    `resolver` are the fds of three more, for a name server: UDP, TCP, NETLINK_NETFILTER; or none.
    """

    @property
    def netlink(self) -> int: ...
    @property
    def namespace(self) -> int: ...
    @property
    def resolver(self) -> Sequence[int]: ...


class Kernel:
    """One thread for everything that may wait for the kernel or the disk; what it is given runs in order."""

    def __init__(self) -> None:
        self._thread = ThreadPoolExecutor(1, "networks")

    async def do(self, work: Callable[[], T]) -> T:
        """Run it there, wait here."""
        return await asyncio.get_running_loop().run_in_executor(self._thread, work)

    def close(self) -> None:
        """After what has been begun."""
        self._thread.shutdown(wait=True)


class Attachments:
    """Who is on which network. `registry`, `places` and `rules` are shared with `service`."""

    def __init__(
        self,
        records: Records,
        registry: Registry,
        places: Places,
        rules: firewall.Firewall,
        kernel: Kernel,
        tell: Tell,
    ) -> None:
        self._records = records
        self._registry = registry
        self._places = places
        self._firewall = rules
        self._kernel = kernel
        self._tell = tell
        self._ports = ports.Ports()
        self._endpoints: dict[str, Endpoints] = {}
        self._relays: dict[str, Relay] = {}
        self.resolvers = Resolvers(self.endpoints)
        self._ipv6 = Path("/proc/sys/net/ipv6").exists()

    def containers(self, network_id: str) -> dict[str, Endpoints]:
        """The running containers on a network, by id."""
        return {key: one for key, one in self._endpoints.items() if one.on(network_id) is not None}

    def endpoints(self, container_id: str) -> Endpoints | None:
        """A running container's place on its networks."""
        return self._endpoints.get(container_id)

    async def close(self) -> None:
        """Let go; the containers keep their network."""
        for relay in self._relays.values():
            await relay.close()
        self._relays.clear()
        self.resolvers.close()
        self._ports.close()

    async def restore(self, running: Collection[str]) -> None:
        """Keep what the running containers have, forget the rest, and bring links and rules into line."""
        recorded = await self._kernel.do(self._records.endpoints)
        for one in recorded:
            if one.container_id in running:
                self._readmit(one)
        gone = [one.container_id for one in recorded if one.container_id not in self._endpoints]
        await self._kernel.do(lambda: self._reconcile(gone))
        for one in self._endpoints.values():
            self._relay(one)

    def _readmit(self, endpoints: Endpoints) -> None:
        kept = tuple(one for one in endpoints.endpoints if self._registry.find(one.network_id))
        endpoints = replace(endpoints, endpoints=kept)
        for one in kept:
            self._places.retake(one)
            self.resolvers.add(one)
        self._ports.retake(endpoints.published)
        self._endpoints[endpoints.container_id] = endpoints

    def _reconcile(self, gone: Collection[str]) -> None:
        for container_id in gone:
            self._records.drop_endpoints(container_id)
        names = {network.bridge for network in self._registry.bridges()}
        known = {one.host_interface for each in self._endpoints.values() for one in each.endpoints}
        bridges.remove_links(bridges.stale_ports(names, known))
        mappings = [one for each in self._endpoints.values() for one in _mappings(each)]
        self._firewall.replace(self._registry.rules(), mappings)

    async def reserve(self, container: Container) -> Endpoints:
        """Addresses, MACs and host ports for a start, all or none; what an earlier start left is released.

        Reads `networks`, the ports of `host` and `config`, and the names. Raises NotFound `network x not found`,
        PortTaken (dockerd's text and status), Invalid, Forbidden, Internal when addresses have run out.
        """
        if container.id in self._endpoints:
            await self.release(container.id)
        with ExitStack() as undo:
            places: list[Endpoint] = []
            for name, request in container.networks.items():
                network = self._registry.get(name)
                place = self._places.take(network, container, request, placing.next_interface(network, places))
                undo.callback(self._places.give_back, place)
                places.append(place)
            chosen = placing.with_gateway(places)
            endpoints = Endpoints(
                container_id=container.id,
                sandbox_id=secrets.token_hex(32),
                endpoints=chosen,
                exposed=_exposed(container),
                sysctls=placing.sysctls(chosen, ipv6=self._ipv6),
                container_name=container.name,
                nameservers=container.host.dns or (),
            )
            endpoints = replace(endpoints, published=self._publish(container, chosen))
            undo.pop_all()
        self._endpoints[container.id] = endpoints
        return endpoints

    def _publish(self, container: Container, places: Iterable[Endpoint]) -> tuple[Published, ...]:
        way = next((one for one in places if one.gateway), None)
        if way is None:  # host, none, or internal networks only: there is nowhere to publish to
            return ()
        wanted = ports.requests(
            container.host.port_bindings,
            container.config.exposed_ports or (),
            publish_all=container.host.publish_all_ports,
        )
        address = self._registry.get(way.network_id).options.get(definition.HOST_BINDING, "")
        default_ip = "" if address == "0.0.0.0" else address
        try:
            return tuple(self._ports.take(wanted, way.ipv4 or way.ipv6, default_ip=default_ip))
        except ports.PortTaken as error:
            leading = (
                "failed to set up container networking: driver failed programming external connectivity on endpoint"
            )
            raise ports.PortTaken(f"{leading} {container.name} ({way.id}): {error}") from error

    async def attach(self, endpoints: Endpoints, sandbox: Sandbox) -> None:
        """Make the interfaces in the sandbox and open the ports. Raises Internal; `release` then cleans up."""
        wired = [(self._registry.get(one.network_id), one) for one in endpoints.endpoints if one.interface]

        def work() -> Sockets | None:
            self._records.keep_endpoints(endpoints)
            crash.point("endpoints-recorded")
            for network, one in wired:
                hairpin = one.gateway and bool(endpoints.published)
                bridges.attach(network, one, netlink=sandbox.netlink, namespace=sandbox.namespace, hairpin=hairpin)
            crash.point("endpoints-linked")
            self._firewall.publish(_mappings(endpoints))
            crash.point("ports-published")
            return open_sockets(sandbox.resolver)

        if wired:
            try:
                asked = await self._kernel.do(work)
            except OSError as error:
                raise Internal(f"failed to set up container networking: {words(error)}") from error
            self._relay(endpoints)
            if asked is not None:
                self.resolvers.serve(endpoints, asked)
        for place in endpoints.endpoints:
            self.resolvers.add(place)
            self._tell("connect", self._registry.get(place.network_id), endpoints.container_id)

    async def resume(self, container_id: str, sandbox: Sandbox) -> None:
        """Answer the names again that a running container asks for, after a restart of the daemon."""
        if (endpoints := self._endpoints.get(container_id)) is not None:
            await self._resolve(endpoints, sandbox)

    async def _resolve(self, endpoints: Endpoints, sandbox: Sandbox) -> None:
        if not endpoints.named or self.resolvers.serves(endpoints.container_id):
            return
        try:
            asked = await self._kernel.do(lambda: open_sockets(sandbox.resolver, anew=True))
        except OSError as error:
            raise Internal(f"cannot resolve names for container {endpoints.container_id}: {words(error)}") from error
        if asked is not None:
            self.resolvers.serve(endpoints, asked)

    def _relay(self, endpoints: Endpoints) -> None:
        way = next((one for one in endpoints.endpoints if one.gateway), None)
        for one in endpoints.published if way is not None else ():
            assert way is not None
            # the firewall has sent everything else on: what arrives is of the family that the container has not, or
            # from the host's ::1, which the kernel routes nowhere
            address = way.ipv4 or way.ipv6
            listener = self._ports.listener(one)
            if listener is not None and one.protocol == "tcp" and (":" in one.host_ip or not way.ipv4):
                relay = self._relays.setdefault(endpoints.container_id, Relay())
                relay.serve(listener, address, one.container_port)

    async def release(self, container_id: str) -> None:
        """Give back what a container holds; nothing to give back is no error.

        The links go with the namespace: the kernel needs its time for that, and nobody waits for it.
        """
        endpoints = self._endpoints.get(container_id)
        if endpoints is None:
            return
        for one in endpoints.endpoints:
            self.resolvers.remove(one)
        self.resolvers.end(container_id)
        relay = self._relays.pop(container_id, None)
        if relay is not None:
            await relay.close()

        def work() -> None:
            # rules before ports and addresses: else the next holder's packets would still come here
            self._firewall.withdraw(_mappings(endpoints))
            crash.point("ports-withdrawn")
            self._records.drop_endpoints(container_id)

        try:
            if any(one.interface for one in endpoints.endpoints):
                await self._kernel.do(work)
        finally:
            if self._endpoints.get(container_id) is endpoints:
                del self._endpoints[container_id]
                self._ports.give_back(endpoints.published)
                for one in endpoints.endpoints:
                    self._places.give_back(one)
                    if (network := self._registry.find(one.network_id)) is not None:
                        self._tell("disconnect", network, container_id)

    async def connect(
        self, reference: str, container: Container, request: EndpointRequest, sandbox: Sandbox
    ) -> Endpoint:
        """Put a running container on a further network. Raises NotFound, Conflict, Forbidden, Invalid, Internal."""
        network = self._registry.get(reference)
        before = self._endpoints.get(container.id)
        if before is None:
            raise Conflict(f"container {container.id} is not running")
        check_joinable(network, container.host.network_mode)
        if before.on(network.id) is not None:
            raise Forbidden(f"endpoint with name {container.name} already exists in network {network.name}")
        place = self._places.take(network, container, request, placing.next_interface(network, before.endpoints))
        places = placing.with_gateway((*before.endpoints, place))
        # the way out stays where it is while the container runs: its connections and published ports depend on it
        if any(one.gateway for one in before.endpoints):
            places = (*before.endpoints, place)
        after = replace(before, endpoints=places, sysctls=placing.sysctls(places, ipv6=self._ipv6))
        self._endpoints[container.id] = after
        place = places[-1]

        def work() -> None:
            self._records.keep_endpoints(after)
            bridges.attach(network, place, netlink=sandbox.netlink, namespace=sandbox.namespace)

        try:
            await self._kernel.do(work)
        except OSError as error:
            self._endpoints[container.id] = before
            self._places.give_back(place)
            await self._kernel.do(lambda: self._records.keep_endpoints(before))
            raise Internal(f"failed to set up container networking: {words(error)}") from error
        self.resolvers.add(place)
        await self._resolve(after, sandbox)
        self._tell("connect", network, container.id)
        return place

    async def disconnect(self, reference: str, container_id: str) -> Network:
        """Take a running container off a network. Raises NotFound, Forbidden when it is not on it, Internal."""
        network = self._registry.get(reference)
        before = self._endpoints.get(container_id)
        place = before.on(network.id) if before else None
        if before is None or place is None:
            raise Forbidden(f"container {container_id} is not connected to network {network.name}")
        self.resolvers.remove(place)
        leaving = before.published if place.gateway else ()
        rest = tuple(one for one in before.endpoints if one.id != place.id)
        after = replace(before, endpoints=rest, published=() if place.gateway else before.published)
        self._endpoints[container_id] = after
        if place.gateway and (relay := self._relays.pop(container_id, None)) is not None:
            await relay.close()

        def work() -> None:
            self._firewall.withdraw(_mappings(before) if leaving else [])
            bridges.detach(place)
            self._records.keep_endpoints(after)

        try:
            await self._kernel.do(work)
        except OSError as error:
            raise Internal(f"cannot disconnect from network {network.name}: {words(error)}") from error
        finally:
            self._ports.give_back(leaving)
            self._places.give_back(place)
        self._tell("disconnect", network, container_id)
        return network


def check_joinable(network: Network, mode: str) -> None:
    """Raises Forbidden where a container in a network mode can't join a network."""
    if mode.startswith("container:"):
        raise Forbidden(
            "container sharing network namespace with another container cannot be connected to any other network"
        )
    if network.driver == "host":
        raise Forbidden(
            "container cannot be connected to host network - container was not created in host network mode"
        )
    if mode == "host":
        raise Forbidden("container cannot be connected to another network: it was created in host network mode")
    if network.driver == "null" or mode == "none":
        raise Forbidden(
            "container cannot be connected to multiple networks with one of the networks in private (none) mode"
        )


def _exposed(container: Container) -> tuple[str, ...]:
    if container.host.network_mode == "host":
        return ()
    return tuple(ports.expand(container.config.exposed_ports or ()))


def _mappings(endpoints: Endpoints) -> list[firewall.Mapping]:
    way = next((one for one in endpoints.endpoints if one.gateway), None)
    if way is None:
        return []
    targets: Mapping[int, str] = {4: way.ipv4, 6: way.ipv6}
    found = []
    for one in endpoints.published:
        target = targets[ipaddress.ip_address(one.host_ip).version]
        if target:
            found.append(firewall.Mapping(one, target))
    return found


def words(error: OSError) -> str:
    """An error of the kernel in a line: what it was about, and why."""
    reason = error.strerror or str(error)
    return f"{error.filename}: {reason}" if error.filename else reason
