"""Flags of run and create that connect a container: networks, addresses, published ports, names."""

from __future__ import annotations

from tiffin.cli import flags, port_specs
from tiffin.cli.flags import Flag, Values
from tiffin.cli.kinds import LIST, BadValue, Kind, checked, split_csv
from tiffin.errors import Invalid

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


def _address(raw: str) -> str:
    text = raw.strip()
    if not port_specs.is_address(text):
        raise BadValue(f"IP address is not correctly formatted: {raw}")
    return text


def _search_domain(raw: str) -> str:
    import re

    text = raw.strip(" ")
    labels = r"[a-zA-Z0-9_]([a-zA-Z0-9_-]*[a-zA-Z0-9_])?"
    if text != "." and not (re.search("[a-zA-Z]", text) and re.fullmatch(rf"({labels})(\.{labels})*\.?", text)):
        raise BadValue(f"{text} is not a valid domain")
    return text if text == "." else text.removesuffix(".")


def _extra_host(raw: str) -> str:
    name, equals, address = raw.partition("=")
    if not equals:
        name, equals, address = raw.partition(":")
    if not equals or not name or ":" in name:
        raise BadValue(f'bad format for add-host: "{raw}"')
    if address != "host-gateway":
        if len(address) > 2 and address[0] == "[" and address[-1] == "]":
            address = address[1:-1]
        if not port_specs.is_address(address.strip()):
            raise BadValue(f'invalid IP address in add-host: "{address}"')
    return f"{name}:{address}"


def link(raw: str) -> str:
    parts = raw.split(":")
    if not raw:
        raise BadValue("empty string specified for links")
    if len(parts) > 2:
        raise BadValue(f"bad format for links: {raw}")
    return raw


_LISTS = {"alias": "aliases", "link-local-ip": "link_local"}
_SINGLE = {"name": "target", "ip": "ip", "ip6": "ip6", "mac-address": "mac"}


def parse_network(raw: str, previous: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """A network's name, or `name=…,alias=…,ip=…,driver-opt=…`: a dict with the keys above."""
    network: dict[str, Any] = {"target": raw}
    if "=" in raw:
        network = {"target": ""}
        for field in split_csv(raw):
            key, equals, value = field.lower().partition("=")
            key, value = key.strip(), value.strip()
            if not equals or not key:
                raise BadValue(f"invalid field {field}")
            _take(network, key, value)
        if not network["target"]:
            raise BadValue("network name/id is not specified")
    return [*previous, network]


def _take(network: dict[str, Any], key: str, value: str) -> None:
    if key in _SINGLE:
        network[_SINGLE[key]] = value
    elif key in _LISTS:
        network.setdefault(_LISTS[key], []).append(value)
    elif key == "driver-opt":
        name, equals, setting = value.partition("=")
        if not equals or not name:
            raise BadValue("invalid key value pair format in driver options")
        network.setdefault("driver_opts", {})[name.strip()] = setting.strip()
    elif key == "gw-priority":
        try:
            network["priority"] = int(value)
        except ValueError as error:
            raise BadValue(f"invalid gw-priority ({value}): invalid syntax") from error
    else:
        raise BadValue(f"invalid field key {key}")


_NETWORK = Kind("network", parse_network, list)
_ADDRESSES = Kind("list", checked(_address), list)
LINKS = Kind("list", checked(link), list)
_HOSTS = Kind("list", checked(_extra_host), list)

FLAGS = (
    Flag("add-host", _HOSTS, "Add a line to the container's hosts file (host:ip)"),
    Flag("dns", _ADDRESSES, "Set custom DNS servers"),
    flags.several("dns-option", "Set DNS options"),
    Flag("dns-opt", LIST, "Set DNS options", hidden=True),
    Flag("dns-search", Kind("list", checked(_search_domain), list), "Set custom DNS search domains"),
    flags.several("expose", "Expose a port or a range of ports"),
    flags.text("ip", "IPv4 address (e.g., 172.30.100.104)"),
    flags.text("ip6", "IPv6 address (e.g., 2001:db8::33)"),
    Flag("link", LINKS, "Add a link to another container"),
    flags.several("link-local-ip", "Container's IPv4 or IPv6 link-local addresses"),
    flags.text("mac-address", "Container's MAC address (e.g., 92:d0:c6:0a:29:33)"),
    Flag("net", _NETWORK, "Connect a container to a network", hidden=True),
    Flag("net-alias", LIST, "Add a name for the container on the network", hidden=True),
    Flag("network", _NETWORK, "Connect the container to a network"),
    flags.several("network-alias", "Add a name for the container on the network"),
    flags.several("publish", "Publish a container's port or ports to the host", "p"),
    flags.switch("publish-all", "Publish all exposed ports to random ports", "P"),
)


def user_defined(mode: str) -> bool:
    return mode not in ("default", "bridge", "host", "none", "nat", "") and not mode.startswith("container:")


def check_mac(text: str) -> None:
    import re

    if not re.fullmatch(r"[0-9a-fA-F]{2}([:-][0-9a-fA-F]{2}){5,7}", text.strip()):
        raise Invalid(f"{text} is not a valid mac address")


_CONFLICTS = (
    ("aliases", "network-alias", "--network-alias and per-network alias"),
    ("links", "link", "--link and per-network links"),
    ("ip", "ip", "--ip and per-network IPv4 address"),
    ("ip6", "ip6", "--ip6 and per-network IPv6 address"),
    ("mac", "mac-address", "--mac-address and per-network MAC address"),
    ("link_local", "link-local-ip", "--link-local-ip and per-network link-local IP addresses"),
)


def _with_plain_flags(network: dict[str, Any], values: Values) -> dict[str, Any]:
    """The first network takes what the older flags say."""
    result = dict(network)
    for key, flag, words in _CONFLICTS:
        given = values.get(flag) or (values.get("net-alias") if flag == "network-alias" else None)
        if result.get(key) and given:
            raise Invalid(f"conflicting options: cannot specify both {words}")
        # on the default bridge a link is not the endpoint's affair
        if given and (key != "links" or user_defined(result["target"])):
            result[key] = given
    return result


def endpoint(network: dict[str, Any]) -> dict[str, Any]:
    """The API's EndpointSettings. Raises Invalid."""
    if not network["target"].strip():
        raise Invalid("no name set for network")
    if not user_defined(network["target"]):
        if network.get("aliases"):
            raise Invalid("network-scoped aliases are only supported for user-defined networks")
        if network.get("links"):
            raise Invalid("links are only supported for user-defined networks")
    settings: dict[str, Any] = {}
    addresses = {
        key: network[name]
        for key, name in (("IPv4Address", "ip"), ("IPv6Address", "ip6"), ("LinkLocalIPs", "link_local"))
        if network.get(name)
    }
    if addresses:
        settings["IPAMConfig"] = addresses
    if network.get("mac"):
        check_mac(network["mac"])
        settings["MacAddress"] = network["mac"]
    for key, name in (
        ("Aliases", "aliases"),
        ("Links", "links"),
        ("DriverOpts", "driver_opts"),
        ("GwPriority", "priority"),
    ):
        if network.get(name):
            settings[key] = network[name]
    return settings


def endpoints(values: Values) -> dict[str, Any]:
    """The API's EndpointsConfig, by network name. Raises Invalid."""
    networks = values.get("network") + values.get("net")
    if not networks:
        return {"default": endpoint(_with_plain_flags({"target": "default"}, values))}
    kinds = {user_defined(network["target"]) for network in networks}
    found: dict[str, Any] = {}
    for index, network in enumerate(networks):
        if index == 0:
            network = _with_plain_flags(network, values)
        settings = endpoint(network)
        if network["target"] in found:
            raise Invalid(f'network "{network["target"]}" is specified multiple times')
        if settings or len(networks) > 1:
            found[network["target"]] = settings
    if len(kinds) > 1:
        text = "conflicting options: cannot attach both user-defined and non-user-defined network-modes"
        raise Invalid(text)
    return found


def fill(values: Values, config: dict[str, Any], host: dict[str, Any]) -> dict[str, Any]:
    """Put these flags' part into `Config` and `HostConfig`; returns `NetworkingConfig`. Raises Invalid."""
    if values.text("mac-address"):
        check_mac(values.text("mac-address"))
    bindings = port_specs.publish(values.list("publish"))
    exposed = [*bindings, *port_specs.expose(values.list("expose"))]
    config["ExposedPorts"] = {port: dict[str, str]() for port in exposed}
    networks = values.get("network") + values.get("net")
    host.update(
        Dns=values.list("dns"),
        DnsOptions=values.list("dns-option") + values.list("dns-opt"),
        DnsSearch=values.list("dns-search"),
        ExtraHosts=values.list("add-host") or None,
        Links=values.list("link") or None,
        NetworkMode=networks[0]["target"] if networks else "default",
        PortBindings=bindings,
        PublishAllPorts=values.on("publish-all"),
    )
    configured = endpoints(values)
    if mac := configured.get(host["NetworkMode"], {}).get("MacAddress"):
        # daemons below API 1.44 look here
        config["MacAddress"] = mac
    return {"EndpointsConfig": configured}
