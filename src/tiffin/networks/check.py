"""What `system check` looks at in networks: records, leases, and the kernel's links, addresses and rules."""

from collections.abc import Callable, Collection, Iterator
from functools import partial

from tiffin.model.finding import Finding
from tiffin.model.network import Endpoints, Network
from tiffin.netlink import links, routing
from tiffin.netlink.nftables import has_table
from tiffin.netlink.socket import Socket
from tiffin.networks import bridges, wiring
from tiffin.networks.rules import TABLE
from tiffin.networks.service import Networks
from tiffin.networks.standing import mappings

_RESTART = "restart the container"


class NetworksCheck:
    """Blocks; may be used from any thread but the event loop's. running: ids of the containers that run or may."""

    domain = "networks"

    def __init__(self, networks: Networks, running: Callable[[], Collection[str]]) -> None:
        self._networks = networks
        self._standing = networks.standing
        self._running = running

    def counted(self) -> dict[str, int]:
        """How many there are."""
        return {"Networks": len(self._networks.all())}

    def findings(self, *, thorough: bool) -> Iterator[Finding]:
        """Everything is quick to find out here."""
        held = dict(self._standing.endpoints)
        running = set(self._running())
        for one in self._standing.records.endpoints():
            if one.container_id not in held and one.container_id not in running:
                problem = f"addresses of container {one.container_id[:12]} are recorded, but it does not run"
                drop = partial(self._standing.records.drop_endpoints, one.container_id)
                yield self._finding("endpoint-left", one.container_id, problem, "--repair forgets them", drop)
        with Socket() as socket:
            present = {link.name: link for link in links.listing(socket)}
            addresses = {(one.link, str(one.interface.ip)) for one in routing.addresses(socket)}
        yield from self._of_networks(present, addresses)
        yield from self._of_endpoints(held, present, running)
        yield from self._leases(held)
        names = {network.bridge for network in self._standing.registry.bridges()}
        known = {place.host_interface for one in held.values() for place in one.endpoints}
        for name in bridges.stale_ports(names, known):
            remove = partial(bridges.remove_links, [name])
            yield self._finding(
                "link-left", name, f"link {name} belongs to no container", "--repair removes it", remove
            )
        if names and not has_table(TABLE):
            problem = f"the table {TABLE} of nftables is gone: nothing is published, nothing kept apart"
            yield self._finding("rules-missing", TABLE, problem, "--repair writes it again", self._write_rules)

    def _of_networks(self, present: dict[str, links.Link], addresses: set[tuple[int, str]]) -> Iterator[Finding]:
        for network in self._standing.registry.bridges():
            link = present.get(network.bridge)
            wrong = "is gone" if link is None else "" if link.up else "is down"
            if link is not None and not wrong:
                gateways = [str(one.ip) for one in bridges.gateways(network)]
                missing = [one for one in gateways if (link.index, one) not in addresses]
                wrong = f"has lost its address {missing[0]}" if missing else ""
            if wrong:
                problem = f"bridge {network.bridge} of network {network.name} {wrong}"
                advice = "--repair makes it as it was; containers on a bridge that was gone have to be restarted"
                yield self._finding("bridge-wrong", network.id, problem, advice, partial(self._ensure, network))

    def _of_endpoints(
        self, held: dict[str, Endpoints], present: dict[str, links.Link], running: Collection[str]
    ) -> Iterator[Finding]:
        for one in held.values():
            for place in one.endpoints if one.container_id in running else ():
                network = self._standing.registry.find(place.network_id)
                named = f"container {one.container_name} on network {place.network}"
                if network is None:
                    yield self._finding("endpoint-lost", place.id, f"{named}: there is no such network", _RESTART, None)
                elif place.host_interface:
                    link, bridge = present.get(place.host_interface), present.get(network.bridge)
                    if link is None or bridge is None or link.master != bridge.index:
                        problem = f"{named}: its link {place.host_interface} is not on {network.bridge}"
                        yield self._finding("link-missing", place.id, problem, _RESTART, None)

    def _leases(self, held: dict[str, Endpoints]) -> Iterator[Finding]:
        """Addresses that are taken without anybody to have them."""
        in_use = {text for one in held.values() for place in one.endpoints for text in (place.ipv4, place.ipv6)}
        for network in self._networks.all():
            for leases in self._standing.places.leases(network.id):
                for address in leases.containers():
                    if str(address) not in in_use:
                        problem = f"address {address} of network {network.name} is taken, and nobody has it"
                        free, subject = partial(leases.give_back, address), f"{network.id} {address}"
                        yield self._finding("lease-left", subject, problem, "--repair frees it", free)

    def _ensure(self, network: Network) -> None:
        wiring.ensure(network)

    def _write_rules(self) -> None:
        translated = [one for each in tuple(self._standing.endpoints.values()) for one in mappings(each)]
        allowed = [one for each in tuple(self._standing.endpoints.values()) for one in each.allowed]
        self._standing.firewall.replace(self._standing.registry.rules(), translated, allowed)

    def _finding(
        self, kind: str, subject: str, problem: str, advice: str, repair: Callable[[], object] | None
    ) -> Finding:
        # what touches the kernel is carried out in the order of everything else that does
        mend = partial(self._standing.kernel.wait, repair) if repair is not None else None
        return Finding(self.domain, kind, subject, problem, advice, repair=mend)
