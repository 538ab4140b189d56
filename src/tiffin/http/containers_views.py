"""Containers as GET /containers/ID/json and GET /containers/json show them: docker's fields and nulls."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec

from tiffin.containers import modes, spec_security
from tiffin.containers.creation import command_line
from tiffin.containers.status_text import status_text
from tiffin.engine import container_links
from tiffin.engine.container_context import Context, now
from tiffin.engine.container_list import Sizes
from tiffin.engine.moments import rfc3339
from tiffin.errors import NotFound
from tiffin.http.containers_shapes import to_wire
from tiffin.model.container import Container, EndpointRequest
from tiffin.model.container_host import MountPoint, PortBinding
from tiffin.model.container_status import (
    Created,
    Dead,
    Health,
    Paused,
    Restarting,
    exit_code_of,
    is_running,
    process_of,
    status_word,
)
from tiffin.model.network import Endpoint, Endpoints
from tiffin.wire import containers as wire
from tiffin.wire import containers_host as wire_host

Version = tuple[int, int]


def inspect(context: Context, container: Container, version: Version, sizes: Sizes | None) -> dict[str, Any]:
    """GET …/json."""
    endpoints = context.networks.endpoints(container.id)
    found: dict[str, Any] = {
        "Id": container.id,
        "Created": rfc3339(container.created),
        "Path": container.path,
        "Args": list(container.args),
        "State": _state(container),
        "Image": container.image_id,
        **_files(context, container),
        "Name": "/" + container.name,
        "RestartCount": container.restart_count,
        "Driver": container.driver,
        "Platform": container.platform,
        "MountLabel": "",
        "ProcessLabel": "",
        "AppArmorProfile": spec_security.apparmor(container.host) or "",
        "ExecIDs": [key for key, one in context.live(container.id).execs.items() if one.exit_code is None] or None,
        "HostConfig": host_config(container),
        "GraphDriver": {"Data": None, "Name": container.driver},
        "Mounts": [mount_point(point) for point in container.mounts],
        "Config": config(context, container, version),
        "NetworkSettings": network_settings(context, container, endpoints, version),
    }
    if sizes is not None:
        found["SizeRw"], found["SizeRootFs"] = sizes.layer, sizes.root
    return found


def _files(context: Context, container: Container) -> dict[str, str]:
    """Where its files are: those about names are another's on whose network it is, a log is there with the start."""
    names = context.directory((_host_of(context, container) or container).id)
    log = context.log_path(container)
    return {
        "ResolvConfPath": _if_made(names / "resolv.conf"),
        "HostnamePath": _if_made(names / "hostname"),
        "HostsPath": _if_made(names / "hosts"),
        "LogPath": _if_made(Path(log)) if log and isinstance(container.status, Created) else log,
    }


def _if_made(path: Path) -> str:
    return str(path) if path.exists() else ""


def _host_of(context: Context, container: Container) -> Container | None:
    """The container whose network it is on, once it was started."""
    other = modes.container_of(container.host.network_mode)
    if other is None or isinstance(container.status, Created) or other not in context.records:
        return None
    return context.records.get(other)


def _state(container: Container) -> wire.State:
    status = container.status
    state = wire.State(
        status=status_word(status),
        running=is_running(status),
        paused=isinstance(status, Paused),
        restarting=isinstance(status, Restarting),
        oom_killed=getattr(status, "oom_killed", False),
        dead=isinstance(status, Dead),
        pid=process_of(status),
        exit_code=exit_code_of(status),
        error=getattr(status, "error", ""),
        started_at=rfc3339(status.started_at),
        finished_at=rfc3339(status.finished_at),
    )
    if container.health is not None:
        state.health = health(container.health)
    return state


def health(value: Health) -> wire.Health:
    """State.Health."""
    log = [wire.Probe(rfc3339(one.start), rfc3339(one.end), one.exit_code, one.output) for one in value.log]
    return wire.Health(value.status, value.failing_streak, log)


def host_config(container: Container) -> wire_host.HostConfig:
    """HostConfig as it was settled at create."""
    found = to_wire(container.host, wire_host.HostConfig)
    found.links = container_links.shown(container)
    return found


def config(context: Context, container: Container, version: Version) -> wire.Config:
    """Config, merged with the image's."""
    found = to_wire(container.config, wire.Config)
    if (host := _host_of(context, container)) is not None:
        found.hostname, found.domainname = host.config.hostname, host.config.domainname
    found.labels = dict(container.config.labels or {})
    if version >= (1, 44):
        found.mac_address = msgspec.UNSET
    return found


def mount_point(point: MountPoint) -> wire.MountPoint:
    """One of Mounts."""
    found = wire.MountPoint(
        type=point.type,
        source=point.source,
        destination=point.destination,
        mode=point.mode,
        rw=point.rw,
        propagation=point.propagation,
    )
    if point.type == "volume":
        found.name, found.driver = point.name, point.driver
    elif point.type == "image":
        found.name = point.name
    return found


def ports(found: Mapping[str, tuple[PortBinding, ...] | None]) -> dict[str, list[dict[str, str]] | None]:
    """NetworkSettings.Ports: null for what is only exposed."""
    return {
        key: None if bindings is None else [{"HostIp": one.host_ip, "HostPort": one.host_port} for one in bindings]
        for key, bindings in found.items()
    }


def network_settings(
    context: Context, container: Container, endpoints: Endpoints | None, version: Version
) -> dict[str, Any]:
    """NetworkSettings: what the networks say while it runs, what was asked for otherwise."""
    networks: dict[str, Any] = {}
    for name, request in container.networks.items():
        place = _place(endpoints, name)
        networks[place.network if place else name] = endpoint(context, name, request, place, container, version)
    bridge = next((one for one in (endpoints.endpoints if endpoints else ()) if one.network == "bridge"), None)
    sandbox = endpoints.sandbox_id if endpoints and is_running(container.status) else ""
    return {
        "Bridge": "",
        "SandboxID": sandbox,
        "SandboxKey": f"/proc/{process_of(container.status)}/ns/net" if sandbox else "",
        "Ports": ports(endpoints.ports()) if endpoints and is_running(container.status) else {},
        "HairpinMode": False,
        "LinkLocalIPv6Address": "",
        "LinkLocalIPv6PrefixLen": 0,
        "SecondaryIPAddresses": None,
        "SecondaryIPv6Addresses": None,
        "EndpointID": bridge.id if bridge else "",
        "Gateway": bridge.ipv4_gateway if bridge else "",
        "GlobalIPv6Address": bridge.ipv6 if bridge else "",
        "GlobalIPv6PrefixLen": bridge.ipv6_prefix if bridge else 0,
        "IPAddress": bridge.ipv4 if bridge else "",
        "IPPrefixLen": bridge.ipv4_prefix if bridge else 0,
        "IPv6Gateway": bridge.ipv6_gateway if bridge else "",
        "MacAddress": bridge.mac_address if bridge else "",
        "Networks": networks,
    }


def _place(endpoints: Endpoints | None, name: str) -> Endpoint | None:
    for one in endpoints.endpoints if endpoints else ():
        if name in (one.network, one.network_id):
            return one
    return None


def endpoint(
    context: Context,
    name: str,
    request: EndpointRequest,
    place: Endpoint | None,
    container: Container,
    version: Version,
) -> dict[str, Any]:
    """EndpointSettings."""
    shape = to_wire(request, wire.EndpointRequest)
    aliases = shape.aliases
    if aliases is not None and version < (1, 45):
        aliases = [*aliases, container.short_id]
    found: dict[str, Any] = {
        "IPAMConfig": shape.ipam_config,
        "Links": shape.links,
        "Aliases": aliases,
        "MacAddress": place.mac_address if place else request.mac_address,
        "DriverOpts": shape.driver_opts,
        "NetworkID": place.network_id if place else _joined(context, name, container),
        "EndpointID": place.id if place else "",
        "Gateway": place.ipv4_gateway if place else "",
        "IPAddress": place.ipv4 if place else "",
        "IPPrefixLen": place.ipv4_prefix if place else 0,
        "IPv6Gateway": place.ipv6_gateway if place else "",
        "GlobalIPv6Address": place.ipv6 if place else "",
        "GlobalIPv6PrefixLen": place.ipv6_prefix if place else 0,
    }
    if version >= (1, 48):
        found["GwPriority"] = request.gw_priority
    if version >= (1, 44):
        names = place.dns_names if place else None
        found["DNSNames"] = None if names is None else list(names)
    return found


def _joined(context: Context, name: str, container: Container) -> str:
    return "" if isinstance(container.status, Created) else network_id(context, name)


def network_id(context: Context, name: str) -> str:
    """The id of a network by its name; empty when it is gone."""
    try:
        return context.networks.get(name).id
    except NotFound:
        return ""


def summary(
    context: Context, container: Container, version: Version, sizes: Sizes | None, image: str
) -> dict[str, Any]:
    """One entry of the list."""
    endpoints = context.networks.endpoints(container.id) if is_running(container.status) else None
    not_listed = dict.fromkeys(("Aliases", "DriverOpts", *(["DNSNames"] if version >= (1, 44) else [])))
    networks = {
        name: endpoint(context, name, request, _place(endpoints, name), container, version) | not_listed
        for name, request in container.networks.items()
    }
    found: dict[str, Any] = {
        "Id": container.id,
        "Names": ["/" + container.name],
        "Image": image,
        "ImageID": container.image_id,
        "Command": command_line(container.path, container.args),
        "Created": container.created // 10**9,
        "Ports": _list_ports(endpoints),
        "Labels": dict(container.config.labels or {}),
        "State": status_word(container.status),
        "Status": status_text(container, now()),
        "HostConfig": {"NetworkMode": container.host.network_mode},
        "NetworkSettings": {"Networks": networks},
        "Mounts": [mount_point(point) for point in container.mounts],
    }
    if version >= (1, 46) and container.host.annotations:
        found["HostConfig"]["Annotations"] = dict(container.host.annotations)
    if sizes is not None:
        found |= {"SizeRw": sizes.layer} if sizes.layer else {}
        found["SizeRootFs"] = sizes.root
    return found


def _list_ports(endpoints: Endpoints | None) -> list[dict[str, Any]]:
    if endpoints is None:
        return []
    found = []
    for key, bindings in endpoints.ports().items():
        number, _, protocol = key.partition("/")
        if bindings is None:
            found.append({"PrivatePort": int(number), "Type": protocol})
        for one in bindings or ():
            found.append(
                {"IP": one.host_ip, "PrivatePort": int(number), "PublicPort": int(one.host_port), "Type": protocol}
            )
    return found
