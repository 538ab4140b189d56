"""Subnets for networks, addresses for containers."""

import ipaddress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tiffin.errors import Forbidden, Internal, Invalid
from tiffin.model.network import Pool
from tiffin.networks import addresses
from tiffin.networks.addresses import DEFAULT_SPACES, AddressSpace, Leases


def network(text: str) -> addresses.IPNetwork:
    return ipaddress.ip_network(text)


def test_first_subnet_that_overlaps_nothing_is_chosen() -> None:
    assert str(addresses.choose_subnet(4, DEFAULT_SPACES, {})) == "172.17.0.0/16"
    taken = [network("172.17.3.0/24"), network("172.18.0.0/15")]
    assert str(addresses.choose_subnet(4, DEFAULT_SPACES, taken)) == "172.20.0.0/16"
    assert str(addresses.choose_subnet(4, DEFAULT_SPACES, {network("172.16.0.0/12"): "eth0"})) == "192.168.0.0/20"
    assert str(addresses.choose_subnet(6, DEFAULT_SPACES, taken)) == "fd74:6966:6669::/64"


def test_exhausted_pools_name_what_is_in_the_way() -> None:
    space = AddressSpace(network("10.0.0.0/24"), 25)
    with pytest.raises(Internal, match=r"fully subnetted.*10\.0\.0\.0/8"):
        addresses.choose_subnet(4, [space], {network("10.0.0.0/8"): "eth0"})


def test_large_space_that_is_covered_is_not_searched() -> None:
    with pytest.raises(Internal):
        addresses.choose_subnet(6, DEFAULT_SPACES, {network("fd00::/8"): "eth0"})


@pytest.mark.parametrize("text", ["", "base=10.0.0.0/8", "base=x,size=24", "base=10.0.0.0/16,size=8", "size=24"])
def test_malformed_pool_options_are_refused(text: str) -> None:
    with pytest.raises(Invalid, match=r"base=10\.10\.0\.0/16,size=24|size must be"):
        addresses.parse_space(text)


def test_leases_begin_after_the_gateway_and_are_reused_lowest_first() -> None:
    leases = Leases(Pool("10.0.0.0/29", "10.0.0.1", auxiliary={"router": "10.0.0.3"}))
    taken = [leases.take() for _ in range(4)]
    assert [str(one) for one in taken] == ["10.0.0.2", "10.0.0.4", "10.0.0.5", "10.0.0.6"]
    with pytest.raises(Internal, match="no available IPv4 addresses"):
        leases.take()
    leases.give_back(taken[1])
    assert leases.take() == taken[1]


def test_range_bounds_the_choice_but_not_fixed_addresses() -> None:
    leases = Leases(Pool("10.0.0.0/24", "10.0.0.1", "10.0.0.128/25"))
    assert str(leases.take()) == "10.0.0.128"
    leases.take_this(ipaddress.ip_address("10.0.0.7"))
    with pytest.raises(Forbidden, match="Address already in use"):
        leases.take_this(ipaddress.ip_address("10.0.0.7"))
    for outside in ("10.0.1.1", "10.0.0.0", "10.0.0.255"):
        with pytest.raises(Invalid, match="no configured subnet contains IP address"):
            leases.take_this(ipaddress.ip_address(outside))


@given(st.lists(st.integers(0, 12), max_size=60))
def test_no_address_is_held_twice(steps: list[int]) -> None:
    leases = Leases(Pool("10.0.0.0/28", "10.0.0.1"))
    held: list[addresses.IPAddress] = []
    for step in steps:
        if step < len(held):
            leases.give_back(held.pop(step))
        elif len(held) < 13:
            address = leases.take()
            assert address not in held
            held.append(address)


def test_smallest_subnets_have_usable_addresses() -> None:
    assert str(Leases(Pool("10.0.0.0/31", "10.0.0.0")).take()) == "10.0.0.1"
    assert str(Leases(Pool("fd00::/127", "fd00::")).take()) == "fd00::1"


def test_pools_must_fit_together() -> None:
    with pytest.raises(Forbidden, match=r"^invalid pool request: Pool overlaps with other one on this address space"):
        addresses.check_pool(Pool("10.0.0.0/24"), {network("10.0.0.0/8"): "eth0"})
    with pytest.raises(Invalid, match=r"invalid gateway .* doesn't contain this address"):
        addresses.check_pool(Pool("10.0.0.0/24", "10.0.1.1"), {})
    with pytest.raises(Invalid, match=r"invalid ip-range .* doesn't contain ip-range"):
        addresses.check_pool(Pool("10.0.0.0/24", "10.0.0.1", "10.0.0.0/16"), {})
    addresses.check_pool(Pool("10.0.0.0/24"), {network("fd00::/8"): "eth0"})
