"""Links on the default bridge (`--link db:alias`): names in /etc/hosts and variables that tell of another container."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from tiffin.engine import container_files
from tiffin.engine.container_context import Context
from tiffin.errors import Conflict, Invalid, NotFound
from tiffin.model.container import Container
from tiffin.model.container_status import Paused, Running
from tiffin.networks import ports

_OWN_VARIABLES = frozenset(("PATH", "HOME", "HOSTNAME", "TERM"))


@dataclass(frozen=True, slots=True)
class Link:
    """The linked container, under its alias, at its address on the default bridge."""

    alias: str
    container: Container
    address: str

    def names(self) -> tuple[str, ...]:
        """What it is called in /etc/hosts."""
        return tuple(dict.fromkeys((self.alias, self.container.config.hostname, self.container.name)))


def parse(text: str) -> tuple[str, str]:
    """`name:alias` or `name`, as container and alias. Raises Invalid."""
    name, _, alias = text.partition(":")
    if not name or ":" in alias:
        raise Invalid(f"invalid link: {text}")
    return name.removeprefix("/"), alias.rpartition("/")[2] or name.rpartition("/")[2]


def check(context: Context, links: Sequence[str]) -> None:
    """At create. Raises Invalid, NotFound."""
    for text in links:
        name, _ = parse(text)
        try:
            context.records.find(name)
        except NotFound as error:
            raise Invalid(f"could not get container for {name}: {error}") from error


def resolve(context: Context, container: Container) -> list[Link]:
    """At start. Raises Conflict where a linked container does not run."""
    found = []
    for text in container.host.links or ():
        name, alias = parse(text)
        other = context.records.find(name)
        if not isinstance(other.status, Running | Paused):
            raise Conflict(f"Cannot link to a non running container: /{other.name} AS /{container.name}/{alias}")
        if link := _link(context, alias, other):
            found.append(link)
    return found


def _link(context: Context, alias: str, other: Container) -> Link | None:
    endpoints = context.networks.endpoints(other.id)
    addresses = [one.ipv4 for one in endpoints.endpoints if one.ipv4] if endpoints else []
    return Link(alias, other, addresses[0]) if addresses else None


def current(context: Context, container: Container) -> list[Link]:
    """Later, for a further process: those of the linked containers that still run."""
    try:
        return resolve(context, container)
    except (Conflict, NotFound):
        return []


async def connect(context: Context, container: Container, links: Sequence[Link]) -> None:
    """Where containers are kept apart (`--icc=false`), let this one reach what the linked ones expose."""
    if context.networks.apart(container.id) is None:
        return
    targets = []
    for link in links:
        for port in ports.expand(link.container.config.exposed_ports or ()):
            number, _, protocol = ports.split(port)
            targets.append((link.address, protocol, number))
    await context.networks.allow(container.id, targets)


async def refresh(context: Context, started: Container) -> None:
    """A container has started, perhaps at another address: the running ones that link to it follow."""
    for other in tuple(context.records):
        changed = False
        for text in other.host.links or () if isinstance(other.status, Running | Paused) else ():
            name, alias = parse(text)
            if name in (started.name, started.id) and (link := _link(context, alias, started)):
                container_files.change_link(context.directory(other.id), link.address, link.names())
                changed = True
        if changed:
            found = (_resolve(context, text) for text in other.host.links or ())
            await connect(context, other, [link for link in found if link])


def _resolve(context: Context, text: str) -> Link | None:
    name, alias = parse(text)
    try:
        return _link(context, alias, context.records.find(name))
    except NotFound:
        return None


def variables(container: Container, links: Sequence[Link]) -> Iterator[str]:
    """Docker's variables of old: ALIAS_PORT=tcp://…, ALIAS_NAME, ALIAS_ENV_…"""
    for link in links:
        prefix = link.alias.upper().replace("-", "_")
        exposed = sorted(link.container.config.exposed_ports or {}, key=_port_order)
        for index, port in enumerate(exposed):
            number, _, protocol = port.partition("/")
            protocol = protocol or "tcp"
            value = f"{protocol}://{link.address}:{number}"
            if index == 0:
                yield f"{prefix}_PORT={value}"
            name = f"{prefix}_PORT_{number}_{protocol.upper()}"
            yield from (f"{name}={value}", f"{name}_ADDR={link.address}", f"{name}_PORT={number}")
            yield f"{name}_PROTO={protocol}"
        yield f"{prefix}_NAME=/{container.name}/{link.alias}"
        for variable in link.container.config.env or ():
            if "=" in variable and variable.partition("=")[0] not in _OWN_VARIABLES:
                yield f"{prefix}_ENV_{variable}"


def _port_order(port: str) -> tuple[int, str]:
    match = re.match(r"\d+", port)
    return int(match[0]) if match else 0, port


def shown(container: Container) -> list[str] | None:
    """HostConfig.Links as inspect has it: `/db:/web/alias`."""
    if container.host.links is None:
        return None
    return [f"/{name}:/{container.name}/{alias}" for name, alias in map(parse, container.host.links)]
