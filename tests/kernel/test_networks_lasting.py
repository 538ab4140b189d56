"""Networks over restarts of the daemon and of the machine, and what stays of those that are removed."""

from __future__ import annotations

import pytest

from kernel.network_host import HERE, NEIGHBOUR, Containers, Host, published
from rig.waiting import eventually
from tiffin.model.network import PoolRequest
from tiffin.networks import bridges
from tiffin.networks.definition import BRIDGE_NAME
from tiffin.networks.ports import PortTaken

pytestmark = pytest.mark.root


def test_restart_keeps_running_containers_and_forgets_the_rest(host: Host, container: Containers) -> None:
    network = host.create("kept")
    stays, leaves = container(ports=published("8000")), container("kept", ports=published("9000"))
    host.run(stays)
    host.run(leaves)
    host.stop()
    with host.inside(stays).listen(80) as listening:
        assert host.neighbour.reaches(HERE, 8000, listening), "open while no daemon runs"
        host.sandboxes.pop(leaves.id)  # its namespace still lives: the daemon has to take the link away
        host.start(running=(stays.id,))
        assert host.neighbour.reaches(HERE, 8000, listening)
        assert host.namespace.reaches("::1", 8000, listening)
    assert host.networks.get("kept") == network
    assert host.links().count("veth") == 1
    assert "9000" not in host.rules()
    (endpoint,) = host.reserve(container(ports=published("9000"))).endpoints
    assert endpoint.ipv4 == "172.17.0.3"
    with pytest.raises(PortTaken):
        host.reserve(container(ports=published("8000")))


def test_after_a_reboot_networks_are_made_again_and_nothing_is_held(host: Host, container: Containers) -> None:
    network = host.create("kept", pools=(PoolRequest("10.70.0.0/24"),))
    host.run(one := container("kept", ports=published("9000")))
    host.stop()
    host.sandboxes.pop(one.id).close()
    for link in (network.bridge, "tiffin0"):
        host.namespace.run("ip", "link", "del", link)
    host.namespace.run("nft", "flush", "ruleset")
    host.start()
    assert network.bridge in host.links() and "tiffin0" in host.links()
    assert host.networks.endpoints(one.id) is None
    (endpoint,) = host.run(other := container("kept", ports=published("9000"))).endpoints
    assert endpoint.ipv4 == "10.70.0.2"
    with host.inside(other).listen(80) as listening:
        assert host.neighbour.reaches(HERE, 9000, listening) == NEIGHBOUR


def bridge_links(host: Host) -> list[str]:
    """Names of the bridges on the host but the default one."""
    shown = host.namespace.run("ip", "-br", "link", "show", "type", "bridge")
    return [line.split()[0] for line in shown.splitlines() if not line.startswith("tiffin0")]


def test_name_bridge_and_subnet_of_a_removed_network_are_free_at_once(host: Host, container: Containers) -> None:
    options = {BRIDGE_NAME: "mine0"}
    for _ in range(3):
        host.create("net", pools=(PoolRequest("10.70.0.0/24"),), options=options)
        one, other = container("net"), container("net")
        host.run(one)
        host.run(other)
        with host.inside(one).listen(80) as listening:
            assert host.inside(other).reaches("10.70.0.2", 80, listening) == "10.70.0.3"
        host.end(one)
        host.end(other)
        host.loop.do(host.networks.remove("net"))
        assert "mine0" not in bridge_links(host)
    assert host.create("chosen").pools[0].subnet == "172.18.0.0/16"
    eventually(lambda: bridge_links(host) == [host.networks.get("chosen").bridge], what="the removed bridges are gone")


def test_bridges_of_removed_networks_go_with_the_daemon_or_at_its_next_start(host: Host) -> None:
    host.create("one")
    host.loop.do(host.networks.remove("one"))
    host.stop()
    assert bridge_links(host) == []
    host.start()
    network = host.create("other")
    aside = host.loop.call(lambda: bridges.set_aside(network))  # the daemon dies before it deletes it
    assert bridge_links(host) == [aside]
    host.stop()
    host.start()
    assert network.bridge in bridge_links(host), "its record was still there"
    host.loop.do(host.networks.remove("other"))
    host.create("third", pools=(PoolRequest(network.pools[0].subnet),))
    third = host.networks.get("third").bridge
    eventually(lambda: bridge_links(host) == [third], what="both of the other are gone")


def test_bridge_that_was_there_before_its_network_stays(host: Host) -> None:
    host.namespace.run("ip", "link", "add", "mine0", "type", "bridge")
    host.create("net", options={BRIDGE_NAME: "mine0"})
    host.loop.do(host.networks.remove("net"))
    assert bridge_links(host) == ["mine0"]


def test_flushed_rules_come_back_with_the_next_container(host: Host, container: Containers) -> None:
    first, second = container(ports=published("8000")), container(ports=published("8001"))
    host.run(first)
    host.namespace.run("nft", "flush", "ruleset")
    host.run(second)
    with host.inside(first).listen(80) as listening:
        assert host.neighbour.reaches(HERE, 8000, listening)
