"""The life of containers on networks: reserve, attach, release; and all of it again after a restart of the daemon."""

import secrets
from collections.abc import Collection, Iterable
from contextlib import ExitStack
from dataclasses import replace

from tiffin.content import crash
from tiffin.errors import Internal, Invalid, Unsupported
from tiffin.model.container import Container
from tiffin.model.network import Allowed, Endpoint, Endpoints, Published
from tiffin.networks import bridges, definition, joining, placing, ports, wiring
from tiffin.networks.resolving import Sockets, open_sockets
from tiffin.networks.standing import Sandbox, Standing, mappings, words


class Attachments:
    """Containers start and end. `standing` is shared with `joining` and `service`."""

    def __init__(self, standing: Standing) -> None:
        self._standing = standing

    def containers(self, network_id: str) -> dict[str, Endpoints]:
        """The running containers on a network, by id."""
        return {key: one for key, one in self._standing.endpoints.items() if one.on(network_id) is not None}

    def endpoints(self, container_id: str) -> Endpoints | None:
        """A running container's place on its networks."""
        return self._standing.endpoints.get(container_id)

    async def restore(self, running: Collection[str]) -> None:
        """Keep what the running containers have, forget the rest, and bring links and rules into line."""
        recorded = await self._standing.kernel.do(self._standing.records.endpoints)
        for one in recorded:
            if one.container_id in running:
                self._readmit(one)
        gone = [one.container_id for one in recorded if one.container_id not in self._standing.endpoints]
        await self._standing.kernel.do(lambda: self._reconcile(gone))
        for one in self._standing.endpoints.values():
            self._standing.relay(one)

    def _readmit(self, endpoints: Endpoints) -> None:
        kept = tuple(one for one in endpoints.endpoints if self._standing.registry.find(one.network_id))
        endpoints = replace(endpoints, endpoints=kept)
        for one in kept:
            self._standing.places.retake(one)
            self._standing.resolvers.add(one)
        self._standing.ports.retake(endpoints.published)
        self._standing.endpoints[endpoints.container_id] = endpoints

    def _reconcile(self, gone: Collection[str]) -> None:
        for container_id in gone:
            self._standing.records.drop_endpoints(container_id)
        names = {network.bridge for network in self._standing.registry.bridges()}
        known = {one.host_interface for each in self._standing.endpoints.values() for one in each.endpoints}
        bridges.remove_links(bridges.stale_ports(names, known))
        translated = [one for each in self._standing.endpoints.values() for one in mappings(each)]
        allowed = [one for each in self._standing.endpoints.values() for one in each.allowed]
        self._standing.firewall.replace(self._standing.registry.rules(), translated, allowed)

    async def reserve(self, container: Container) -> Endpoints:
        """Addresses, MACs and host ports for a start, all or none; what an earlier start left is released.

        Reads `networks`, the ports of `host` and `config`, and the names. Raises NotFound `network x not found`,
        PortTaken (dockerd's text and status), Invalid, Forbidden, Internal when addresses have run out.
        """
        if container.id in self._standing.endpoints:
            await self.release(container.id)
        with ExitStack() as undo:
            places: list[Endpoint] = []
            for name, request in container.networks.items():
                network = self._standing.registry.get(name)
                if network.driver == "null" and len(container.networks) > 1:
                    raise Invalid(joining.ALONE)
                place = self._standing.places.take(network, container, request, placing.next_interface(network, places))
                undo.callback(self._standing.places.give_back, place)
                places.append(place)
            chosen = placing.with_gateway(places)
            endpoints = Endpoints(
                container_id=container.id,
                sandbox_id=secrets.token_hex(32),
                endpoints=chosen,
                exposed=_exposed(container) if any(one.interface for one in chosen) else (),
                sysctls=placing.sysctls(chosen, ipv6=self._standing.ipv6),
                container_name=container.name,
                nameservers=container.host.dns or (),
            )
            endpoints = replace(endpoints, published=self._publish(container, chosen))
            undo.pop_all()
        self._standing.endpoints[container.id] = endpoints
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
        network = self._standing.registry.get(way.network_id)
        if way.relayed and (other := next((one.protocol for one in wanted if one.protocol != "tcp"), None)):
            raise Unsupported(f"network {network.name} has {definition.OBEY_INPUT}: only tcp is published, not {other}")
        if network.on_link:  # it is on the wire under its own address
            return ()
        address = network.options.get(definition.HOST_BINDING, "")
        default_ip = "" if address == "0.0.0.0" else address
        versions = [version for version, own in ((4, way.ipv4), (6, way.ipv6)) if own]
        routed = [version for version in versions if definition.gateway_mode(network, version) == "routed"]
        bound = [version for version in versions if version not in routed] if routed else (4, 6)
        try:
            held = self._standing.ports.take(wanted, way.ipv4 or way.ipv6, default_ip=default_ip, versions=bound)
            return (*held, *ports.as_it_is(wanted, routed))
        except ports.PortTaken as error:
            leading = (
                "failed to set up container networking: driver failed programming external connectivity on endpoint"
            )
            raise ports.PortTaken(f"{leading} {container.name} ({way.id}): {error}") from error

    async def attach(self, endpoints: Endpoints, sandbox: Sandbox) -> None:
        """Make the interfaces in the sandbox and open the ports. Raises Internal; `release` then cleans up."""
        wired = [(self._standing.registry.get(one.network_id), one) for one in endpoints.endpoints if one.interface]

        def work() -> Sockets | None:
            self._standing.records.keep_endpoints(endpoints)
            crash.point("endpoints-recorded")
            for network, one in wired:
                hairpin = one.gateway and bool(endpoints.published)
                wiring.attach(network, one, netlink=sandbox.netlink, namespace=sandbox.namespace, hairpin=hairpin)
            crash.point("endpoints-linked")
            self._standing.firewall.publish(mappings(endpoints))
            crash.point("ports-published")
            return open_sockets(sandbox.resolver)

        self._check_reserved(endpoints)  # what is queued now comes before the rules' withdrawal by a release
        if wired:
            try:
                asked = await self._standing.kernel.do(work)
            except OSError as error:
                raise Internal(f"failed to set up container networking: {words(error)}") from error
            self._check_reserved(endpoints)
            self._standing.relay(endpoints)
            if asked is not None:
                self._standing.resolvers.serve(endpoints, asked)
        for place in endpoints.endpoints:
            self._standing.resolvers.add(place)
        self.joined(endpoints)

    def joined(self, endpoints: Endpoints) -> None:
        """Tell that a container is on its networks; `attach` does so, where there is something to attach."""
        for place in endpoints.endpoints:
            self._standing.tell("connect", self._standing.registry.get(place.network_id), endpoints.container_id)

    def _check_reserved(self, endpoints: Endpoints) -> None:
        if self._standing.endpoints.get(endpoints.container_id) is not endpoints:
            raise Internal("failed to set up container networking: the container ended meanwhile")

    def apart(self, container_id: str) -> Endpoint | None:
        """A running container's place on a network whose containers may not talk to each other."""
        endpoints = self._standing.endpoints.get(container_id)
        return next((one for one in endpoints.endpoints if one.isolated), None) if endpoints else None

    async def allow(self, container_id: str, targets: Iterable[tuple[str, str, int]]) -> None:
        """Let a running container, on a network that keeps its containers apart, reach these: address, protocol, port.

        Those of earlier are closed. Raises Internal.
        """
        place, before = self.apart(container_id), self._standing.endpoints.get(container_id)
        if place is None or before is None or not place.ipv4:
            return
        allowed = tuple(Allowed(place.ipv4, *target) for target in dict.fromkeys(targets))
        if allowed == before.allowed:
            return
        after = self._standing.endpoints[container_id] = replace(before, allowed=allowed)

        def work() -> None:
            self._standing.firewall.allow(before.allowed, after.allowed)
            self._standing.records.keep_endpoints(after)

        try:
            await self._standing.kernel.do(work)
        except OSError as error:
            raise Internal(f"cannot let container {container_id} reach what it links to: {words(error)}") from error

    async def release(self, container_id: str) -> None:
        """Give back what a container holds; nothing to give back is no error.

        The links go with the namespace: the kernel needs its time for that, and nobody waits for it.
        """
        endpoints = self._standing.endpoints.get(container_id)
        if endpoints is None:
            return
        for one in endpoints.endpoints:
            self._standing.resolvers.remove(one)
        self._standing.resolvers.end(container_id)
        await self._standing.cut_off(container_id)

        def work() -> None:
            # rules before ports and addresses: else the next holder's packets would still come here
            self._standing.firewall.withdraw(mappings(endpoints))
            if endpoints.allowed:
                self._standing.firewall.allow(endpoints.allowed, ())
            crash.point("ports-withdrawn")
            self._standing.records.drop_endpoints(container_id)

        try:
            if endpoints.published or endpoints.allowed:
                await self._standing.kernel.do(work)
            elif any(one.interface for one in endpoints.endpoints):
                # no rules, nothing of the kernel's to wait for
                self._standing.records.drop_endpoints(container_id)
        finally:
            # again: an `attach` may have come to its end while we waited, and a descriptor that the loop still reads
            # must not be closed, as its next holder would never be read from
            await self._standing.cut_off(container_id)
            self._standing.resolvers.end(container_id)
            if self._standing.endpoints.get(container_id) is endpoints:
                del self._standing.endpoints[container_id]
                self._standing.ports.give_back(endpoints.published)
                for one in endpoints.endpoints:
                    self._standing.places.give_back(one)
                    if (network := self._standing.registry.find(one.network_id)) is not None:
                        self._standing.tell("disconnect", network, container_id)


def _exposed(container: Container) -> tuple[str, ...]:
    if container.host.network_mode == "host":
        return ()
    return tuple(ports.expand(container.config.exposed_ports or ()))
