"""Writes an EROFS image front to back while its inodes come in; directories, which must be complete, come last."""

import os
from collections.abc import Iterable, Mapping, Sequence

from tiffin.errors import Invalid
from tiffin.snapshots.erofs import form
from tiffin.snapshots.erofs.form import BLOCK, SLOT

_FLUSH = 1 << 20
_SHARED_LIMIT = 4 << 20  # bytes of distinct attributes that are kept to be shared; what comes later stands in full
_SHARED_COUNT = 255  # an inode counts them in a byte
_SECOND = 1_000_000_000


class Attributes:
    """What every inode has: mode (type and permissions), owner, time in nanoseconds, extended attributes."""

    __slots__ = ("gid", "mode", "mtime", "uid", "xattrs")

    def __init__(self, mode: int, uid: int, gid: int, mtime: int, xattrs: Mapping[bytes, bytes]) -> None:
        self.mode = mode
        self.uid = uid
        self.gid = gid
        self.mtime = mtime
        self.xattrs = xattrs


class Image:
    """The file (an fd, empty). Every method that adds an inode returns its nid."""

    def __init__(self, fd: int) -> None:
        self._fd = fd
        self._start = form.FIRST  # of what is still in memory
        self._pending = bytearray()
        self._shared: dict[bytes, int] = {}
        self._shared_data = bytearray()
        self._inodes = 0

    @property
    def position(self) -> int:
        return self._start + len(self._pending)

    def _align(self, unit: int) -> None:
        self._pending += bytes(-self.position % unit)

    def _flush(self) -> None:
        _write_at(self._fd, self._pending, self._start)
        self._start += len(self._pending)
        self._pending.clear()

    def _skip(self, size: int) -> None:
        """Leave a hole."""
        self._flush()
        self._start += size

    def _require_room(self, size: int = 0) -> None:
        if (self.position + size) >> form.BLOCK_BITS >= form.MAX_BLOCKS:
            raise Invalid("the layer's index would be larger than 2 TiB")

    # -- inodes ------------------------------------------------------------------------------------------------------

    def file(self, attributes: Attributes, size: int, block: int) -> int:
        """A file whose data lies in one piece in the tar, from this block on."""
        bits = form.whole_file_bits(size)
        if attributes.xattrs or bits > form.MAX_CHUNK_BITS or not size:
            if not size:
                return self._inode(attributes, 0, form.FLAT, 0)
            step = min(bits, form.MAX_CHUNK_BITS)
            count = -(-size // (BLOCK << step))
            return self.chunked(attributes, size, step, [(1, block + (number << step)) for number in range(count)])
        offset = self.position
        self._inodes += 1
        seconds, rest = divmod(attributes.mtime, _SECOND)
        self._pending += form.WHOLE_FILE.pack(
            _CHUNKED, 0, attributes.mode, 0, size, form.chunk_format(bits), self._inodes, attributes.uid,
            attributes.gid, seconds, rest, 1, 0, 1, block,
        )  # fmt: skip
        if len(self._pending) > _FLUSH:
            self._flush()
        return offset // SLOT

    def chunked(self, attributes: Attributes, size: int, bits: int, chunks: Sequence[tuple[int, int]]) -> int:
        """A file in chunks of 512 << bits bytes: (device, block) of each; HOLE for one without data."""
        table = b"".join(form.CHUNK.pack(0, device, block) for device, block in chunks)
        return self._inode(attributes, size, form.CHUNKED, form.chunk_format(bits), table, table_unit=form.CHUNK.size)

    def symlink(self, attributes: Attributes, target: bytes) -> int:
        body = self._body(attributes.xattrs)
        if form.INODE_SIZE + len(body) + len(target) <= BLOCK:
            return self._inode(attributes, len(target), form.FLAT_INLINE, 0, target, body=body)
        return self._inode(attributes, len(target), form.FLAT, self.data(target), body=body)

    def special(self, attributes: Attributes, major: int = 0, minor: int = 0) -> int:
        """A device, or a FIFO (without numbers)."""
        return self._inode(attributes, 0, form.FLAT, form.device_number(major, minor))

    def _inode(
        self,
        attributes: Attributes,
        size: int,
        kind: int,
        address: int,
        tail: bytes = b"",
        *,
        body: bytes | None = None,
        table_unit: int = 1,
    ) -> int:
        body = self._body(attributes.xattrs) if body is None else body
        gap = bytes(-len(body) % table_unit)
        length = form.INODE_SIZE + len(body) + len(gap) + len(tail)
        if kind == form.FLAT_INLINE and self.position % BLOCK + length > BLOCK:
            self._align(BLOCK)  # the kernel refuses inline data that crosses a block
        nid = self.position // SLOT
        self._pending += self._packed(attributes, size, kind, address, body, 1) + body + gap + tail
        self._align(SLOT)
        self._require_room()
        if len(self._pending) > _FLUSH:
            self._flush()
        return nid

    def _packed(self, attributes: Attributes, size: int, kind: int, address: int, body: bytes, links: int) -> bytes:
        self._inodes += 1
        seconds, rest = divmod(attributes.mtime, _SECOND)
        return form.INODE.pack(
            form.layout(kind), form.xattr_units(body), attributes.mode, 0, size, address, self._inodes,
            attributes.uid, attributes.gid, seconds, rest, links,
        )  # fmt: skip

    def set_links(self, nid: int, links: int) -> None:
        """Change how often an inode is named."""
        offset = nid * SLOT + form.LINKS_OFFSET
        value = links.to_bytes(4, "little")
        if offset >= self._start:
            at = offset - self._start
            self._pending[at : at + 4] = value
        else:
            _write_at(self._fd, value, offset)

    # -- data and attributes in the image itself ---------------------------------------------------------------------

    def data(self, content: bytes) -> int:
        """Store bytes; the block that they begin at."""
        self._align(BLOCK)
        self._require_room(len(content))
        block = self.position >> form.BLOCK_BITS
        self._pending += content
        self._align(BLOCK)
        return block

    def room(self, size: int) -> int:
        """Keep blocks that read as zeros until `fill` is called; the first."""
        self._align(BLOCK)
        self._require_room(size)
        block = self.position >> form.BLOCK_BITS
        self._skip(-(-size // BLOCK) * BLOCK)
        return block

    def fill(self, offset: int, content: bytes) -> None:
        """Write into what `room` has kept. offset: in bytes, of the image."""
        _write_at(self._fd, content, offset)

    def _body(self, xattrs: Mapping[bytes, bytes]) -> bytes:
        if not xattrs:
            return b""
        shared: list[int] = []
        inline = b""
        for name, value in sorted(xattrs.items()):
            if len(name) > form.NAME_LIMIT or len(value) > form.XATTR_VALUE_LIMIT:
                raise Invalid(f"extended attribute {name[:80]!r} is too long: {len(value)} bytes")
            entry = form.xattr_entry(name, value)
            if entry is None:
                continue  # the kernel knows no such attribute of a file
            number = self._number_of(entry) if len(shared) < _SHARED_COUNT else None
            if number is None:
                inline += entry
            else:
                shared.append(number)
        body = form.xattr_body(shared, inline) if shared or inline else b""
        if form.xattr_units(body) > form.XATTR_UNITS_LIMIT:
            raise Invalid(f"{len(body)} bytes of extended attributes are too many for a file")
        return body

    def _number_of(self, entry: bytes) -> int | None:
        number = self._shared.get(entry)
        if number is None and len(self._shared_data) + len(entry) <= _SHARED_LIMIT:
            number = self._shared[entry] = len(self._shared_data) // 4
            self._shared_data += entry
        return number

    # -- directories, and the end ------------------------------------------------------------------------------------

    def directories(self, directories: Iterable["Placed"]) -> None:
        """Write all directories; the first is the root. Fills in the nids before it asks for the first `entries`."""
        placed = list(directories)
        bodies = [self._body(directory.attributes.xattrs) for directory in placed]
        if form.INODE_SIZE + len(bodies[0]) > form.ROOT_ROOM:
            raise Invalid(f"{len(bodies[0])} bytes of extended attributes are too many for a layer's root")
        self._align(SLOT)
        placed[0].nid = form.ROOT_OFFSET // SLOT
        offset = self.position
        for directory, body in zip(placed[1:], bodies[1:], strict=True):
            directory.nid = offset // SLOT
            offset += form.INODE_SIZE + len(body) + -len(body) % SLOT
        self._skip(offset - self.position)
        for directory, body in zip(placed, bodies, strict=True):
            entries, links = directory.entries()
            data, size = form.directory_data(entries)
            inode = self._packed(directory.attributes, size, form.FLAT, self.data(data), body, links)
            _write_at(self._fd, inode + body, directory.nid * SLOT)
            if len(self._pending) > _FLUSH:
                self._flush()

    def finish(self, tag: str, tar_size: int) -> None:
        """Write what all rests on. tag: 64 hexadecimal digits that name the tar's content."""
        xattr_block = self.data(bytes(self._shared_data))
        self._flush()
        end = self.position
        os.ftruncate(self._fd, end)
        header = form.header(
            root=form.ROOT_OFFSET // SLOT,
            inodes=self._inodes,
            blocks=end >> form.BLOCK_BITS,
            xattr_block=xattr_block,
            tag=tag.encode(),
            device_blocks=-(-tar_size // BLOCK),
        )
        _write_at(self._fd, header, form.SUPER_OFFSET)


class Placed:
    """A directory as the image wants it: attributes, nid (set by the image), and in the end its entries."""

    __slots__ = ("attributes", "nid")

    def __init__(self, attributes: Attributes) -> None:
        self.attributes = attributes
        self.nid = 0

    def entries(self) -> tuple[list[tuple[bytes, int, int]], int]:
        """((name, nid, type) sorted, number of links)"""
        raise NotImplementedError


_CHUNKED = form.layout(form.CHUNKED)


def _write_at(fd: int, data: bytes | bytearray, offset: int) -> None:
    view = memoryview(data)
    while view:
        written = os.pwrite(fd, view, offset)
        view, offset = view[written:], offset + written
