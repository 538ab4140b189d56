"""GNU's four ways to say which parts of a file hold data: old (type S), and pax 0.0, 0.1, 1.0 (GNU tar manual, D.2)."""

from collections.abc import Callable

from tiffin.errors import Invalid
from tiffin.snapshots.tar.entry import BLOCK, Entry, Limits
from tiffin.snapshots.tar.pax import decimal, number

_DAMAGED = "invalid tar header: damaged sparse map"
Map = list[tuple[int, int]]


def old(header: bytes, block: Callable[[], bytes], limits: Limits) -> tuple[Map, int]:
    """Map and real size of a type S header, whose map goes on in blocks after it."""
    fragments: Map = []
    table, count, more = header[386:482], 4, header[482]
    while True:
        for start in range(0, count * 24, 24):
            field = table[start : start + 24]
            if not field.strip(b" \0"):
                break
            fragments.append((number(field[:12]), number(field[12:])))
        if not more:
            return fragments, number(header[483:495])
        if len(fragments) > limits.fragments:
            raise Invalid(_DAMAGED + ": too many fragments")
        table, count = block(), 21
        more = table[504]


def pax_map(records: list[tuple[bytes, bytes]], limits: Limits) -> Map | None:
    """The map of formats 0.0 (repeated records) and 0.1 (one list); None where there is neither."""
    values = dict(records)
    if b"GNU.sparse.map" in values:
        numbers = values[b"GNU.sparse.map"].split(b",") if values[b"GNU.sparse.map"] else []
    else:
        numbers = [value for key, value in records if key in (b"GNU.sparse.offset", b"GNU.sparse.numbytes")]
        if not numbers and b"GNU.sparse.numblocks" not in values:
            return None
    return _pairs([decimal(text) for text in numbers], limits)


def data_map(block: Callable[[], bytes], limits: Limits) -> tuple[Map, int]:
    """Format 1.0: the map stands in front of the data, as decimal lines in whole blocks. Also the bytes it took."""
    buffer = block()
    taken = BLOCK
    numbers: list[int] = []
    wanted = 1
    while len(numbers) < wanted:
        line, newline, rest = buffer.partition(b"\n")
        if not newline:
            if len(buffer) > BLOCK:
                raise Invalid(_DAMAGED)
            buffer += block()
            taken += BLOCK
            continue
        numbers.append(decimal(line))
        buffer = rest
        if len(numbers) == 1:
            wanted = 1 + 2 * numbers[0]
            if numbers[0] > limits.fragments:
                raise Invalid(_DAMAGED + ": too many fragments")
    return _pairs(numbers[1:], limits), taken


def _pairs(numbers: list[int], limits: Limits) -> Map:
    if len(numbers) % 2 or len(numbers) > 2 * limits.fragments:
        raise Invalid(_DAMAGED)
    return list(zip(numbers[::2], numbers[1::2], strict=True))


def applied(entry: Entry, fragments: Map, size: int) -> None:
    """Make an entry sparse; Invalid unless its fragments ascend, fit the size and account for all the data."""
    end = total = 0
    for offset, length in fragments:
        if offset < end or length < 0 or offset + length > size:
            raise Invalid(_DAMAGED)
        end = offset + length
        total += length
    if total != entry.stored:
        raise Invalid(_DAMAGED)
    entry.size = size
    entry.sparse = tuple(fragments)
