"""The networks by id and name."""

from tiffin.errors import Invalid, NotFound
from tiffin.model.network import Network
from tiffin.networks import definition
from tiffin.networks.rules import Bridge


class Registry:
    """A lookup table; knows nothing of the kernel."""

    def __init__(self) -> None:
        self._networks: dict[str, Network] = {}

    def add(self, network: Network) -> None:
        """Put in, over what has the same id."""
        self._networks[network.id] = network

    def discard(self, network_id: str) -> None:
        """Take out."""
        self._networks.pop(network_id, None)

    def all(self) -> tuple[Network, ...]:
        """In the order of their creation."""
        return tuple(self._networks.values())

    def bridges(self) -> list[Network]:
        """Those with a bridge."""
        return [network for network in self._networks.values() if network.driver == "bridge"]

    def rules(self) -> list[Bridge]:
        """What the firewall has to know of them."""
        return [
            Bridge(
                name=network.bridge,
                subnets=tuple(pool.subnet for pool in network.pools),
                masquerade=definition.flag(network.options, definition.MASQUERADE, True),
                internal=network.internal,
                within=definition.flag(network.options, definition.ICC, True),
                unprotected=_versions(network, "nat-unprotected"),
                routed=_versions(network, "routed"),
            )
            for network in self.bridges()
        ]

    def find(self, network_id: str) -> Network | None:
        """By whole id."""
        return self._networks.get(network_id)

    def get(self, reference: str) -> Network:
        """By whole id, name, or the beginning of an id, in this order. Raises NotFound, Invalid when several fit."""
        if reference in self._networks:
            return self._networks[reference]
        wanted = "bridge" if reference == "default" else reference
        if wanted == "bridge" and not any(one.is_default for one in self._networks.values()):
            wanted = "none"  # the daemon was started with --bridge none
        for network in self._networks.values():
            if network.name == wanted:
                return network
        fitting = [one for key, one in self._networks.items() if reference and key.startswith(reference)]
        if len(fitting) > 1:
            raise Invalid(f"network {reference} is ambiguous ({len(fitting)} matches found based on ID prefix)")
        if not fitting:
            raise NotFound(f"network {reference} not found")
        return fitting[0]


def _versions(network: Network, mode: str) -> tuple[int, ...]:
    return tuple(version for version in (4, 6) if definition.gateway_mode(network, version) == mode)
