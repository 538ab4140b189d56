"""`tiffin network create`, `rm`, `connect`, `disconnect`."""

from __future__ import annotations

from tiffin.cli import flags, flags_network, flags_process
from tiffin.cli.command import Call, Command, Failed
from tiffin.cli.flags import Flag
from tiffin.cli.kinds import MAP, STRINGS
from tiffin.client.engine import quote
from tiffin.errors import Invalid, NotFound, TiffinError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import Any


def _holds(subnet: str, item: str) -> bool:
    """Whether a subnet contains an address or the address of a range. Raises Invalid."""
    import ipaddress

    try:
        net = ipaddress.ip_network(subnet, strict=False)
    except ValueError as error:
        raise Invalid(f"invalid subnet: invalid CIDR address: {subnet}") from error
    try:
        address = ipaddress.ip_address(item.partition("/")[0])
    except ValueError as error:
        kind = "CIDR" if "/" in item else "IP"
        raise Invalid(f"invalid {kind} address: {item}") from error
    return address.version == net.version and address in net


def _place(pools: dict[str, dict[str, Any]], items: Iterable[str], key: str, one: str, many: str) -> None:
    for item in items:
        owner = next((subnet for subnet in pools if _holds(subnet, item)), None)
        if owner is None:
            raise Invalid(f"no matching subnet for {one} {item}")
        if pools[owner].get(key):
            on = "on the same" if key == "IPRange" else "for the same"
            raise Invalid(f"cannot configure multiple {many} ({item}, {pools[owner][key]}) {on} subnet ({owner})")
        pools[owner][key] = item


def address_pools(
    subnets: list[str], ranges: list[str], gateways: list[str], auxiliary: dict[str, str]
) -> list[dict[str, Any]]:
    """The API's IPAM.Config: each range, gateway and auxiliary address goes to the subnet that holds it.

    Raises Invalid.
    """
    if len(subnets) < max(len(ranges), len(gateways)):
        raise Invalid("every ip-range or gateway must have a corresponding subnet")
    pools: dict[str, dict[str, Any]] = {}
    for subnet in subnets:
        if any(_holds(other, subnet) or _holds(subnet, other) for other in pools):
            raise Invalid("multiple overlapping subnet configuration is not supported")
        pools[subnet] = {"Subnet": subnet}
    _place(pools, ranges, "IPRange", "range", "ranges")
    _place(pools, gateways, "Gateway", "gateway", "gateways")
    for name, address in auxiliary.items():
        owner = next((subnet for subnet in pools if _holds(subnet, address)), None)
        if owner is None:
            raise Invalid(f"no matching subnet for aux-address {address}")
        pools[owner].setdefault("AuxiliaryAddresses", {})[name] = address
    return list(pools.values())


def create(call: Call) -> int:
    values = call.values
    pools = address_pools(
        values.list("subnet"), values.list("ip-range"), values.list("gateway"), values.map("aux-address")
    )
    body: dict[str, Any] = {
        "Name": call.operands[0],
        "CheckDuplicate": True,
        "Driver": values.text("driver"),
        "Options": values.map("opt"),
        "IPAM": {"Driver": values.text("ipam-driver"), "Config": pools, "Options": values.map("ipam-opt")},
        "Internal": values.on("internal"),
        "Attachable": values.on("attachable"),
        "Ingress": values.on("ingress"),
        "Scope": values.text("scope"),
        "ConfigOnly": values.on("config-only"),
        "Labels": flags_process.as_map(values.list("label")),
        "EnableIPv6": values.on("ipv6"),
    }
    if values.changed("ipv4"):
        body["EnableIPv4"] = values.on("ipv4")
    if values.text("config-from"):
        body["ConfigFrom"] = {"Network": values.text("config-from")}
    answer = call.engine.post("/networks/create", body)
    if answer.get("Warning"):
        call.warn(f"WARNING: {answer['Warning']}")
    call.say(answer["Id"])
    return 0


def remove(call: Call) -> int:
    failed = False
    for name in call.operands:
        try:
            call.engine.delete(f"/networks/{quote(name)}")
        except NotFound as error:
            if not call.values.on("force"):
                call.warn(error)
                failed = True
            continue
        except TiffinError as error:
            call.warn(error)
            failed = True
            continue
        call.say(name)
    if failed:
        raise Failed("exit status 1")
    return 0


def connect(call: Call) -> int:
    values = call.values
    network, container = call.operands
    if not container.strip():
        raise Failed("invalid container name or ID: value is empty")
    options = {}
    for item in values.list("driver-opt"):
        key, equals, value = item.partition("=")
        if not equals or not key:
            raise Failed("invalid key/value pair format in driver options")
        options[key.strip()] = value.strip()
    addresses = {
        "IPv4Address": values.text("ip"),
        "IPv6Address": values.text("ip6"),
        "LinkLocalIPs": values.list("link-local-ip"),
    }
    endpoint: dict[str, Any] = {
        "IPAMConfig": {key: value for key, value in addresses.items() if value},
        "Links": values.list("link"),
        "Aliases": values.list("alias"),
        "DriverOpts": options,
        "GwPriority": values.number("gw-priority"),
    }
    call.engine.post(f"/networks/{quote(network)}/connect", {"Container": container, "EndpointConfig": endpoint})
    return 0


def disconnect(call: Call) -> int:
    network, container = call.operands
    body = {"Container": container, "Force": call.values.on("force")}
    call.engine.post(f"/networks/{quote(network)}/disconnect", body)
    return 0


COMMANDS = {
    "network create": Command(
        "network create",
        create,
        "NETWORK",
        (
            flags.switch("attachable", "Enable manual container attachment"),
            Flag("aux-address", MAP, "Further addresses that the network's driver uses"),
            flags.text("config-from", "The network from which to copy the configuration"),
            flags.switch("config-only", "Create a configuration only network"),
            flags.text("driver", "Driver to manage the network", "d", "bridge"),
            Flag("gateway", STRINGS, "IPv4 or IPv6 gateway of the subnet"),
            flags.switch("ingress", "Create swarm routing-mesh network"),
            flags.switch("internal", "Restrict external access to the network"),
            Flag("ip-range", STRINGS, "Give containers addresses of this part only"),
            flags.text("ipam-driver", "IP address management driver", default="default"),
            Flag("ipam-opt", MAP, "Set options of the address management driver"),
            flags.switch("ipv4", "Give out IPv4 addresses", default=True),
            flags.switch("ipv6", "Give out IPv6 addresses"),
            Flag("label", flags_process.LABELS, "Set a label on the network"),
            Flag("opt", MAP, "Set driver specific options", short="o"),
            flags.text("scope", "Control the network's scope"),
            Flag("subnet", STRINGS, "Subnet in CIDR format"),
        ),
        least=1,
        most=1,
    ),
    "network rm": Command(
        "network rm",
        remove,
        "NETWORK [NETWORK...]",
        (flags.switch("force", "Do not error if the network does not exist", "f"),),
        least=1,
        most=None,
    ),
    "network connect": Command(
        "network connect",
        connect,
        "NETWORK CONTAINER",
        (
            Flag("alias", STRINGS, "Add a name for the container on the network"),
            Flag("driver-opt", STRINGS, "Driver options of the network"),
            flags.number("gw-priority", "The network with the highest one provides the default gateway"),
            flags.text("ip", 'IPv4 address (e.g., "172.30.100.104")'),
            flags.text("ip6", 'IPv6 address (e.g., "2001:db8::33")'),
            Flag("link", flags_network.LINKS, "Add a link to another container"),
            Flag("link-local-ip", STRINGS, "Add a link-local address for the container"),
        ),
        least=2,
        most=2,
    ),
    "network disconnect": Command(
        "network disconnect",
        disconnect,
        "NETWORK CONTAINER",
        (flags.switch("force", "Force the container to disconnect from a network", "f"),),
        least=2,
        most=2,
    ),
}
