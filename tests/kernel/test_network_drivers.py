"""Networks on a link of the host: macvlan, ipvlan."""

from __future__ import annotations

import subprocess
from collections.abc import Callable

import pytest

from kernel.network_host import NEIGHBOUR, Containers, Host
from rig.netns import Namespace
from tiffin.errors import Forbidden, Invalid, NotFound, Unsupported
from tiffin.model.container import EndpointIPAM, EndpointRequest
from tiffin.model.network import PoolRequest

pytestmark = pytest.mark.root

WIRE = (PoolRequest("198.51.100.0/24", "198.51.100.9"),)


def makes(kind: str) -> bool:
    """Whether this kernel makes such links."""
    probe = Namespace()
    try:
        probe.run("ip", "link", "add", "under0", "type", "veth", "peer", "name", "under1")
        probe.run("ip", "link", "add", "over0", "link", "under0", "type", kind)
    except subprocess.CalledProcessError:
        return False
    finally:
        probe.close()
    return True


def cable(namespace: Namespace) -> str:
    return namespace.run("ip", "-o", "link", "show", "type", "veth").split(": ")[1].split("@")[0]


@pytest.fixture
def wire(host: Host, container: Containers) -> Callable[[str, str], Namespace]:
    """Runs a container on a network on the host's cable, at an address; gives its namespace."""

    def run(driver: str, address: str) -> Namespace:
        if "wire" not in {one.name for one in host.networks.all()}:
            host.create("wire", driver=driver, pools=WIRE, options={"parent": cable(host.namespace)})
        one = container(requests={"wire": EndpointRequest(EndpointIPAM(address))})
        host.run(one)
        return host.inside(one)

    return run


def test_drivers_that_work_here_are_named(host: Host) -> None:
    assert {"bridge", "host", "null"} <= set(host.networks.drivers())
    for driver in ("macvlan", "ipvlan"):
        assert (driver in host.networks.drivers()) == makes(driver)


@pytest.mark.parametrize("driver", ["macvlan", "ipvlan"])
def test_containers_are_on_the_hosts_wire(host: Host, wire: Callable[[str, str], Namespace], driver: str) -> None:
    if not makes(driver):
        with pytest.raises(Unsupported, match=f"this kernel can't make the links that it needs, {driver}"):
            wire(driver, "198.51.100.50")
        assert "wire" not in {one.name for one in host.networks.all()}
        return
    one, two = wire(driver, "198.51.100.50"), wire(driver, "198.51.100.51")
    assert f"default via {NEIGHBOUR}" in one.run("ip", "route")
    with one.listen(80) as listening, host.neighbour.listen(80) as outside:
        assert host.neighbour.reaches("198.51.100.50", 80, listening) == NEIGHBOUR
        assert two.reaches("198.51.100.50", 80, listening) == "198.51.100.51"
        assert one.reaches(NEIGHBOUR, 80, outside) == "198.51.100.50"


def test_interface_on_a_wire_comes_and_goes_while_the_container_runs(host: Host, container: Containers) -> None:
    if not makes("macvlan"):
        pytest.skip("this kernel has no macvlan")
    host.create("wire", driver="macvlan", pools=WIRE, options={"parent": cable(host.namespace)})
    one = container()
    host.run(one)
    inside = host.inside(one)
    request = EndpointRequest(EndpointIPAM("198.51.100.50"), mac_address="02:00:00:00:00:07")
    host.loop.do(host.networks.connect("wire", one, request, inside))
    assert "02:00:00:00:00:07" in inside.run("ip", "link", "show", "eth1")
    host.loop.do(host.networks.disconnect("wire", one.id, inside))
    assert "eth1" not in inside.run("ip", "link")


def test_parent_that_is_not_there_is_named(host: Host) -> None:
    with pytest.raises(Invalid, match="parent interface nowhere0 was not found on this host"):
        host.create("wire", driver="macvlan", pools=WIRE, options={"parent": "nowhere0"})
    with pytest.raises(NotFound):
        host.networks.get("wire")


def test_parent_is_one_networks_own(host: Host) -> None:
    if not makes("macvlan"):
        pytest.skip("this kernel has no macvlan")
    host.create("wire", driver="macvlan", pools=WIRE, options={"parent": cable(host.namespace)})
    with pytest.raises(Forbidden, match="network wire is already using parent interface"):
        host.create("more", driver="macvlan", options={"parent": cable(host.namespace)})


def test_mode_that_does_not_exist_is_refused(host: Host) -> None:
    with pytest.raises(Invalid, match="'sideways' for option macvlan_mode: it must be one of bridge, private, vepa"):
        host.create("wire", driver="macvlan", options={"parent": "eth0", "macvlan_mode": "sideways"})
