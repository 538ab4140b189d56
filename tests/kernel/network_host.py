"""A host in namespaces, with networks on it and a neighbour beside it."""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from rig.netns import Loop, Namespace
from tiffin.content.ledger import Ledger
from tiffin.model.container import Config, Container, ContainerId, EndpointRequest
from tiffin.model.container_host import HostConfig, PortBinding
from tiffin.model.network import Endpoints, Network, NetworkRequest
from tiffin.networks.definition import Defaults
from tiffin.networks.records import LedgerRecords
from tiffin.networks.service import Networks

Ports = Mapping[str, tuple[PortBinding, ...] | None]
HERE, NEIGHBOUR = "198.51.100.1", "198.51.100.9"


class Host:
    """A host on which networks live, with a neighbour on its cable."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.namespace = Namespace()
        self.neighbour = Namespace()
        self.namespace.join(self.neighbour, f"{HERE}/24", f"{NEIGHBOUR}/24")
        self.loop = Loop(self.namespace)
        self.sandboxes: dict[str, Namespace] = {}
        self.told: list[tuple[str, str, str]] = []
        self.start()

    def start(self, running: tuple[str, ...] = (), defaults: Defaults = Defaults()) -> None:
        self.ledger = Ledger(self.root / "ledger.db")

        def tell(action: str, network: Network, container_id: str) -> None:
            self.told.append((action, network.name, container_id))

        self.networks = self.loop.call(lambda: Networks(LedgerRecords(self.ledger), defaults, tell=tell))
        self.networks.resolvers.inside = self._sockets
        self.loop.do(self.networks.start(running))
        for container_id in running:
            self.loop.do(self.networks.resume(container_id, self.sandboxes[container_id]))

    async def _sockets(self, container_id: str, *wanted: tuple[int, int, int]) -> list[int]:
        return self.sandboxes[container_id].sockets(*wanted)

    def stop(self) -> None:
        self.loop.do(self.networks.close())
        self.ledger.close()

    def reserve(self, container: Container) -> Endpoints:
        return self.loop.do(self.networks.reserve(container))

    def run(self, container: Container) -> Endpoints:
        endpoints = self.reserve(container)
        sandbox = self.sandboxes[container.id] = Namespace()
        if endpoints.named:
            sandbox.offer_resolver()
        self.loop.do(self.networks.attach(endpoints, sandbox))
        return endpoints

    def end(self, container: Container) -> None:
        self.sandboxes.pop(container.id).close()
        self.loop.do(self.networks.release(container.id))

    def create(self, name: str, **options: Any) -> Network:
        return self.loop.do(self.networks.create(NetworkRequest(name, **options)))

    def inside(self, container: Container) -> Namespace:
        return self.sandboxes[container.id]

    def rules(self) -> str:
        return self.namespace.run("nft", "list", "ruleset")

    def links(self) -> str:
        return self.namespace.run("ip", "-o", "link")

    def close(self) -> None:
        self.stop()
        self.loop.close()
        for one in (*self.sandboxes.values(), self.neighbour, self.namespace):
            one.close()


class Containers:
    """Records of containers, each with names and ids of its own: containers("net", ports=…)."""

    def __init__(self) -> None:
        self._numbers = itertools.count(1)

    def __call__(
        self, *networks: str, ports: Ports | None = None, exposed: tuple[str, ...] = (), **options: Any
    ) -> Container:
        number = next(self._numbers)
        requests = {name: EndpointRequest() for name in networks or ("bridge",)}
        host = HostConfig(port_bindings=ports, dns=options.pop("dns", None))
        return Container(
            id=ContainerId(f"{number:064x}"),
            name=f"c{number}",
            created=0,
            image_id="",
            config=Config(hostname=f"host{number}", exposed_ports={port: {} for port in exposed}),
            host=host,
            path="/bin/true",
            args=(),
            driver="overlay",
            networks=options.pop("requests", requests),
            **options,
        )


def published(host_port: str, host_ip: str = "", port: str = "80/tcp") -> Ports:
    return {port: (PortBinding(host_ip, host_port),)}
