"""What port bindings ask for."""

import pytest

from tiffin.errors import Invalid
from tiffin.model.container_host import PortBinding
from tiffin.networks.ports import PortRequest, expand, requests


def test_plain_binding_asks_for_its_port_everywhere() -> None:
    assert requests({"80/tcp": (PortBinding("", "8000"),)}) == [PortRequest(80, "tcp", "", 8000, 8000)]


@pytest.mark.parametrize("entries", [None, (), (PortBinding(),), (PortBinding("", "0"),)])
def test_no_host_port_means_an_ephemeral_one(entries: tuple[PortBinding, ...] | None) -> None:
    assert requests({"80": entries}) == [PortRequest(80, "tcp", "", 0, 0)]


def test_ranges_of_one_length_are_matched_one_to_one() -> None:
    found = requests({"80-82/udp": (PortBinding("127.0.0.1", "7000-7002"),)})
    assert found == [PortRequest(80 + n, "udp", "127.0.0.1", 7000 + n, 7000 + n) for n in range(3)]


def test_host_range_for_one_port_is_a_choice() -> None:
    assert requests({"80/tcp": (PortBinding("", "7000-7010"),)}) == [PortRequest(80, "tcp", "", 7000, 7010)]


def test_publish_all_adds_exposed_ports_without_a_binding() -> None:
    found = requests({"80/tcp": (PortBinding("", "8000"),)}, ["80/tcp", "53/udp"], publish_all=True)
    assert found == [PortRequest(80, "tcp", "", 8000, 8000), PortRequest(53, "udp", "", 0, 0)]
    assert requests(None, ["53/udp"]) == []


def test_exposed_ranges_are_spelled_out() -> None:
    assert expand(["80-82", "53/udp"]) == ["80/tcp", "81/tcp", "82/tcp", "53/udp"]


@pytest.mark.parametrize("port", ["", "x/tcp", "0/tcp", "65536", "80/icmp", "90-80/tcp"])
def test_malformed_container_ports_are_refused(port: str) -> None:
    with pytest.raises(Invalid, match="invalid port specification"):
        requests({port: None})


@pytest.mark.parametrize("binding", [PortBinding("", "x"), PortBinding("", "70000"), PortBinding("", "9-8")])
def test_malformed_host_ports_are_refused(binding: PortBinding) -> None:
    with pytest.raises(Invalid, match="invalid port specification"):
        requests({"80/tcp": (binding,)})


def test_malformed_host_address_is_refused() -> None:
    with pytest.raises(Invalid, match="invalid IP address in port binding"):
        requests({"80/tcp": (PortBinding("localhost", "80"),)})
