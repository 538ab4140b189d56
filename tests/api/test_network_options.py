"""What a container's place on its networks can be told, and what the daemon's options say of networks."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator

import pytest

from rig import Cli, Engine, eventually
from rig.peers import needs_api, tiffins_own

pytestmark = pytest.mark.root


@pytest.fixture
def nets(engine: Engine, docker: Cli, tidy: None) -> Iterator[tuple[str, str]]:
    """Two networks, removed with everything on them."""
    for number, name in enumerate(("front", "back")):
        docker("network", "create", "--subnet", f"10.8{number}.0.0/24", name)
    yield "front", "back"
    engine.clear()
    docker("network", "rm", "front", "back")


def test_hostname_and_domainname(docker: Cli, tidy: None) -> None:
    show = "hostname; cat /proc/sys/kernel/domainname; tail -n 1 /etc/hosts"
    lines = docker("run", "--rm", "-h", "web", "--domainname", "example.com", "busybox", "sh", "-c", show).out
    hostname, domainname, own = lines.splitlines()
    assert (hostname, domainname) == ("web", "example.com")
    assert own.split()[1:] == ["web.example.com", "web"]


def test_resolver_options_on_either_kind_of_network(docker: Cli, nets: tuple[str, str]) -> None:
    flags = ["--dns", "192.0.2.53", "--dns-search", "example.com", "--dns-option", "timeout:1"]
    plain = docker("run", "--rm", *flags, "busybox", "cat", "/etc/resolv.conf").out.splitlines()
    assert {"nameserver 192.0.2.53", "search example.com", "options timeout:1"} <= set(plain)
    named = docker("run", "--rm", *flags, "--network", "front", "busybox", "cat", "/etc/resolv.conf").out.splitlines()
    assert {"nameserver 127.0.0.11", "search example.com", "options timeout:1 ndots:0"} <= set(named)


def test_a_network_in_long_form(engine: Engine, docker: Cli, nets: tuple[str, str]) -> None:
    needs_api(engine, "1.48", "several networks at create, names of interfaces, priorities")
    first = [
        "name=front",
        "alias=web",
        "alias=www",
        "ip=10.80.0.77",
        "mac-address=02:42:0a:50:00:4d",
        "driver-opt=com.docker.network.endpoint.ifname=outer0",
        "driver-opt=com.docker.network.endpoint.sysctls=net.ipv4.conf.IFNAME.log_martians=1",
    ]
    second = "name=back,gw-priority=5,driver-opt=com.docker.network.endpoint.ifname=inner0"
    docker(
        "run",
        "-d",
        "--init",
        "--name",
        "placed",
        "--network",
        ",".join(first),
        "--network",
        second,
        "busybox",
        "sleep",
        "600",
    )
    places = json.loads(docker("inspect", "placed").out)[0]["NetworkSettings"]["Networks"]
    front, back = places["front"], places["back"]
    assert (front["IPAddress"], front["MacAddress"]) == ("10.80.0.77", "02:42:0a:50:00:4d")
    assert {"web", "www"} <= set(front["Aliases"])
    assert back["GwPriority"] == 5
    links = docker("exec", "placed", "ip", "-o", "addr").out
    assert "outer0    inet 10.80.0.77/24" in links and "inner0    inet 10.81.0." in links
    assert docker("exec", "placed", "cat", "/proc/sys/net/ipv4/conf/outer0/log_martians").line == "1"
    assert "default via 10.81.0.1 dev inner0" in docker("exec", "placed", "ip", "route").out
    assert "10.80.0.77" in docker("exec", "placed", "nslookup", "-type=a", "www").out


def test_prune_takes_what_its_filters_say(docker: Cli, nets: tuple[str, str]) -> None:
    for name, label in (("one", "tier=front"), ("two", "tier=back"), ("three", "keep=yes")):
        docker("network", "create", "--label", label, name)
    pruned = docker("network", "prune", "-f", "--filter", "label=tier=front", "--filter", "until=1h").out
    assert "one" not in pruned, "it is younger than that"
    assert docker("network", "prune", "-f", "--filter", "label=tier=front").out.split()[-1:] == ["one"]
    left = docker("network", "prune", "-f", "--filter", "label!=keep").out
    assert "two" in left and "three" not in left.split()
    docker("network", "rm", "three")
    for name in ("front", "back"):  # for the fixture
        docker("network", "create", name, check=False)


@pytest.fixture
def pooled(start_engine: Callable[..., Engine]) -> Engine:
    """An engine whose networks come from a pool of four, one of which is the default bridge's."""
    return start_engine("--default-address-pool", "base=10.99.0.0/22,size=24", images=())


def test_pools_are_the_daemons_and_a_clash_is_named(pooled: Engine) -> None:
    tiffins_own(pooled, "it says what is in the way")
    docker = pooled.cli("docker")
    pooled.run("ip", "link", "add", "vpn0", "type", "veth", "peer", "name", "vpn1")
    pooled.run("ip", "link", "set", "vpn0", "up")
    pooled.run("ip", "route", "add", "10.99.1.0/25", "dev", "vpn0")
    made = []
    for name in ("one", "two"):
        docker("network", "create", name)
        made.append(docker("network", "inspect", "-f", "{{(index .IPAM.Config 0).Subnet}}", name).line)
    assert made == ["10.99.2.0/24", "10.99.3.0/24"], "the route's is left out"
    refused = docker("network", "create", "three", check=False)
    assert "all predefined address pools have been fully subnetted" in refused.err
    assert "10.99.1.0/25 (vpn0)" in refused.err and "10.99.2.0/24 (network one)" in refused.err
    overlapping = docker("network", "create", "--subnet", "10.99.2.0/25", "four", check=False)
    assert "Pool overlaps with other one on this address space" in overlapping.err
    assert "10.99.2.0/24 (network one)" in overlapping.err


@pytest.mark.slow
def test_networks_have_the_options_that_the_daemon_says(engine: Engine, start_engine: Callable[..., Engine]) -> None:
    tiffins_own(engine, "an old dockerd has no such option")
    given = ("host_binding_ipv4=127.0.0.1", "mtu=1400")
    keys = ("com.docker.network.bridge", "com.docker.network.driver")
    flags = [("--default-network-opt", f"bridge={key}.{value}") for key, value in zip(keys, given, strict=True)]
    own = start_engine(*flags[0], *flags[1])
    docker = own.cli("docker")
    docker("network", "create", "usual")
    docker("network", "create", "-o", "com.docker.network.driver.mtu=1300", "own")
    for name, mtu in (("usual", "1400"), ("own", "1300")):
        options = json.loads(docker("network", "inspect", name).out)[0]["Options"]
        assert options["com.docker.network.bridge.host_binding_ipv4"] == "127.0.0.1"
        assert options["com.docker.network.driver.mtu"] == mtu
    docker("run", "-d", "--init", "--name", "web", "--network", "usual", "-p", "8080:80", "busybox", "sleep", "600")
    assert docker("port", "web").line == "80/tcp -> 127.0.0.1:8080"


@pytest.mark.slow
def test_links_lead_where_containers_are_kept_apart(start_engine: Callable[..., Engine]) -> None:
    engine = start_engine("--icc=false")
    docker = engine.cli("docker")
    serve = ["nc", "-ll", "-p", "80", "-e", "echo", "hello"]
    docker("run", "-d", "--init", "--name", "web", "--expose", "80", "busybox", *serve)
    docker("run", "-d", "--init", "--name", "linked", "--link", "web:www", "busybox", "sleep", "600")
    docker("run", "-d", "--init", "--name", "apart", "busybox", "sleep", "600")

    def page(container: str) -> str:
        address = docker("inspect", "-f", "{{.NetworkSettings.Networks.bridge.IPAddress}}", "web").line
        # a static busybox's wget can't do without a resolver's library
        return docker("exec", container, "nc", "-w", "2", address, "80", check=False).out

    eventually(lambda: page("linked") == "hello\n")
    assert page("apart") == ""
    if engine.kind != "tiffin":
        return  # dockerd leaves its rules at the old address
    docker("stop", "-t", "0", "web")
    docker("run", "-d", "--init", "--name", "between", "busybox", "sleep", "600")
    docker("start", "web")
    eventually(lambda: page("linked") == "hello\n", what="the link at its new address")
    assert page("apart") == ""
