"""/networks: list, inspect, create, remove, connect, disconnect, prune."""

from __future__ import annotations

import time
from collections.abc import Mapping

from tiffin.engine.moments import moment, rfc3339
from tiffin.errors import Invalid
from tiffin.http import response
from tiffin.http.containers_shapes import to_model
from tiffin.http.filters import Filters
from tiffin.http.request import Request
from tiffin.http.response import Response
from tiffin.http.router import route
from tiffin.model.container import EndpointRequest
from tiffin.model.network import Endpoints, Network, NetworkRequest, PoolRequest
from tiffin.wire import networks as wire

_FILTERS = ("dangling", "driver", "id", "label", "name", "scope", "type", "idOrName")
_PRUNE_FILTERS = ("until", "label", "label!")


@route("GET", "/networks")
async def listing(request: Request) -> Response:
    """Every network that the filters let through; who is on it only for clients before 1.28."""
    networks = request.services.networks
    filters = request.query.filters(_FILTERS)
    _check(filters)
    found = []
    for network in networks.all():
        holders = networks.containers(network.id)
        if _matches(network, filters, bool(holders)):
            found.append(_shape(network, {} if request.since("1.28") else holders))
    return response.json(found)


@route("POST", "/networks/create")
async def create(request: Request) -> Response:
    """A new network; the answer is its id."""
    body = await request.json(wire.NetworkCreate, required=False)
    network = await request.services.networks.create(_request(body))
    return response.json(wire.NetworkCreated(id=network.id), status=201)


@route("POST", "/networks/prune")
async def prune(request: Request) -> Response:
    """Remove the networks that nobody uses."""
    filters = request.query.filters(_PRUNE_FILTERS)
    until = filters.single("until")
    before = moment(until, time.time_ns()) if until else None

    def wanted(network: Network) -> bool:
        return (before is None or network.created < before) and _has_labels(network.labels, filters)

    removed = await request.services.networks.prune(wanted)
    request.services.events.publish("network", "prune", "", {"reclaimed": "0"})
    return response.json(wire.NetworksPruned(networks_deleted=[network.name for network in removed] or None))


@route("GET", "/networks/{id:.*}")
async def inspect(request: Request) -> Response:
    """One network with the containers on it."""
    networks = request.services.networks
    scope = request.query.text("scope")
    if scope not in ("", "local", "swarm", "global"):
        raise Invalid(f"invalid scope {scope!r}: it must be local, swarm or global")
    network = networks.get(request["id"])
    return response.json(_shape(network, networks.containers(network.id)))


@route("DELETE", "/networks/{id:.*}")
async def remove(request: Request) -> Response:
    """Remove a network that nobody uses."""
    await request.services.networks.remove(request["id"])
    return response.empty()


@route("POST", "/networks/{id:.*}/connect")
async def connect(request: Request) -> Response:
    """Put a container on a network."""
    body = await request.json(wire.NetworkConnect, required=False)
    wanted = to_model(body.endpoint_config, EndpointRequest) if body.endpoint_config else EndpointRequest()
    await request.services.containers.changing.connect(request["id"], body.container, wanted)
    return response.empty(200)


@route("POST", "/networks/{id:.*}/disconnect")
async def disconnect(request: Request) -> Response:
    """Take a container off a network."""
    body = await request.json(wire.NetworkDisconnect, required=False)
    await request.services.containers.changing.disconnect(request["id"], body.container, force=body.force)
    return response.empty(200)


def _request(body: wire.NetworkCreate) -> NetworkRequest:
    ipam = body.ipam or wire.IPAM()
    return NetworkRequest(
        name=body.name,
        driver=body.driver,
        pools=tuple(
            PoolRequest(one.subnet, one.gateway, one.ip_range, one.auxiliary_addresses or one.aux_address or {})
            for one in ipam.config or ()
        ),
        ipv4=body.enable_ipv4 is not False,
        ipv6=body.enable_ipv6 is True,
        internal=body.internal,
        attachable=body.attachable,
        ingress=body.ingress,
        config_only=body.config_only,
        config_from=body.config_from.network if body.config_from else "",
        ipam_driver=ipam.driver,
        ipam_options=ipam.options,
        options=body.options or {},
        labels=body.labels or {},
    )


def _shape(network: Network, holders: Mapping[str, Endpoints]) -> wire.Network:
    config = [
        wire.IPAMConfig(
            subnet=pool.subnet,
            ip_range=pool.range,
            gateway="" if pool.gateway_chosen else pool.gateway,
            auxiliary_addresses=dict(pool.auxiliary) or None,
        )
        for pool in network.pools
    ]
    containers = {}
    for container_id, endpoints in holders.items():
        endpoint = endpoints.on(network.id)
        if endpoint is not None:
            containers[container_id] = wire.NetworkContainer(
                name=endpoints.container_name,
                endpoint_id=endpoint.id,
                mac_address=endpoint.mac_address,
                ipv4_address=f"{endpoint.ipv4}/{endpoint.ipv4_prefix}" if endpoint.ipv4 else "",
                ipv6_address=f"{endpoint.ipv6}/{endpoint.ipv6_prefix}" if endpoint.ipv6 else "",
            )
    options = dict(network.ipam_options) if network.ipam_options is not None else None
    return wire.Network(
        name=network.name,
        id=network.id,
        created=rfc3339(network.created),
        scope="local",
        driver=network.driver,
        enable_ipv4=network.ipv4 or not network.pools,  # of host and none docker says so, too
        enable_ipv6=network.ipv6,
        ipam=wire.IPAM(driver="default", options=options, config=config or None),
        internal=network.internal,
        attachable=network.attachable,
        ingress=False,
        config_from=wire.ConfigReference(),
        config_only=False,
        containers=containers,
        options=dict(network.options),
        labels=dict(network.labels),
    )


def _check(filters: Filters) -> None:
    for kind in filters.values_of("type"):
        if kind not in ("custom", "builtin"):
            raise Invalid(f"invalid filter: 'type'='{kind}'")
    for scope in filters.values_of("scope"):
        if scope not in ("local", "global", "swarm"):
            raise Invalid(f"invalid filter: 'scope'='{scope}'")
    for text in filters.values_of("dangling"):
        if text.lower() not in ("true", "false", "1", "0"):
            raise Invalid('invalid value for filter \'dangling\', must be "true" (or "1"), or "false" (or "0")')


def _matches(network: Network, filters: Filters, used: bool) -> bool:
    for key, values in filters.items():
        match key:
            case "driver":
                fits = network.driver in values
            case "id":
                fits = any(value in network.id for value in values)
            case "name":
                fits = any(value in network.name for value in values)
            case "idOrName":
                fits = any(value in (network.id, network.name) for value in values)
            case "scope":
                fits = "local" in values
            case "type":
                fits = ("builtin" if network.predefined else "custom") in values
            case "dangling":
                fits = (not network.predefined and not used) == filters.flag("dangling")
            case _:
                fits = _has_labels(network.labels, filters)
        if values and not fits:
            return False
    return True


def _has_labels(labels: Mapping[str, str], filters: Filters) -> bool:
    """All of `label`, none of `label!`; each is a key or `key=value`."""
    asked, refused = filters.values_of("label"), filters.values_of("label!")
    return all(_labelled(labels, one) for one in asked) and not any(_labelled(labels, one) for one in refused)


def _labelled(labels: Mapping[str, str], wanted: str) -> bool:
    key, separator, value = wanted.partition("=")
    return key in labels and (not separator or labels[key] == value)
