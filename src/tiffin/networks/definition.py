"""From what a client asks of a new network to the network: names, subnets, gateways, options checked and chosen."""

import ipaddress
import secrets
import time
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace

from tiffin.errors import Conflict, Forbidden, Invalid, NotFound, Unsupported
from tiffin.model.network import Network, NetworkRequest, Pool, PoolRequest
from tiffin.networks.addresses import (
    CONFIG,
    AddressSpace,
    IPNetwork,
    Leases,
    address_of,
    check_pool,
    choose_subnet,
    overlaps,
)

PREDEFINED = ("bridge", "host", "none", "default")

BRIDGE_NAME = "com.docker.network.bridge.name"
ICC = "com.docker.network.bridge.enable_icc"
MASQUERADE = "com.docker.network.bridge.enable_ip_masquerade"
HOST_BINDING = "com.docker.network.bridge.host_binding_ipv4"
GATEWAY_MODE = "com.docker.network.bridge.gateway_mode_ipv"
MODES = ("nat", "nat-unprotected", "routed", "isolated")
DEFAULT_BRIDGE = "com.docker.network.bridge.default_bridge"
MTU = "com.docker.network.driver.mtu"
OBEY_INPUT = "tiffin.bridge.obey_input"
"""Tiffin's own: published ports are served by the host's sockets, so that the host's rules for INPUT count."""
PARENT = "parent"
SUBLINKS: Mapping[str, Mapping[str, int]] = {
    "macvlan": {"": 4, "bridge": 4, "private": 1, "vepa": 2, "passthru": 8},
    "ipvlan": {"": 0, "l2": 0, "l3": 1, "l3s": 2},
}
"""Drivers on a link of the host, with their modes; the first is the default."""
INTERFACE_PREFIX = "com.docker.network.container_iface_prefix"

_TRUE, _FALSE = ("1", "t", "true"), ("0", "f", "false")


@dataclass(frozen=True, slots=True)
class Defaults:
    """What the daemon's options say. `bip`, `bip6`: address and prefix length of the default bridge, "" to choose."""

    bridge: str = "tiffin0"
    bip: str = ""
    fixed_cidr: str = ""
    spaces: Sequence[AddressSpace] = ()
    mtu: int = 1500
    icc: bool = True
    masquerade: bool = True
    host_ip: str = ""
    ipv6: bool = False
    bip6: str = ""
    fixed_cidr_v6: str = ""
    options: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    """By driver: options of new networks that don't give them themselves."""


def flag(options: Mapping[str, str], key: str, default: bool) -> bool:
    """A boolean option in Go's spellings. Raises Invalid."""
    text = options.get(key, "").lower()
    if not text:
        return default
    if text in _TRUE or text in _FALSE:
        return text in _TRUE
    raise Invalid(f"invalid value for option {key}: {options[key]!r} is neither true nor false")


def gateway_mode(network: Network, version: int) -> str:
    """One of MODES: how a network's containers are reached and reach others over IPv4 or IPv6."""
    return network.options.get(f"{GATEWAY_MODE}{version}") or "nat"


def define(
    request: NetworkRequest,
    *,
    others: Collection[Network],
    spaces: Sequence[AddressSpace],
    avoid: Mapping[IPNetwork, str],
) -> Network:
    """The network that a client asks for. `avoid`: subnets in use on the host, with their links, not to be chosen.

    Raises Invalid, Forbidden, Conflict, NotFound, Unsupported, in docker's words where it has some.
    """
    _check_name(request.name, others)
    _check_kind(request)
    _check_options(request.options, internal=request.internal)
    if request.driver in SUBLINKS:
        sublink_mode(request.driver, request.options)
        if len(request.options.get(PARENT, "")) > 15 or "/" in request.options.get(PARENT, ""):
            raise Invalid(f"invalid parent interface {request.options[PARENT]!r}")
    taken = _held(others)
    pools = _pools(request, spaces, taken, avoid)
    network = Network(
        id=secrets.token_hex(32),
        name=request.name,
        driver=request.driver or "bridge",
        created=time.time_ns(),
        pools=pools,
        ipv4=request.ipv4,
        ipv6=request.ipv6,
        # without a parent there is nowhere to go
        internal=request.internal or (request.driver in SUBLINKS and not request.options.get(PARENT)),
        attachable=request.attachable,
        options=dict(request.options),
        labels=dict(request.labels),
        ipam_options=request.ipam_options,
        addressed=any(pool.subnet for pool in request.pools),
    )
    for other in others:
        if network.on_link and other.on_link and _parent(other) == _parent(network) != "":
            raise Forbidden(f"network {other.name} is already using parent interface {_parent(network)}")
        if other.driver == network.driver == "bridge" and other.bridge == network.bridge:
            raise Forbidden(f"bridge name {network.bridge} is in use by network {other.name}; choose another one")
    return network


def _held(networks: Collection[Network]) -> dict[IPNetwork, str]:
    return {ipaddress.ip_network(pool.subnet): f"network {one.name}" for one in networks for pool in one.pools}


def _parent(network: Network) -> str:
    return network.options.get(PARENT, "")


def sublink_mode(driver: str, options: Mapping[str, str]) -> tuple[int, int]:
    """The mode and flag of macvlan and ipvlan links, as the kernel numbers them. Raises Invalid."""
    flags = {"": 0, "bridge": 0, "private": 1, "vepa": 2} if driver == "ipvlan" else {"": 0}
    chosen = []
    for key, known in ((f"{driver}_mode", SUBLINKS[driver]), (f"{driver}_flag", flags)):
        text = options.get(key, "")
        if text not in known:
            raise Invalid(
                f"unknown value {text!r} for option {key}: it must be one of {', '.join(filter(None, known))}"
            )
        chosen.append(known[text])
    return chosen[0], chosen[1]


def _check_name(name: str, others: Collection[Network]) -> None:
    if not name.strip():
        raise Invalid("invalid name: name is empty")
    if name in PREDEFINED:
        raise Forbidden(f"operation is not permitted on predefined {name} network")
    if any(other.name == name for other in others):
        raise Conflict(f"network with name {name} already exists")


def _check_kind(request: NetworkRequest) -> None:
    driver = request.driver or "bridge"
    if driver in ("host", "null"):
        raise Forbidden(f'only one instance of "{driver}" network is allowed')
    if driver == "overlay":
        raise Unsupported(
            "networks with driver overlay belong to swarm mode, which is not supported; use driver bridge"
        )
    if driver not in ("bridge", "macvlan", "ipvlan"):
        raise NotFound(f'plugin "{driver}" not found')
    if request.ipam_driver not in ("", "default"):
        raise NotFound(f'plugin "{request.ipam_driver}" not found')
    if request.ingress or request.config_only or request.config_from:
        raise Unsupported("ingress and config-only networks belong to swarm mode, which is not supported")
    if not request.ipv4 and not request.ipv6:
        raise Invalid("IPv4 or IPv6 must be enabled")


def _check_options(options: Mapping[str, str], *, internal: bool) -> None:
    name = options.get(BRIDGE_NAME, "")
    if len(name) > 15 or "/" in name or any(letter.isspace() for letter in name) or name in (".", ".."):
        raise Invalid(
            f"invalid bridge name {name!r}: an interface's name has at most 15 characters, no slash, no space"
        )
    for key in (ICC, MASQUERADE, OBEY_INPUT):
        flag(options, key, True)
    mtu = options.get(MTU, "")
    if mtu and not (mtu.isdecimal() and 68 <= int(mtu) <= 65535):
        raise Invalid(f"invalid value for option {MTU}: {mtu!r} is not an MTU from 68 to 65535")
    if text := options.get(HOST_BINDING, ""):
        address_of(text, f"value for option {HOST_BINDING}")
    for version in ("4", "6"):
        mode = options.get(GATEWAY_MODE + version) or "nat"
        if mode not in MODES:
            raise Invalid(f"unknown gateway mode {mode}: {GATEWAY_MODE}{version} must be one of {', '.join(MODES)}")
        if mode == "isolated" and not internal:
            raise Invalid("gateway mode 'isolated' can only be used for an internal network")


def _pools(
    request: NetworkRequest,
    spaces: Sequence[AddressSpace],
    taken: Mapping[IPNetwork, str],
    avoid: Mapping[IPNetwork, str],
) -> tuple[Pool, ...]:
    wanted = [one for one in request.pools if one.subnet]
    pools: list[Pool] = []
    for one in wanted:
        pool = _given(one)
        check_pool(pool, {**taken, **{ipaddress.ip_network(other.subnet): "this network" for other in pools}})
        version = ipaddress.ip_network(pool.subnet).version
        if (version == 4 and request.ipv4) or (version == 6 and request.ipv6):
            pools.append(replace(with_gateway(pool), gateway_chosen=not pool.gateway))
    for version, enabled in ((4, request.ipv4), (6, request.ipv6)):
        if enabled and not any(ipaddress.ip_network(pool.subnet).version == version for pool in pools):
            subnet = choose_subnet(version, spaces, {**avoid, **taken})
            pools.append(_chosen(subnet, request.pools, version))
    return tuple(pools)


def _chosen(subnet: IPNetwork, wanted: Sequence[PoolRequest], version: int) -> Pool:
    # --gateway without --subnet: docker wants both
    if any(one.gateway and address_of(one.gateway).version == version for one in wanted if not one.subnet):
        raise Invalid(f"{CONFIG}no matching subnet for gateway: give --subnet as well")
    return with_gateway(Pool(str(subnet)))


def _given(one: PoolRequest) -> Pool:
    try:
        exact = ipaddress.ip_interface(one.subnet)
    except ValueError as error:
        raise Invalid(f"{CONFIG}invalid subnet {one.subnet}: invalid CIDR block notation") from error
    if "/" not in one.subnet:
        raise Invalid(f"{CONFIG}invalid subnet {one.subnet}: invalid CIDR block notation")
    if exact.ip != exact.network.network_address:
        raise Invalid(f"{CONFIG}invalid subnet {one.subnet}: it should be {exact.network}")
    if one.range:
        try:
            ipaddress.ip_network(one.range)
        except ValueError as error:
            raise Invalid(f"invalid ip-range {one.range}: {error}") from error
    for what, text in one.auxiliary.items():
        address_of(text, f"auxiliary address {what}")
    gateway = str(address_of(one.gateway.partition("/")[0], "gateway address")) if one.gateway else ""
    return Pool(str(exact.network), gateway, one.range, dict(one.auxiliary))


def with_gateway(pool: Pool) -> Pool:
    """A pool whose gateway is chosen: the first address that is free."""
    return pool if pool.gateway else replace(pool, gateway=str(Leases(pool).take()))


def default_bridge(
    defaults: Defaults, *, others: Collection[Network], known: Network | None, avoid: Mapping[IPNetwork, str]
) -> Network:
    """The network `bridge`, as the daemon's options say; `known` keeps its id and, where nothing else is said, subnet.

    Raises Invalid for options that make no sense.
    """
    taken = _held(others)
    pools = [_default_pool(defaults, known, {**avoid, **taken})]
    if defaults.ipv6:
        pools.append(_default_pool_v6(defaults, known, {**avoid, **taken}))
    options = {
        DEFAULT_BRIDGE: "true",
        ICC: str(defaults.icc).lower(),
        MASQUERADE: str(defaults.masquerade).lower(),
        HOST_BINDING: defaults.host_ip or "0.0.0.0",
        BRIDGE_NAME: defaults.bridge,
        MTU: str(defaults.mtu),
    }
    if obey := defaults.options.get("bridge", {}).get(OBEY_INPUT):
        flag({OBEY_INPUT: obey}, OBEY_INPUT, False)
        options[OBEY_INPUT] = obey
    return Network(
        id=known.id if known else secrets.token_hex(32),
        name="bridge",
        driver="bridge",
        created=known.created if known else time.time_ns(),
        pools=tuple(pools),
        ipv6=defaults.ipv6,
        options=options,
        predefined=True,
    )


def _default_pool(defaults: Defaults, known: Network | None, taken: Mapping[IPNetwork, str]) -> Pool:
    if defaults.bip:
        try:
            interface = ipaddress.ip_interface(defaults.bip)
        except ValueError as error:
            raise Invalid(f"invalid --bip {defaults.bip}: {error}") from error
        return Pool(str(interface.network), str(interface.ip), defaults.fixed_cidr)
    kept = known.pools[0] if known and known.pools else None
    if kept and not any(overlaps(ipaddress.ip_network(kept.subnet), other) for other in taken):
        return replace(kept, range=defaults.fixed_cidr)
    return with_gateway(Pool(str(choose_subnet(4, defaults.spaces, taken)), "", defaults.fixed_cidr))


def _default_pool_v6(defaults: Defaults, known: Network | None, taken: Mapping[IPNetwork, str]) -> Pool:
    try:
        if defaults.bip6:
            interface = ipaddress.ip_interface(defaults.bip6)
            return Pool(str(interface.network), str(interface.ip), defaults.fixed_cidr_v6)
        if defaults.fixed_cidr_v6:
            return with_gateway(Pool(str(ipaddress.ip_network(defaults.fixed_cidr_v6))))
    except ValueError as error:
        raise Invalid(f"invalid --bip6 or --fixed-cidr-v6: {error}") from error
    if known is not None and len(known.pools) > 1:
        return known.pools[1]
    return with_gateway(Pool(str(choose_subnet(6, defaults.spaces, taken))))


def predefined(name: str, driver: str) -> Network:
    """The networks `host` and `none`, which have no addresses."""
    return Network(secrets.token_hex(32), name, driver, time.time_ns(), ipv4=False, predefined=True)
