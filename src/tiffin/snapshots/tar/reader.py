"""Reads archives in one pass: ustar, old GNU (long names and links, sparse), pax, star, base-256 numbers.

    reader = TarReader(stream)
    for entry in reader:
        while data := reader.read(CHUNK): ...      # what is not read is skipped
    reader.drain()                                 # to the stream's end, for a digest over all of it

Everything in an archive is hostile until checked: numbers are bounded, lengths verified, nothing allocated on its word.
"""

from collections.abc import Callable, Iterator
from struct import Struct
from zlib import adler32

from tiffin.content.compression import Readable, read_exactly
from tiffin.errors import Invalid
from tiffin.snapshots.tar import pax, sparse
from tiffin.snapshots.tar.entry import BLOCK, Entry, Kind, Limits
from tiffin.snapshots.tar.pax import number

CHUNK = 1 << 20
_ZERO = bytes(BLOCK)
_CHECKSUM = slice(148, 156)
_SPACES = sum(b" " * 8)
_KINDS = {
    b"0": Kind.FILE, b"\0": Kind.FILE, b"7": Kind.FILE, b"S": Kind.FILE, b"1": Kind.LINK, b"2": Kind.SYMLINK,
    b"3": Kind.CHARACTER, b"4": Kind.BLOCK, b"5": Kind.DIRECTORY, b"6": Kind.FIFO,
}  # fmt: skip
_LINKS = (Kind.SYMLINK, Kind.LINK)
_UNSIGNED32 = 1 << 32
_FIELDS = Struct("100s 8s 8s 8s 12s 12s 9x 100s 6s 2x 32s 32s 8s 8s 155s 12x").unpack  # POSIX.1, pax: ustar
_SIGNED64 = 1 << 63


class TarReader:
    """Iterate for entries; `read` gives the data of the current one. Invalid where the archive is damaged.

    skip: passes over that many bytes of the stream without reading them; False where it is shorter.
    """

    def __init__(
        self, stream: Readable, limits: Limits | None = None, *, skip: Callable[[int], bool] | None = None
    ) -> None:
        self._stream = stream
        self._jump = skip
        self._limits = limits or Limits()
        self._left = 0  # bytes of the current entry's data
        self._pad = 0
        self._count = 0
        self._global: dict[bytes, bytes] = {}

    def __iter__(self) -> Iterator[Entry]:
        while (entry := self._next()) is not None:
            self._count += 1
            if self._count > self._limits.entries:
                raise Invalid(f"archive has more than {self._limits.entries} entries")
            yield entry

    def read(self, size: int = CHUNK) -> bytes:
        """Data as it is stored: the fragments of a sparse file one after another. Empty at its end."""
        if not self._left or not size:
            return b""
        data = self._stream.read(min(size, self._left))
        if not data:
            raise Invalid("unexpected EOF: the archive ends in the middle of a file")
        self._left -= len(data)
        return data

    def drain(self) -> None:
        """Read what follows the end of the archive: padding, which a digest covers."""
        while self._stream.read(CHUNK):
            pass

    def _block(self) -> bytes:
        data = read_exactly(self._stream, BLOCK)
        if len(data) != BLOCK:
            raise Invalid("unexpected EOF: the archive ends in the middle of a header")
        return data

    def _skip(self) -> None:
        if self._left and self._jump is not None:
            if not self._jump(self._left + self._pad):
                raise Invalid("unexpected EOF: the archive ends in the middle of a file")
            self._left = self._pad = 0
        while self.read():
            pass
        if self._pad and len(read_exactly(self._stream, self._pad)) != self._pad:
            raise Invalid("unexpected EOF: the archive ends in the middle of a file")
        self._pad = 0

    def _header(self) -> bytes | None:
        """The next header block, its checksum verified; None at the end of the archive."""
        block = read_exactly(self._stream, BLOCK)
        if not block or block == _ZERO:
            # Two zero blocks end an archive; some writers leave out one, or both.
            if block and read_exactly(self._stream, BLOCK).strip(b"\0"):
                raise Invalid("invalid tar header: data after the end of the archive")
            return None
        if len(block) != BLOCK:
            raise Invalid("unexpected EOF: the archive ends in the middle of a header")
        stated = number(block[_CHECKSUM])
        # the sum of all bytes: exact for so few of them, and three times as fast as sum()
        total = (adler32(block[:256]) & 0xFFFF) + (adler32(block[256:]) & 0xFFFF) - 2 - sum(block[_CHECKSUM]) + _SPACES
        if stated != total:
            # some old writers summed signed characters
            high = sum(1 for byte in block[:148] + block[156:] if byte > 127)
            if stated != total - 256 * high:
                raise Invalid("invalid tar header: the checksum is wrong (is this a tar archive?)")
        return block

    def _next(self) -> Entry | None:
        self._skip()
        name = link = b""
        records: list[tuple[bytes, bytes]] = []
        extended = 0  # bytes of extended headers in front of this entry
        while (block := self._header()) is not None:
            flag = block[156:157]
            if flag not in b"xgXLKV":
                return self._entry(block, flag, name, link, records)
            size = number(block[124:136])
            extended += size
            if size < 0 or extended > self._limits.header:
                raise Invalid(f"invalid tar header: extended header above {self._limits.header} bytes")
            data = read_exactly(self._stream, size)
            self._pad = -size % BLOCK
            if len(data) != size:
                raise Invalid("unexpected EOF: the archive ends in the middle of a header")
            self._skip()
            match flag:
                case b"x" | b"X":
                    records = pax.records(data)
                case b"g":
                    self._global.update(pax.records(data))
                    if sum(len(key) + len(value) for key, value in self._global.items()) > self._limits.header:
                        raise Invalid(f"invalid tar header: global records above {self._limits.header} bytes")
                case b"L":
                    name = data.split(b"\0", 1)[0]
                case b"K":
                    link = data.split(b"\0", 1)[0]
        if name or link or records:
            raise Invalid("archive ends after an extended header: unexpected EOF")
        return None

    def _entry(
        self, block: bytes, flag: bytes, name: bytes, link: bytes, records: list[tuple[bytes, bytes]]
    ) -> Entry | None:
        kind = _KINDS.get(flag)
        entry = _plain(block, kind or Kind.FILE)
        entry.name, entry.link = name or entry.name, link or entry.link
        values = self._global | dict(records) if records or self._global else {}
        if values:
            _extend(entry, values)
        if kind is None:
            raise Invalid(f"{_shown(entry.name)}: unknown type {flag!r} of tar entry")
        if kind is Kind.FILE and entry.name.endswith(b"/"):
            entry.kind = Kind.DIRECTORY  # as tar before POSIX wrote them
        self._check(entry)
        # links and special files have no data, whatever their size field says; old directories state one
        self._left = entry.stored = entry.size if entry.kind is Kind.FILE else 0
        self._pad = -self._left % BLOCK
        if entry.kind is not Kind.FILE:
            entry.size = 0
        elif records or values or flag == b"S":
            self._make_sparse(entry, block, flag, records, values)
        return entry

    def _make_sparse(
        self, entry: Entry, block: bytes, flag: bytes, records: list[tuple[bytes, bytes]], values: dict[bytes, bytes]
    ) -> None:
        if flag == b"S":
            fragments, size = sparse.old(block, self._block, self._limits)
            sparse.applied(entry, fragments, size)
        elif values.get(b"GNU.sparse.major") == b"1" and values.get(b"GNU.sparse.minor") == b"0":
            fragments, taken = sparse.data_map(self._map_block, self._limits)
            entry.stored -= taken
            sparse.applied(entry, fragments, pax.decimal(values.get(b"GNU.sparse.realsize", b"")))
        elif (found := sparse.pax_map(records, self._limits)) is not None:
            size = pax.decimal(values.get(b"GNU.sparse.size") or values.get(b"GNU.sparse.realsize") or b"")
            sparse.applied(entry, found, size)
        if entry.size > self._limits.file:
            raise Invalid(f"{_shown(entry.name)}: {entry.size} bytes are too many for a file")

    def _map_block(self) -> bytes:
        if self._left < BLOCK:
            raise Invalid("invalid tar header: damaged sparse map")
        self._left -= BLOCK
        return self._block()

    def _check(self, entry: Entry) -> None:
        limits = self._limits
        name, link = entry.name, entry.link
        if not 0 <= entry.size <= limits.file:
            raise Invalid(f"{_shown(entry.name)}: invalid tar header: size {entry.size}")
        if not 0 <= entry.uid < _UNSIGNED32 - 1 or not 0 <= entry.gid < _UNSIGNED32 - 1:
            raise Invalid(f"{_shown(entry.name)}: invalid tar header: owner {entry.uid}:{entry.gid}")
        if not 0 <= entry.major < 1 << 12 or not 0 <= entry.minor < 1 << 20:
            raise Invalid(f"{_shown(entry.name)}: invalid tar header: device {entry.major}:{entry.minor}")
        if max(len(name), len(link)) >= limits.name or b"\0" in name or b"\0" in link:
            raise Invalid(f"{_shown(name)}: name or link too long, or with a zero byte")
        if max(name.count(b"/"), link.count(b"/")) > limits.depth:
            raise Invalid(f"{_shown(name)}: name or link too long: more than {limits.depth} components")
        if not -_SIGNED64 <= entry.mtime < _SIGNED64:
            entry.mtime = 0  # a time that no file system can hold is 1970, as docker has it
        if not link and entry.kind in _LINKS:
            raise Invalid(f"{_shown(entry.name)}: {entry.kind.value} to nothing")


def _shown(name: bytes) -> str:
    return repr(name[:200].decode("utf-8", "backslashreplace"))


def _plain(block: bytes, kind: Kind) -> Entry:
    name, mode, uid, gid, size, mtime, link, magic, user, group, major, minor, prefix = _FIELDS(block)
    name = name.split(b"\0", 1)[0]
    if magic == b"ustar\0" and prefix[0]:
        # star ends its shorter prefix with times; both begin alike
        length = 131 if block[508:] == b"tar\0" else 155
        name = prefix[:length].split(b"\0", 1)[0] + b"/" + name
    entry = Entry(name, kind, number(mode) & 0o7777, number(uid), number(gid), number(size))
    entry.mtime = number(mtime) * 1_000_000_000
    if link[0]:
        entry.link = link.split(b"\0", 1)[0]
    if magic.startswith(b"ustar"):
        if user[0] or group[0]:
            entry.user, entry.group = user.split(b"\0", 1)[0], group.split(b"\0", 1)[0]
        if kind in (Kind.CHARACTER, Kind.BLOCK):
            entry.major, entry.minor = number(major), number(minor)
    return entry


def _extend(entry: Entry, values: dict[bytes, bytes]) -> None:
    """Lay pax records over an entry; an empty value takes a record back."""
    for key, value in values.items():
        if not value:
            continue
        match key:
            case b"path":
                entry.name = value
            case b"linkpath":
                entry.link = value
            case b"size":
                entry.size = pax.decimal(value)
            case b"uid":
                entry.uid = pax.decimal(value)
            case b"gid":
                entry.gid = pax.decimal(value)
            case b"uname":
                entry.user = value
            case b"gname":
                entry.group = value
            case b"mtime":
                entry.mtime = pax.time(value)
    if b"GNU.sparse.name" in values:
        entry.name = values[b"GNU.sparse.name"]
    entry.xattrs = pax.xattrs(values)
