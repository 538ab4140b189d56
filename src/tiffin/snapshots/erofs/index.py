"""From a layer's tar to its index, in one pass: what the archive says becomes inodes, its data stays where it lies."""

import os
import stat

from tiffin.content.blobs import require_free_space
from tiffin.content.compression import Readable
from tiffin.errors import Invalid
from tiffin.linux import disk
from tiffin.snapshots import trees
from tiffin.snapshots.erofs import form
from tiffin.snapshots.erofs.form import BLOCK
from tiffin.snapshots.erofs.image import Attributes, Image
from tiffin.snapshots.erofs.tree import Directory, Tree
from tiffin.snapshots.tar import Entry, Kind, TarReader

_CHECK_EVERY = 32 << 20
_WRITE = 1 << 20
_TYPES = {
    Kind.CHARACTER: (stat.S_IFCHR, form.TYPE_CHARACTER), Kind.BLOCK: (stat.S_IFBLK, form.TYPE_BLOCK),
    Kind.FIFO: (stat.S_IFIFO, form.TYPE_FIFO),
}  # fmt: skip
_MOST_CHUNKS = 1 << 20
_DEVICE_BLOCKS = 1 << 32
TAR, IMAGE = 1, 0  # devices


class Copied:
    """A stream that is written to a file in large pieces, whatever of it is looked at."""

    def __init__(self, stream: Readable, fd: int) -> None:
        self._stream = stream
        self._fd = fd
        self._next_check = 0
        self._early = disk.Early()
        self._piece = b""
        self._begin = 0  # of the piece, in the stream
        self.position = 0

    def read(self, size: int = -1, /) -> bytes:
        at = self.position - self._begin
        if at >= len(self._piece) and size:
            self._next()
            at = 0
        data = self._piece[at : at + size] if size >= 0 else self._piece[at:]
        self.position += len(data)
        return data

    def skip(self, size: int) -> bool:
        """Whether there was so much."""
        self.position += size
        while self._begin + len(self._piece) < self.position:
            self._next()
            if not self._piece:
                return False
        return True

    def _next(self) -> None:
        self._begin += len(self._piece)
        if self._begin >= self._next_check:
            require_free_space(self._fd)
            self._next_check = self._begin + _CHECK_EVERY
        self._piece = self._stream.read(_WRITE)
        view = memoryview(self._piece)
        while view:
            view = view[os.write(self._fd, view) :]
        self._early.written(self._fd, self._begin + len(self._piece))


class Lying:
    """A tar that lies in a file already: what need not be read is skipped."""

    def __init__(self, fd: int) -> None:
        self._fd = fd
        self._size = os.fstat(fd).st_size
        self.position = 0

    def read(self, size: int = -1, /) -> bytes:
        data = os.pread(self._fd, size if size >= 0 else self._size - self.position, self.position)
        self.position += len(data)
        return data

    def skip(self, size: int) -> bool:
        """Whether there was so much."""
        self.position += size
        return self.position <= self._size


def write(source: Copied | Lying, fd: int, tag: str) -> int:
    """Index the tar `source` into an empty file. The bytes of all its files. tag: the hexadecimal digest of the tar.

    Invalid for an archive that is damaged or wants out of its root; what is in the file then is of no use.
    """
    image = Image(fd)
    tree = Tree(image)
    reader = TarReader(source, skip=source.skip)
    size = 0
    for entry in reader:
        where = tree.locate(entry.name, entry.mtime)
        if where is None:
            if entry.kind is Kind.DIRECTORY:
                tree.root(entry.mtime).describe(_attributes(entry, stat.S_IFDIR))
            continue
        if not tree.whiteout(*where):
            _place(tree, image, reader, source, entry, *where)
            size += entry.size
    reader.drain()
    tree.finish()
    image.finish(tag, source.position)
    return size


def _place(
    tree: Tree, image: Image, reader: TarReader, source: Copied | Lying, entry: Entry, directory: Directory, name: bytes
) -> None:
    match entry.kind:
        case Kind.FILE:
            attributes = _attributes(entry, stat.S_IFREG)
            if entry.sparse is None:
                nid = image.file(attributes, entry.size, _block(source.position, entry))
            else:
                nid = _sparse(image, reader, source, entry, attributes)
            tree.put(directory, name, nid, form.TYPE_FILE)
        case Kind.DIRECTORY:
            tree.put_directory(directory, name, _attributes(entry, stat.S_IFDIR))
        case Kind.SYMLINK:
            nid = image.symlink(_attributes(entry, stat.S_IFLNK, 0o777), entry.link)
            tree.put(directory, name, nid, form.TYPE_SYMLINK, entry.link)
        case Kind.LINK:
            tree.put_link(directory, name, entry.link, entry.name)
        case kind:
            bits, number = _TYPES[kind]
            pair = (entry.major, entry.minor) if kind is not Kind.FIFO else (0, 0)
            tree.put(directory, name, image.special(_attributes(entry, bits), *pair), number)


def _attributes(entry: Entry, kind: int, mode: int | None = None) -> Attributes:
    xattrs = entry.xattrs
    if xattrs:
        # a layer must not steer the overlay mount it becomes part of
        xattrs = {name: value for name, value in xattrs.items() if not trees.is_overlay_attribute(name)}
    return Attributes(kind | (entry.mode if mode is None else mode), entry.uid, entry.gid, entry.mtime, xattrs)


def _block(position: int, entry: Entry) -> int:
    if (position + entry.stored) // BLOCK >= _DEVICE_BLOCKS:
        raise Invalid(f"{entry.name[:200]!r} ends more than 2 TiB into the layer")
    return position // BLOCK


def _sparse(image: Image, reader: TarReader, source: Copied | Lying, entry: Entry, attributes: Attributes) -> int:
    """Holes stay holes. Chunks point into the tar where its pieces lie on chunk boundaries, else they are copied."""
    fragments = [piece for piece in entry.sparse or () if piece[1]]
    bits = _common_bits(fragments, entry.size)
    count = -(-entry.size // (BLOCK << bits)) if bits >= 0 else _MOST_CHUNKS + 1
    if count > _MOST_CHUNKS:
        return _copied(image, reader, entry, attributes, fragments)
    step = BLOCK << bits
    chunks = [(IMAGE, form.HOLE)] * count
    block = _block(source.position, entry)
    for offset, length in fragments:
        for number in range(offset // step, -(-(offset + length) // step)):
            chunks[number] = (TAR, block + (number * step - offset) // BLOCK)
        block += -(-length // BLOCK)
    return image.chunked(attributes, entry.size, bits, chunks)


def _common_bits(fragments: list[tuple[int, int]], size: int) -> int:
    """The largest chunks that begin and end where the pieces do; -1 where they don't even on whole blocks."""
    bits = min(form.whole_file_bits(size), form.MAX_CHUNK_BITS)
    for offset, length in fragments:
        edges = offset | (length if offset + length < size else 0)
        if edges:
            bits = min(bits, (edges & -edges).bit_length() - 1 - form.BLOCK_BITS)
    return max(bits, -1)


def _copied(
    image: Image, reader: TarReader, entry: Entry, attributes: Attributes, fragments: list[tuple[int, int]]
) -> int:
    """The pieces into the image itself, in chunks large enough that there are not too many of them."""
    bits = min(max(form.whole_file_bits(entry.size) - _MOST_CHUNKS.bit_length() + 5, 3), form.MAX_CHUNK_BITS)
    step = BLOCK << bits
    chunks = [(IMAGE, form.HOLE)] * -(-entry.size // step)
    for offset, length in fragments:
        while length:
            number, inside = divmod(offset, step)
            if chunks[number][1] == form.HOLE:
                chunks[number] = (IMAGE, image.room(min(step, entry.size - number * step)))
            data = reader.read(min(length, step - inside, 1 << 20))
            image.fill(chunks[number][1] * BLOCK + inside, data)
            offset, length = offset + len(data), length - len(data)
    return image.chunked(attributes, entry.size, bits, chunks)
