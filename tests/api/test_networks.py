"""/networks through docker-py and the docker command line."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import docker as docker_py
import pytest
from docker.errors import APIError

from rig import Cli, Engine, eventually
from rig.peers import tiffins_own

pytestmark = pytest.mark.root


@pytest.fixture
def client(engine: Engine, tidy: None) -> Iterator[docker_py.APIClient]:
    """docker-py; what it made is removed."""
    made = docker_py.APIClient(base_url=engine.host, timeout=60)
    yield made
    engine.clear()
    made.prune_networks()
    made.close()


def test_predefined_networks_are_there_and_stay(client: docker_py.APIClient) -> None:
    found = {network["Name"]: network for network in client.networks()}
    assert {name: found[name]["Driver"] for name in ("bridge", "host", "none")} == {
        "bridge": "bridge",
        "host": "host",
        "none": "null",
    }
    (pool,) = found["bridge"]["IPAM"]["Config"]
    assert "/" in pool["Subnet"]
    for name in ("bridge", "host", "none"):
        with pytest.raises(APIError, match=f"{name} is a pre-defined network and cannot be removed") as refused:
            client.remove_network(name)
        assert refused.value.status_code == 403


def test_network_is_shown_as_it_was_asked_for(client: docker_py.APIClient) -> None:
    pool = {
        "Subnet": "10.70.0.0/24",
        "IPRange": "10.70.0.128/25",
        "Gateway": "10.70.0.254",
        "AuxiliaryAddresses": {"router": "10.70.0.129"},
    }
    made = client.create_network(
        "asked",
        ipam={"Driver": "default", "Config": [pool]},
        labels={"a": "b"},
        options={"com.docker.network.driver.mtu": "1400"},
        internal=True,
    )
    assert made["Warning"] == ""
    shown = client.inspect_network(made["Id"][:12])
    assert shown["Id"] == made["Id"]
    assert shown["IPAM"]["Config"] == [pool]
    assert (shown["Labels"], shown["Internal"], shown["Scope"]) == ({"a": "b"}, True, "local")
    assert shown["Options"]["com.docker.network.driver.mtu"] == "1400"
    assert shown["Containers"] == {}


def test_second_network_of_a_name_and_overlapping_subnets_are_refused(client: docker_py.APIClient) -> None:
    pool = {"Config": [{"Subnet": "10.71.0.0/24"}]}
    client.create_network("first", ipam=pool)
    with pytest.raises(APIError, match="network with name first already exists") as refused:
        client.create_network("first", check_duplicate=True)
    assert refused.value.status_code == 409
    with pytest.raises(APIError, match="Pool overlaps with other one on this address space") as refused:
        client.create_network("second", ipam=pool)
    assert refused.value.status_code == 403


def test_missing_network_is_not_found(client: docker_py.APIClient) -> None:
    for call in (client.inspect_network, client.remove_network):
        with pytest.raises(APIError, match="network nowhere not found") as refused:
            call("nowhere")
        assert refused.value.status_code == 404


def test_filters_choose_by_name_label_driver_and_type(client: docker_py.APIClient) -> None:
    client.create_network("alpha", labels={"tier": "front"})
    client.create_network("beta", labels={"tier": "back"})

    def names(**filters: object) -> set[str]:
        return {network["Name"] for network in client.networks(filters=filters)}

    assert names(name=["alph"]) == {"alpha"}
    assert names(label=["tier=back"]) == {"beta"}
    assert names(label=["tier"]) == {"alpha", "beta"}
    assert names(driver=["host"]) == {"host"}
    assert names(type=["builtin"]) == {"bridge", "host", "none"}
    assert names(type=["custom"]) == {"alpha", "beta"}
    assert names(dangling=["true"]) == {"alpha", "beta"}
    with pytest.raises(APIError, match="nvalid filter"):
        names(nonsense=["x"])


def test_inspect_lists_the_running_containers(docker: Cli, client: docker_py.APIClient) -> None:
    client.create_network("peopled")
    container = docker("run", "-d", "--name", "resident", "--network", "peopled", "busybox", "sleep", "600").line
    (shown,) = client.inspect_network("peopled")["Containers"].items()
    assert shown[0] == container
    assert shown[1]["Name"] == "resident"
    address = client.inspect_container("resident")["NetworkSettings"]["Networks"]["peopled"]
    assert shown[1]["IPv4Address"] == f"{address['IPAddress']}/{address['IPPrefixLen']}"
    assert shown[1]["MacAddress"] == address["MacAddress"]
    with pytest.raises(APIError, match="has active endpoints"):
        client.remove_network("peopled")
    docker("rm", "-f", "resident")
    client.remove_network("peopled")


def test_created_container_is_connected_before_it_starts(docker: Cli, client: docker_py.APIClient) -> None:
    client.create_network("later")
    docker("create", "--name", "waiting", "busybox", "ip", "-4", "-o", "addr")
    client.connect_container_to_network("waiting", "later")
    shown = docker("start", "-a", "waiting").out
    assert "eth0" in shown and "eth1" in shown


def test_running_container_is_connected_and_disconnected(docker: Cli, client: docker_py.APIClient) -> None:
    client.create_network("more", ipam={"Config": [{"Subnet": "10.72.0.0/24"}]})
    docker("run", "-d", "--name", "moving", "busybox", "sleep", "600")
    client.connect_container_to_network("moving", "more", ipv4_address="10.72.0.77")
    assert "10.72.0.77/24" in docker("exec", "moving", "ip", "addr").out
    with pytest.raises(APIError, match="already exists in network more") as refused:
        client.connect_container_to_network("moving", "more")
    assert refused.value.status_code == 403
    client.disconnect_container_from_network("moving", "more")
    assert "10.72.0.77" not in docker("exec", "moving", "ip", "addr").out


def test_prune_takes_only_what_nobody_uses(docker: Cli, client: docker_py.APIClient) -> None:
    client.create_network("used")
    client.create_network("idle")
    client.create_network("labelled", labels={"keep": "1"})
    docker("run", "-d", "--network", "used", "busybox", "sleep", "600")
    assert client.prune_networks(filters={"label!": ["keep"]})["NetworksDeleted"] == ["idle"]
    assert {"used", "labelled"} <= {network["Name"] for network in client.networks()}


def test_published_port_is_open_when_run_returns(engine: Engine, docker: Cli) -> None:
    docker("run", "-d", "--name", "web", "-p", "8000:80", "busybox", "httpd", "-f", "-p", "80", "-h", "/etc")
    page = eventually(
        lambda: engine.run("curl", "-s", "--max-time", "2", "http://127.0.0.1:8000/hostname", check=False),
        what="the server inside has started",
    )
    assert page == docker("exec", "web", "hostname").out
    assert "80/tcp -> 0.0.0.0:8000" in docker("port", "web").out
    second = docker("run", "-d", "-p", "8000:80", "busybox", "true", check=False)
    assert second.rc == 125
    assert "port is already allocated" in second.err


def test_restart_of_the_daemon_keeps_networks(start_engine: Callable[[], Engine]) -> None:
    engine = start_engine()
    docker = engine.cli("docker")
    docker("network", "create", "lasting")
    before = docker("network", "inspect", "lasting").out
    engine.restart()
    assert docker("network", "inspect", "lasting").out == before
    assert docker("run", "--rm", "--network", "lasting", "busybox", "ip", "route").out.startswith("default via")


def test_ipv6_is_off_where_the_network_has_none(engine: Engine, docker: Cli, client: docker_py.APIClient) -> None:
    tiffins_own(engine, "dockerd 20.10 leaves the bridge its link-local address")
    made = client.create_network("four")["Id"]
    script = "cat /proc/net/if_inet6; cat /proc/sys/net/ipv6/conf/eth0/disable_ipv6"
    for network in ("bridge", "four"):
        shown = docker("run", "--rm", "--network", network, "busybox", "sh", "-c", script).out.splitlines()
        assert [line.split()[-1] for line in shown[:-1]] == ["lo"]
        assert shown[-1] == "1"
    assert "inet6" not in engine.run("ip", "addr", "show", f"br-{made[:12]}")


def test_addresses_on_a_dual_stack_network_come_from_nobody_else(
    engine: Engine, docker: Cli, client: docker_py.APIClient
) -> None:
    tiffins_own(engine, "dockerd 20.10 lets its containers take router advertisements")
    client.create_network("dual", enable_ipv6=True, ipam={"Config": [{"Subnet": "fd00:74::/64"}]})
    script = "cat /proc/sys/net/ipv6/conf/eth0/accept_ra; ip -6 -o addr show dev eth0"
    shown = docker("run", "--rm", "--network", "dual", "busybox", "sh", "-c", script).out.splitlines()
    assert shown[0] == "0", "router advertisements count for nothing"
    assert any("fd00:74::2/64" in line for line in shown)
