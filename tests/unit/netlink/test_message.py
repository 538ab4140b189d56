"""Netlink's encoding."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tiffin.netlink import expressions, links, message
from tiffin.netlink.nftables import TYPE_INTERFACE, TYPE_PORT, TYPE_PROTOCOL, Batch

kinds = st.integers(1, message.NLA_TYPE_MASK)


@given(st.dictionaries(kinds, st.binary(max_size=300)))
def test_attributes_come_back_as_they_went(given: dict[int, bytes]) -> None:
    encoded = b"".join(message.attribute(kind, value) for kind, value in given.items())
    assert len(encoded) % 4 == 0
    assert message.attributes(encoded) == given


@given(st.binary(max_size=200))
def test_garbage_is_read_without_harm(data: bytes) -> None:
    message.attributes(data)
    list(message.messages(data))


def test_nested_attributes_say_so_and_are_read_alike() -> None:
    inner = message.u32(1, 7)
    encoded = message.nested(18, inner)
    assert encoded[2:4] == (18 | message.NLA_F_NESTED).to_bytes(2, "little")
    assert message.attributes(encoded) == {18: inner}


def test_value_beyond_sixteen_bits_of_length_is_refused() -> None:
    with pytest.raises(ValueError, match="at most 65531"):
        message.attribute(3, b"x" * 65532)


def test_messages_follow_each_other_in_a_datagram() -> None:
    one = message.Message(16, 0, b"abc").encode(1)
    two = message.Message(20, message.NLM_F_ACK, b"").encode(2)
    found = list(message.messages(one + two))
    assert [(kind, sequence, payload) for kind, _, sequence, payload in found] == [(16, 1, b"abc"), (20, 2, b"")]


@pytest.mark.parametrize("text", ["", "02:42:ac:11:00", "zz:42:ac:11:00:02", "02:42:ac:11:00:02:03"])
def test_what_is_no_mac_is_refused(text: str) -> None:
    with pytest.raises(ValueError):
        links.mac(text)


def test_many_elements_are_spread_over_messages() -> None:
    batch = Batch("t")
    batch.add_set("s", (TYPE_PROTOCOL, TYPE_PORT))
    keys = [(b"\6\0\0\0" + number.to_bytes(2, "big") + b"\0\0", None) for number in range(60000)]
    batch.add_elements("s", keys)  # an attribute that is too long would raise


def test_interface_names_fill_a_register() -> None:
    assert expressions.interface_name("tiffin0") == b"tiffin0" + b"\0" * 9
    batch = Batch("t")
    batch.add_set("s", (TYPE_INTERFACE,))
