"""DNS messages, as far as a name server for containers has to understand them (RFC 1035, 6891). Pure.

Questions are read strictly: what is not one well-formed question is refused, and nothing is ever decompressed. Answers
to forwarded questions pass as they are.
"""

import ipaddress
import struct
from collections.abc import Sequence
from dataclasses import dataclass

A, PTR, AAAA, OPT, ANY = 1, 12, 28, 41, 255
IN = 1
NOERROR, FORMERR, SERVFAIL, NXDOMAIN, NOTIMP, REFUSED = range(6)
KINDS = {A: "A", 2: "NS", 5: "CNAME", 6: "SOA", PTR: "PTR", 15: "MX", 16: "TXT", AAAA: "AAAA", 33: "SRV", 65: "HTTPS"}
CODES = ("NOERROR", "FORMERR", "SERVFAIL", "NXDOMAIN", "NOTIMP", "REFUSED")

MINIMUM = 512
"""What a client takes over UDP that says nothing about it."""
LARGEST = 65535
_OURS = 1232  # what we take over UDP: no fragments on any path (dnsflagday.net/2020)
_TTL = 600

_HEADER = struct.Struct("!HHHHHH")  # id, flags, questions, answers, authorities, additional
_RECORD = struct.Struct("!HHIH")  # type, class, ttl, length
_QR, _TC, _RD, _RA = 0x8000, 0x0200, 0x0100, 0x0080
_OPCODE = 0x7800
_TO_QUESTION = b"\xc0\x0c"
_MOST_RECORDS = 8  # a question has at most an OPT and a signature


class Malformed(ValueError):
    """Not a question that can be answered; `code` is what to say, None where nothing is to be said."""

    def __init__(self, code: int | None) -> None:
        super().__init__(code)
        self.code = code


@dataclass(frozen=True, slots=True)
class Question:
    """One question. `name` is in lower case without the last dot; `text` is its section as it came."""

    id: int
    flags: int
    text: bytes
    name: str
    kind: int
    space: int
    """The class: IN."""
    limit: int
    """How long an answer over UDP may be."""
    extended: bool
    """It has an OPT record (EDNS), so the answer gets one."""

    def __str__(self) -> str:
        return f"{self.name} {KINDS.get(self.kind, self.kind)}"


def read(data: bytes) -> Question:
    """Raises Malformed."""
    if len(data) < _HEADER.size:
        raise Malformed(None)
    number, flags, questions, answers, authorities, additional = _HEADER.unpack_from(data)
    if flags & _QR:
        raise Malformed(None)  # two servers that answer each other's answers would never end
    if flags & _OPCODE:
        raise Malformed(NOTIMP)
    if questions != 1:
        raise Malformed(FORMERR)
    labels, end = _labels(data, _HEADER.size)
    if len(data) < end + 4:
        raise Malformed(FORMERR)
    kind, space = struct.unpack_from("!HH", data, end)
    size = None
    if not answers and not authorities and additional:
        size = _extension(data, end + 4, additional)
    return Question(
        id=number,
        flags=flags,
        text=data[_HEADER.size : end + 4],
        name=".".join(labels),
        kind=kind,
        space=space,
        limit=max(MINIMUM, size or 0),
        extended=size is not None,
    )


def _labels(data: bytes, at: int) -> tuple[list[str], int]:
    """The name's labels and where it ends. There is nothing yet that a pointer could point to."""
    found: list[str] = []
    start = at
    while True:
        if at >= len(data) or at - start > 254:
            raise Malformed(FORMERR)
        length = data[at]
        at += 1
        if not length:
            return found, at
        if length > 63 or at + length > len(data):
            raise Malformed(FORMERR)
        # a dot within a label is no dot between labels
        found.append(data[at : at + length].decode("latin-1").lower().replace(".", "\\."))
        at += length


def _extension(data: bytes, at: int, count: int) -> int | None:
    """The size that an OPT record offers; None without. Raises Malformed."""
    if count > _MOST_RECORDS:
        raise Malformed(FORMERR)
    for _ in range(count):
        if data[at : at + 1] != b"\0":
            return None  # another record; it is not needed to know its length
        if len(data) < at + 1 + _RECORD.size:
            raise Malformed(FORMERR)
        kind, size, _ttl, length = _RECORD.unpack_from(data, at + 1)
        if kind == OPT:
            return int(size)
        at += 1 + _RECORD.size + length
    return None


def address_asked(name: str) -> str:
    """The address that a PTR question's name stands for, "" when it stands for none."""
    labels = name.split(".")
    try:
        if name.endswith(".in-addr.arpa") and len(labels) == 6:
            return str(ipaddress.IPv4Address(".".join(reversed(labels[:4]))))
        if name.endswith(".ip6.arpa") and len(labels) == 34 and all(len(one) == 1 for one in labels[:32]):
            return str(ipaddress.IPv6Address(int("".join(reversed(labels[:32])), 16)))
    except ValueError:
        pass
    return ""


def address_record(address: str) -> tuple[int, bytes]:
    """Type and data of a record with an address."""
    parsed = ipaddress.ip_address(address)
    return (A if parsed.version == 4 else AAAA), parsed.packed


def name_record(name: str) -> tuple[int, bytes] | None:
    """Type and data of a PTR record; None for a name that is too long for DNS."""
    labels = [label.encode() for label in name.split(".")]
    if any(not 0 < len(label) <= 63 for label in labels) or sum(len(label) + 1 for label in labels) > 254:
        return None
    return PTR, b"".join(bytes((len(label),)) + label for label in labels) + b"\0"


def answer(question: Question, records: Sequence[tuple[int, bytes]] = (), *, code: int = NOERROR, limit: int) -> bytes:
    """The answer in at most `limit` bytes; where records don't fit it says that it is cut off."""
    extension = b"\0" + _RECORD.pack(OPT, _OURS, 0, 0) if question.extended else b""
    body = bytearray(question.text)
    flags = _QR | (question.flags & _RD) | _RA | code
    count = 0
    for kind, data in records:
        record = _TO_QUESTION + _RECORD.pack(kind, IN, _TTL, len(data)) + data
        if _HEADER.size + len(body) + len(record) + len(extension) > limit:
            flags |= _TC
            break
        body += record
        count += 1
    return _HEADER.pack(question.id, flags, 1, count, 0, 1 if extension else 0) + bytes(body) + extension


def refusal(data: bytes, code: int) -> bytes:
    """What is said to a question that can't be read."""
    number, flags = struct.unpack_from("!HH", data)
    return _HEADER.pack(number, _QR | (flags & (_OPCODE | _RD)) | _RA | code, 0, 0, 0, 0)


def with_id(data: bytes, number: int) -> bytes:
    """The same message under another id."""
    return number.to_bytes(2, "big") + data[2:]


def answers(reply: bytes, question: Question, number: int) -> bool:
    """Whether a message is the answer to a question that was sent on under this id."""
    if len(reply) < _HEADER.size:
        return False
    replied, flags, questions, *_ = _HEADER.unpack_from(reply)
    if replied != number or not flags & _QR:
        return False
    if not questions:  # as some servers refuse
        return bool(flags & 0xF)
    return reply[_HEADER.size : _HEADER.size + len(question.text)].lower() == question.text.lower()


def code_of(reply: bytes) -> int:
    """NOERROR, SERVFAIL, …"""
    return reply[3] & 0xF


def is_cut_off(reply: bytes) -> bool:
    """Whether it says to ask again over TCP."""
    return bool(reply[2] & (_TC >> 8))
