"""DNS messages: what is read, what is refused, what is written."""

from __future__ import annotations

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tiffin.networks import dns_message as dns
from tiffin.networks.dns_message import Malformed


def question(name: str = "web", kind: int = dns.A, *, flags: int = 0x0100, size: int = 0, number: int = 7) -> bytes:
    """As a client sends it; `size` is what its OPT record offers, 0 without one."""
    labels = b"".join(bytes((len(label),)) + label.encode() for label in name.split(".") if label)
    extension = b"\0" + struct.pack("!HHIH", dns.OPT, size, 0, 0) if size else b""
    header = struct.pack("!6H", number, flags, 1, 0, 0, 1 if size else 0)
    return header + labels + b"\0" + struct.pack("!HH", kind, dns.IN) + extension


def refused(data: bytes) -> int | None:
    with pytest.raises(Malformed) as failure:
        dns.read(data)
    return failure.value.code


def test_name_is_read_in_lower_case() -> None:
    read = dns.read(question("WEB.Net", dns.AAAA, size=4096))
    assert (read.id, read.name, read.kind, read.limit, read.extended) == (7, "web.net", dns.AAAA, 4096, True)
    assert dns.read(question()).limit == 512


def test_dot_within_a_label_separates_nothing() -> None:
    data = question("webXnet").replace(b"webXnet", b"web.net")
    assert dns.read(data).name == "web\\.net"


@pytest.mark.parametrize(
    ("data", "code"),
    [
        (b"\0" * 11, None),
        (question(flags=0x8100), None),
        (question(flags=0x2900), dns.NOTIMP),
        (struct.pack("!6H", 1, 0, 0, 0, 0, 0), dns.FORMERR),
        (struct.pack("!6H", 1, 0, 2, 0, 0, 0) + question()[12:] * 2, dns.FORMERR),
        (question()[:-1], dns.FORMERR),
        (question().replace(b"\3web\0", b"\xc0\x0c"), dns.FORMERR),
        (question(".".join(["a" * 63] * 5)), dns.FORMERR),
        (question()[:12] + b"\x3fshort", dns.FORMERR),
    ],
    ids=["short", "an answer", "an update", "none", "two", "cut off", "a pointer", "too long", "beyond the end"],
)
def test_what_is_no_single_question_is_refused(data: bytes, code: int | None) -> None:
    assert refused(data) == code


@given(st.binary(max_size=600))
def test_no_bytes_do_harm(data: bytes) -> None:
    try:
        dns.answer(dns.read(data), limit=512)
    except Malformed as error:
        if error.code is not None:
            dns.refusal(data, error.code)


def test_answer_that_does_not_fit_says_so() -> None:
    read = dns.read(question())
    records = [dns.address_record(f"10.0.0.{number}") for number in range(100)]
    short, whole = dns.answer(read, records, limit=512), dns.answer(read, records, limit=dns.LARGEST)
    assert len(short) <= 512 and dns.is_cut_off(short)
    assert not dns.is_cut_off(whole) and whole[6:8] == (100).to_bytes(2, "big")


def test_answer_to_an_extended_question_is_extended() -> None:
    assert dns.answer(dns.read(question(size=1232)), limit=1232)[10:12] == b"\0\1"
    assert dns.answer(dns.read(question()), limit=512)[10:12] == b"\0\0"


def test_address_that_a_reverse_name_stands_for() -> None:
    assert dns.address_asked("2.0.18.172.in-addr.arpa") == "172.18.0.2"
    assert dns.address_asked("2.0.18.in-addr.arpa") == ""
    assert dns.address_asked("999.0.18.172.in-addr.arpa") == ""
    assert dns.address_asked(".".join("2" + "0" * 27 + "00df") + ".ip6.arpa") == "fd00::2"


def test_only_the_answer_to_what_was_asked_counts() -> None:
    asked = question("web", number=9)
    read = dns.read(asked)
    reply = dns.answer(read, [dns.address_record("10.0.0.1")], limit=512)
    assert dns.answers(reply, read, 9)
    assert not dns.answers(reply, read, 10)
    assert not dns.answers(asked, read, 9)
    assert not dns.answers(dns.answer(dns.read(question("other", number=9)), limit=512), read, 9)
    assert dns.answers(dns.refusal(asked, dns.REFUSED), read, 9)


def test_name_that_dns_can_not_say_has_no_record() -> None:
    assert dns.name_record("a" * 64 + ".net") is None
    assert dns.name_record("web.net") == (dns.PTR, b"\3web\3net\0")
