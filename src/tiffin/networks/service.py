"""Networks, and the life of a container on them.

    endpoints = await networks.reserve(container)            # addresses, MACs, host ports: in memory, or an error
    …start; when the network namespace is there: await networks.attach(endpoints, sandbox)
    await networks.release(container.id)                     # at once; the kernel takes the links down by itself

What is decided lives on the event loop; the kernel and the ledger are touched by one thread of our own, in order, so
that a lock held by the kernel never stops the loop. `start` brings kernel and records together after whatever happened.
"""

import asyncio
import logging
from collections.abc import Callable, Collection, Iterable
from contextlib import ExitStack, suppress
from dataclasses import replace

from tiffin.content import crash
from tiffin.errors import Forbidden, Internal, NotFound, TiffinError
from tiffin.model.container import EndpointRequest
from tiffin.model.network import Network, NetworkRequest
from tiffin.networks import bridges, definition, obstacles, placing, sublinks, wiring
from tiffin.networks.addresses import DEFAULT_SPACES, IPNetwork
from tiffin.networks.attachments import Attachments
from tiffin.networks.clearing import Clearing
from tiffin.networks.definition import Defaults
from tiffin.networks.firewall import Firewall
from tiffin.networks.joining import Joining
from tiffin.networks.joining import check_joinable as check_joinable
from tiffin.networks.placing import Places
from tiffin.networks.records import Records
from tiffin.networks.registry import Registry
from tiffin.networks.standing import Kernel, Standing, Tell, words

log = logging.getLogger(__name__)

NO_BRIDGE = "none"
"""As the name of the default bridge: there is none."""


class Networks:
    """The networks of one daemon."""

    def __init__(
        self,
        records: Records,
        defaults: Defaults = Defaults(),
        *,
        tell: Tell = lambda action, network, container_id: None,
    ) -> None:
        self._records = records
        self._tell = tell
        # pools that are configured for one family leave the other's as they are
        given = {space.base.version for space in defaults.spaces}
        rest = tuple(space for space in DEFAULT_SPACES if space.base.version not in given)
        self._defaults = replace(defaults, spaces=(*defaults.spaces, *rest))
        self._registry = Registry()
        self._places = Places()
        self._firewall = Firewall()
        self._kernel = Kernel()
        self._standing = Standing(records, self._registry, self._places, self._firewall, self._kernel, tell)
        self._attachments = Attachments(self._standing)
        self.standing = self._standing  # for `check`
        joining = Joining(self._standing)
        self._creating = asyncio.Lock()
        self._clearing = Clearing()
        # the containers' side, documented there
        self.reserve = self._attachments.reserve
        self.attach = self._attachments.attach
        self.joined = self._attachments.joined
        self.release = self._attachments.release
        self.apart = self._attachments.apart
        self.allow = self._attachments.allow
        self.connect = joining.connect
        self.rename = joining.rename
        self.disconnect = joining.disconnect
        self.resume = joining.resume
        self.resolvers = self._standing.resolvers
        self.containers = self._attachments.containers
        self.endpoints = self._attachments.endpoints

    async def start(self, running: Collection[str]) -> None:
        """Bring the kernel into line with the records; `running` are the containers that are alive.

        Their addresses and ports are kept; links, leases and rules of all others go. Where this host refuses bridges
        or rules (no CAP_NET_ADMIN, no nftables) that is logged, and said again to who starts a container on one.
        """
        for network in await self._kernel.do(self._restore):
            self._registry.add(network)
            self._places.open(network)
        for step in (self._kernel.do(self._prepare), self._attachments.restore(running)):
            try:
                await step
            except OSError as error:
                log.error("bridge networks don't work here: %s; use --network none or host", words(error))
        with suppress(OSError):  # told just now
            self._clearing.later(await self._kernel.do(bridges.set_aside_before))
        for warning in await self._kernel.do(self.warnings):
            log.warning("%s", warning)

    def _restore(self) -> list[Network]:
        """The networks, as recorded and as the daemon's options say."""
        known = {network.name: network for network in self._records.networks()}
        others = [network for network in known.values() if not network.predefined]
        first = [
            known.get(name) or definition.predefined(name, kind) for name, kind in (("host", "host"), ("none", "null"))
        ]
        if self._defaults.bridge != NO_BRIDGE:
            first.insert(0, self._default_bridge(others, known.get("bridge")))
        for network in first:
            if known.get(network.name) != network:
                self._records.keep(network)
        return [*first, *others]

    def _default_bridge(self, others: Collection[Network], known: Network | None) -> Network:
        defaults = self._defaults
        present = bridges.address_of(defaults.bridge)
        if present and not defaults.bip:
            # a bridge that was there before us, or that an earlier daemon made, is taken as it is
            defaults = replace(defaults, bip=present)
        return definition.default_bridge(defaults, others=others, known=known, avoid=self._avoid(others))

    def _prepare(self) -> None:
        networks = self._registry.bridges()
        if networks:
            bridges.forward()
        if any(network.ipv6 for network in networks):
            bridges.forward_v6()
        for network in networks:
            bridges.ensure(network)

    def _avoid(self, networks: Iterable[Network]) -> dict[IPNetwork, str]:
        ours = {self._defaults.bridge, *(network.bridge for network in networks if network.driver == "bridge")}
        return {one.subnet: one.link or "a route" for one in bridges.taken(ours)}

    async def close(self) -> None:
        """Let go; containers keep their network while the daemon is away."""
        await self._standing.close()
        await self._clearing.close()
        self._kernel.close()
        self._firewall.close()

    # networks

    def drivers(self) -> list[str]:
        """Names of the drivers that work on this host."""
        return sorted({"bridge", "host", "null", *sublinks.made_here()})

    def warnings(self) -> list[str]:
        """What else on this host is in the way of its containers."""
        try:
            return obstacles.found([network.bridge for network in self._registry.bridges()])
        except OSError:  # a kernel without nftables: no bridge network works, and that was said
            return []

    def all(self) -> tuple[Network, ...]:
        """Every network, predefined ones included."""
        return self._registry.all()

    def get(self, reference: str) -> Network:
        """By name, id, or the beginning of an id. Raises NotFound `network x not found`."""
        return self._registry.get(reference)

    async def create(self, request: NetworkRequest) -> Network:
        """Make a network. Raises Invalid, Conflict, Forbidden, NotFound, Unsupported."""
        async with self._creating:
            present = self._registry.all()
            usual = self._defaults.options.get(request.driver or "bridge", {})
            request = replace(request, options={**usual, **request.options})
            avoid = await self._kernel.do(lambda: self._avoid(present))
            network = definition.define(request, others=present, spaces=self._defaults.spaces, avoid=avoid)
            if definition.MTU not in network.options and self._defaults.mtu != 1500:
                network = replace(network, options={**network.options, definition.MTU: str(self._defaults.mtu)})
            self._places.open(network)
            self._registry.add(network)
            try:
                await self._kernel.do(lambda: self._build(network))
            except (OSError, TiffinError) as error:
                self._registry.discard(network.id)
                self._places.close(network.id)
                if isinstance(error, TiffinError):
                    raise
                raise Internal(f"cannot create network {network.name}: {words(error)}") from error
        self._tell("create", network, "")
        return network

    def _build(self, network: Network) -> None:
        with ExitStack() as undo:
            # written down first: what a crash leaves is then found and finished, not forgotten
            self._records.keep(network)
            undo.callback(self._records.drop, network.id)
            if network.ipv6 and not network.on_link:
                bridges.forward_v6()
            wiring.ensure(network, fresh=True)
            crash.point("bridge-made")
            undo.callback(self._unmake, network)
            self._firewall.rewire(self._registry.rules())
            undo.pop_all()

    def _unmake(self, network: Network) -> None:
        if aside := wiring.remove(network):
            bridges.remove_links([aside])

    def check_request(self, reference: str, request: EndpointRequest) -> None:
        """Raises Invalid for what the network can't give a container, NotFound."""
        network = self.get(reference)
        if request.mac_address:
            placing.fixed_mac(request.mac_address)
        placing.check(network, request)

    async def remove(self, reference: str) -> Network:
        """Remove a network. Raises NotFound, and Forbidden when it is predefined or containers are on it."""
        async with self._creating:
            network = self.get(reference)
            if network.predefined:
                raise Forbidden(f"{network.name} is a pre-defined network and cannot be removed")
            if holders := self.containers(network.id):
                places = ((one.container_name, one.on(network.id)) for one in holders.values())
                named = ", ".join(f'name:"{name}" id:"{place.id[:12]}"' for name, place in places if place)
                raise Forbidden(f"error while removing network: network {network.name} has active endpoints ({named})")
            self._registry.discard(network.id)
            try:
                aside = await self._kernel.do(lambda: self._demolish(network))
            except OSError as error:
                self._registry.add(network)
                raise Internal(f"error while removing network: {words(error)}") from error
            self._places.close(network.id)
        self._clearing.later([aside] if aside else [])
        self._tell("destroy", network, "")
        return network

    def _demolish(self, network: Network) -> str:
        aside = wiring.remove(network)
        crash.point("bridge-removed")
        self._firewall.rewire(self._registry.rules())
        self._records.drop(network.id)
        return aside

    async def prune(self, wanted: Callable[[Network], bool]) -> list[Network]:
        """Remove the user networks that nobody uses and that are wanted gone."""
        removed = []
        for network in self.all():
            if not network.predefined and not self.containers(network.id) and wanted(network):
                try:
                    removed.append(await self.remove(network.id))
                except (Forbidden, NotFound):
                    continue  # taken or gone meanwhile
        return removed

    @property
    def host_gateway(self) -> str:
        """What `host-gateway` stands for: the default bridge's address, "" without one."""
        pools = self.get("bridge").pools
        return pools[0].gateway if pools else ""
