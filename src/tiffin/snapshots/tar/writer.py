"""Writes headers: ustar, with a pax header in front where ustar's fields are too small."""

from tiffin.snapshots.tar import pax
from tiffin.snapshots.tar.entry import BLOCK, Entry, Kind

END = bytes(2 * BLOCK)
_FLAGS = {
    Kind.FILE: b"0", Kind.LINK: b"1", Kind.SYMLINK: b"2", Kind.CHARACTER: b"3", Kind.BLOCK: b"4",
    Kind.DIRECTORY: b"5", Kind.FIFO: b"6",
}  # fmt: skip
_SECOND = 1_000_000_000
_ID_MAX, _SIZE_MAX, _TIME_MAX = 0o7777777, 0o77777777777, 0o77777777777


def padding(size: int) -> bytes:
    """The zeros that fill data of `size` bytes to whole blocks."""
    return bytes(-size % BLOCK)


def entry_header(entry: Entry) -> bytes:
    """Every header block of an entry. Its data and `padding` follow; times keep their nanoseconds.

    Sparse files are written whole: readers of layers know no holes.
    """
    size = entry.size if entry.kind is Kind.FILE else 0
    records: list[bytes] = []
    prefix, name = _split(entry.name)
    if name is None:
        records.append(pax.record(b"path", entry.name))
        name = entry.name[:100]
    link = entry.link if len(entry.link) <= 100 and entry.link.isascii() else entry.link[:100]
    if link != entry.link:
        records.append(pax.record(b"linkpath", entry.link))
    for key, value in ((b"uid", entry.uid), (b"gid", entry.gid)):
        if value > _ID_MAX:
            records.append(pax.record(key, b"%d" % value))
    if size > _SIZE_MAX:
        records.append(pax.record(b"size", b"%d" % size))
    seconds, fraction = divmod(entry.mtime, _SECOND)
    if fraction or not 0 <= seconds <= _TIME_MAX:
        records.append(pax.record(b"mtime", pax.time_text(entry.mtime)))
    records += [pax.record(pax.XATTR + key, value) for key, value in sorted(entry.xattrs.items())]
    header = _ustar(entry, prefix, name, link, size, min(max(seconds, 0), _TIME_MAX))
    if not records:
        return header
    data = b"".join(records)
    extended = Entry(b"PaxHeaders.0/" + entry.name.rsplit(b"/", 1)[-1][:80], mode=0o644)
    return _ustar(extended, b"", extended.name, b"", len(data), 0, b"x") + data + padding(len(data)) + header


def _split(name: bytes) -> tuple[bytes, bytes | None]:
    """ustar's prefix and name; name is None where they can't hold it."""
    if not name.isascii():
        return b"", None  # the header's encoding is unspecified, pax's is UTF-8
    if len(name) <= 100:
        return b"", name
    slash = name.rfind(b"/", 0, 156)
    if slash > 0 and 0 < len(name) - slash - 1 <= 100:
        return name[:slash], name[slash + 1 :]
    return b"", None


def _octal(value: int, width: int) -> bytes:
    return b"%0*o\0" % (width - 1, value)


def _ustar(entry: Entry, prefix: bytes, name: bytes, link: bytes, size: int, mtime: int, flag: bytes = b"") -> bytes:
    uid, gid = (value if value <= _ID_MAX else 0 for value in (entry.uid, entry.gid))
    block = bytearray(BLOCK)
    fields = (
        (0, name),
        (100, _octal(entry.mode & 0o7777, 8) + _octal(uid, 8) + _octal(gid, 8)),
        (124, _octal(size if size <= _SIZE_MAX else 0, 12) + _octal(mtime, 12) + b" " * 8),
        (156, flag or _FLAGS[entry.kind]),
        (157, link),
        (257, b"ustar\x0000"),
        (265, entry.user[:31]),
        (297, entry.group[:31]),
        (329, _octal(entry.major, 8) + _octal(entry.minor, 8)),
        (345, prefix),
    )
    for start, value in fields:
        block[start : start + len(value)] = value
    block[148:156] = b"%06o\0 " % sum(block)
    return bytes(block)
