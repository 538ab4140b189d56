"""EROFS on disk, as much of it as an index needs.

Source: the kernel's Documentation/filesystems/erofs.rst and fs/erofs/erofs_fs.h. All numbers are little-endian. Blocks
are 512 bytes, as a tar's are, so that a file's data can be pointed to where it lies in the tar (device 1).
An inode's number (nid) is its offset in the image divided by 32.
"""

import struct

BLOCK = 512
BLOCK_BITS = 9
SLOT = 32
"""Inodes lie at multiples of this."""
INODE_SIZE = 64
SUPER_OFFSET = 1024
ROOT_OFFSET = SUPER_OFFSET + 128 + 128  # after the superblock and the table of one device
ROOT_ROOM = 512  # the root's number has 16 bits only, so it comes first, in a place kept for it
FIRST = ROOT_OFFSET + ROOT_ROOM
NAME_LIMIT = 255
MAX_BLOCKS = (1 << 32) - 1
HOLE = 0xFFFF_FFFF
MAX_CHUNK_BITS = 31

FLAT, FLAT_INLINE, CHUNKED = 0, 2, 4
TYPE_FILE, TYPE_DIRECTORY, TYPE_CHARACTER, TYPE_BLOCK, TYPE_FIFO, TYPE_SYMLINK = 1, 2, 3, 4, 5, 7

_MAGIC = 0xE0F5E1E2
_COMPATIBLE = 0x2  # MTIME: inodes hold the time of modification
_INCOMPATIBLE = 0x4 | 0x8  # CHUNKED_FILE, DEVICE_TABLE
_INDEXES = 0x20  # chunks are told by (device, block), not by block alone
_SUPER = struct.Struct("<IIIBBHQQIIII16s16sIHHHBBIQ24x")
_DEVICE = struct.Struct("<64sII56x")
_DEVICE_TABLE = (SUPER_OFFSET + _SUPER.size) // _DEVICE.size

# format, xattr units, mode, (unused), size, address or device or chunk format, 32-bit number, uid, gid, mtime seconds,
# nanoseconds, links
INODE = struct.Struct("<HHHHQIIIIqII16x")
LINKS_OFFSET = 44
CHUNK = struct.Struct("<HHI")  # (unused), device, block
WHOLE_FILE = struct.Struct("<HHHHQIIIIqII16xHHI24x")  # an inode and its one chunk, in three slots
DIRENT = struct.Struct("<QHBB")  # nid, offset of the name, type, (unused)
_XATTR = struct.Struct("<BBH")  # length of the name, prefix, length of the value
_XATTR_BODY = struct.Struct("<IB7x")  # (filter, unused), number of shared attributes
_PREFIXES = ((b"user.", 1), (b"trusted.", 4), (b"security.", 6))
_ACLS = {b"system.posix_acl_access": 2, b"system.posix_acl_default": 3}
XATTR_VALUE_LIMIT = (1 << 16) - 1
XATTR_UNITS_LIMIT = (1 << 16) - 1


def header(*, root: int, inodes: int, blocks: int, xattr_block: int, tag: bytes, device_blocks: int) -> bytes:
    """The superblock and the table of devices, for SUPER_OFFSET. tag: 64 bytes that name the device's content."""
    uuid = bytes.fromhex(tag[:32].decode()) if len(tag) == 64 else bytes(16)
    super_block = _SUPER.pack(
        _MAGIC, 0, _COMPATIBLE, BLOCK_BITS, 0, root, inodes, 0, 0, blocks, 0, xattr_block, uuid, b"",
        _INCOMPATIBLE, 0, 1, _DEVICE_TABLE, 0, 0, 0, 0,
    )  # fmt: skip
    return super_block + _DEVICE.pack(tag, device_blocks, 0)


def layout(kind: int) -> int:
    """An inode's format: extended, with this layout of its data."""
    return 1 | kind << 1


def chunk_format(bits: int) -> int:
    """The chunk format of an inode whose chunks are 512 << bits bytes."""
    return _INDEXES | bits


def whole_file_bits(size: int) -> int:
    """The chunk bits with which one chunk holds a file; above MAX_CHUNK_BITS it takes several."""
    return max((size - 1).bit_length() - BLOCK_BITS, 0) if size else 0


def device_number(major: int, minor: int) -> int:
    """As the kernel packs it into 32 bits (new_encode_dev)."""
    return (minor & 0xFF) | major << 8 | (minor & ~0xFF) << 12


def xattr_entry(name: bytes, value: bytes) -> bytes | None:
    """An attribute as it is stored, in units of four bytes; None for a name that EROFS has no word for."""
    index = _ACLS.get(name, 0)
    rest = b""
    if not index:
        for prefix, number in _PREFIXES:
            if name.startswith(prefix):
                index, rest = number, name[len(prefix) :]
        if not rest:
            return None
    entry = _XATTR.pack(len(rest), index, len(value)) + rest + value
    return entry + bytes(-len(entry) % 4)


def xattr_body(shared: list[int], inline: bytes) -> bytes:
    """What follows an inode with attributes: the numbers of shared ones, then others in full."""
    return _XATTR_BODY.pack(0, len(shared)) + struct.pack(f"<{len(shared)}I", *shared) + inline


def xattr_units(body: bytes) -> int:
    """The inode's count of attribute space."""
    return (len(body) - _XATTR_BODY.size) // 4 + 1 if body else 0


def directory_data(entries: list[tuple[bytes, int, int]]) -> tuple[bytes, int]:
    """The blocks of a directory and its size. entries: (name, nid, type), sorted by name, `.` and `..` among them."""
    out = bytearray()
    pack = DIRENT.pack
    start, total = 0, len(entries)
    size = 0
    while start < total:
        used, end = 0, start
        while end < total and (more := used + DIRENT.size + len(entries[end][0])) <= BLOCK:
            used, end = more, end + 1
        part = entries[start:end]
        offset = DIRENT.size * len(part)
        for name, nid, kind in part:
            out += pack(nid, offset, kind, 0)
            offset += len(name)
        for name, _, _ in part:
            out += name
        size = len(out)
        out += bytes(-size % BLOCK)
        start = end
    return bytes(out), size
