"""What both sides of a container's life on networks share: what is held at the moment, and who carries changes out."""

import asyncio
import ipaddress
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol, TypeVar

from tiffin.model.network import Endpoints, Network
from tiffin.networks.firewall import Firewall
from tiffin.networks.placing import Places
from tiffin.networks.ports import Ports
from tiffin.networks.records import Records
from tiffin.networks.registry import Registry
from tiffin.networks.relay import Relay
from tiffin.networks.resolving import Resolvers
from tiffin.networks.rules import Mapping as Translation

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

    def wait(self, work: Callable[[], T]) -> T:
        """The same from another thread."""
        return self._thread.submit(work).result()

    def close(self) -> None:
        """After what has been begun."""
        self._thread.shutdown(wait=True)


@dataclass(slots=True)
class Standing:
    """Changed on the event loop only, but for `firewall` and `records`, which belong to the kernel's thread.

    Records of endpoints that nothing in the kernel belongs to are dropped on the loop.
    """

    records: Records
    registry: Registry
    places: Places
    firewall: Firewall
    kernel: Kernel
    tell: Tell
    ports: Ports = field(default_factory=Ports)
    endpoints: dict[str, Endpoints] = field(default_factory=dict)
    """Of each running container."""
    relays: dict[str, Relay] = field(default_factory=dict)
    ipv6: bool = field(default_factory=lambda: Path("/proc/sys/net/ipv6").exists())
    resolvers: Resolvers = field(init=False)

    def __post_init__(self) -> None:
        self.resolvers = Resolvers(self.endpoints.get)

    async def close(self) -> None:
        """Let go; the containers keep their network."""
        for relay in self.relays.values():
            await relay.close()
        self.relays.clear()
        await self.resolvers.close()
        self.ports.close()

    def relay(self, endpoints: Endpoints) -> None:
        """Carry what the kernel can't translate to a container's ports."""
        way = next((one for one in endpoints.endpoints if one.gateway), None)
        for one in endpoints.published if way is not None else ():
            assert way is not None
            # the firewall has sent everything else on: what arrives is of the family that the container has not, or
            # from the host's ::1, which the kernel routes nowhere
            address = way.ipv4 or way.ipv6
            listener = self.ports.listener(one)
            if listener is not None and one.protocol == "tcp" and (way.relayed or ":" in one.host_ip or not way.ipv4):
                relay = self.relays.setdefault(endpoints.container_id, Relay())
                relay.serve(listener, address, one.container_port)

    async def cut_off(self, container_id: str) -> None:
        """Carry nothing more."""
        if (relay := self.relays.pop(container_id, None)) is not None:
            await relay.close()


def mappings(endpoints: Endpoints) -> list[Translation]:
    """A container's published ports, as the firewall has them."""
    way = next((one for one in endpoints.endpoints if one.gateway), None)
    if way is None or way.relayed:
        return []
    targets: Mapping[int, str] = {4: way.ipv4, 6: way.ipv6}
    found = []
    for one in endpoints.published:
        target = targets[ipaddress.ip_address(one.host_ip).version]
        if target:
            found.append(Translation(one, target))
    return found


def words(error: OSError) -> str:
    """An error of the kernel in a line: what it was about, and why."""
    reason = error.strerror or str(error)
    return f"{error.filename}: {reason}" if error.filename else reason
