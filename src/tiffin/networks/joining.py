"""Networks of a container that runs: connect, disconnect, and its name server after a restart of the daemon."""

from collections.abc import Callable
from dataclasses import replace

from tiffin.errors import Conflict, Forbidden, Internal, Invalid, TiffinError
from tiffin.model.container import Container, EndpointRequest
from tiffin.model.network import Endpoint, Endpoints, Network
from tiffin.networks import bridges, placing, wiring
from tiffin.networks.resolving import open_sockets
from tiffin.networks.standing import Sandbox, Standing, mappings, words

ALONE = "container cannot be connected to multiple networks with one of the networks in private (none) mode"


class Joining:
    """`standing` is shared with `attachments` and `service`."""

    def __init__(self, standing: Standing) -> None:
        self._standing = standing

    async def resume(self, container_id: str, sandbox: Sandbox) -> None:
        """Answer the names again that a running container asks for, after a restart of the daemon."""
        if (endpoints := self._standing.endpoints.get(container_id)) is not None:
            await self._resolve(endpoints, sandbox)

    async def _resolve(self, endpoints: Endpoints, sandbox: Sandbox) -> None:
        if not endpoints.named or self._standing.resolvers.serves(endpoints.container_id):
            return
        try:
            asked = await self._standing.kernel.do(lambda: open_sockets(sandbox.resolver, anew=True))
        except OSError as error:
            raise Internal(f"cannot resolve names for container {endpoints.container_id}: {words(error)}") from error
        if asked is not None:
            self._standing.resolvers.serve(endpoints, asked)

    async def rename(self, container_id: str, name: str) -> None:
        """Know a running container under another name."""
        standing = self._standing
        before = standing.endpoints.get(container_id)
        if before is None:
            return
        places = []
        for one in before.endpoints:
            names = one.dns_names
            if names is not None:
                names = (name, *(each for each in names if each not in (name, before.container_name)))
            places.append(replace(one, dns_names=names))
            standing.resolvers.remove(one)
            standing.resolvers.add(places[-1])
        after = standing.endpoints[container_id] = replace(before, endpoints=tuple(places), container_name=name)
        await standing.kernel.do(lambda: standing.records.keep_endpoints(after))

    async def connect(
        self, reference: str, container: Container, request: EndpointRequest, sandbox: Sandbox
    ) -> Endpoint:
        """Put a running container on a further network. Raises NotFound, Conflict, Forbidden, Invalid, Internal."""
        standing = self._standing
        network = standing.registry.get(reference)
        before = standing.endpoints.get(container.id)
        if before is None:
            raise Conflict(f"container {container.id} is not running")
        check_joinable(network, container.host.network_mode)
        if before.on(network.id) is not None:
            raise Forbidden(f"endpoint with name {container.name} already exists in network {network.name}")
        interface = placing.next_interface(network, before.endpoints)
        place = standing.places.take(network, container, request, interface)
        places = (*before.endpoints, place)
        # the way out stays where it is, for the sake of the connections on it, unless this one is asked for
        way = next((one for one in before.endpoints if one.gateway), None)
        if way is None or request.gw_priority > way.request.gw_priority:
            places = placing.with_gateway(places)
        after = replace(before, endpoints=places, sysctls=placing.sysctls(places, ipv6=standing.ipv6))
        place = places[-1]
        try:
            await self._change(before, after, lambda: self._plug(network, place, sandbox))
        except (OSError, TiffinError) as error:
            standing.places.give_back(place)
            await standing.kernel.do(lambda: wiring.detach(place, netlink=sandbox.netlink))
            if isinstance(error, TiffinError):
                raise
            raise Internal(f"failed to set up container networking: {words(error)}") from error
        standing.resolvers.add(place)
        await self._resolve(after, sandbox)
        standing.tell("connect", network, container.id)
        return place

    async def disconnect(self, reference: str, container_id: str, sandbox: Sandbox) -> Endpoint:
        """Take a running container off a network: what it had there. Raises NotFound, Forbidden, Internal.

        Where that was its way out, the next best of the others becomes it, and its ports lead there.
        """
        standing = self._standing
        network = standing.registry.get(reference)
        before = standing.endpoints.get(container_id)
        place = before.on(network.id) if before else None
        if before is None or place is None:
            raise Forbidden(f"container {container_id} is not connected to network {network.name}")
        standing.resolvers.remove(place)
        places = tuple(one for one in before.endpoints if one.id != place.id)
        after = replace(before, endpoints=placing.with_gateway(places) if place.gateway else places)
        try:
            await self._change(before, after, lambda: self._unplug(place, after, sandbox))
        except OSError as error:
            raise Internal(f"cannot disconnect from network {network.name}: {words(error)}") from error
        standing.places.give_back(place)
        standing.tell("disconnect", network, container_id)
        return place

    async def _change(self, before: Endpoints, after: Endpoints, work: Callable[[], None]) -> None:
        """Do the kernel's part; ports follow the way out. Where it fails, everything counts as before."""
        standing = self._standing
        withdrawn, published = mappings(before), mappings(after)
        moved = withdrawn != published

        def change() -> None:
            if moved:
                standing.firewall.withdraw(withdrawn)
            work()
            if moved:
                standing.firewall.publish(published)
            standing.records.keep_endpoints(after)

        standing.endpoints[after.container_id] = after
        if moved:
            await standing.cut_off(after.container_id)
        try:
            await standing.kernel.do(change)
        except (OSError, TiffinError):
            standing.endpoints[after.container_id] = before
            if moved:
                await standing.kernel.do(lambda: standing.firewall.publish(withdrawn))
            raise
        finally:
            if moved:
                standing.relay(standing.endpoints[after.container_id])

    def _plug(self, network: Network, place: Endpoint, sandbox: Sandbox) -> None:
        wiring.attach(network, place, netlink=sandbox.netlink, namespace=sandbox.namespace)

    def _unplug(self, place: Endpoint, after: Endpoints, sandbox: Sandbox) -> None:
        wiring.detach(place, netlink=sandbox.netlink)
        for one in after.endpoints if place.gateway else ():
            if one.gateway:
                bridges.lead_out(one, netlink=sandbox.netlink)


def check_joinable(network: Network, mode: str) -> None:
    """Raises Invalid where a container in a network mode can't join a network."""
    if mode.startswith("container:") or mode == "host":
        raise Invalid(
            "container sharing network namespace with another container or host cannot be connected to any other"
            " network"
        )
    if network.driver == "host":
        raise Invalid("cannot connect container to host network - container must be created in host network mode")
    if network.driver == "null" or mode == "none":
        raise Invalid(ALONE)
