"""A layer's tree while its archive is read: names only, the inodes are in the image already.

Entries land as `extract` puts them on disk: parents lead through symbolic links of the same layer, but never out of
it; a later entry replaces an earlier one; whiteouts take overlayfs's form.
"""

import errno
import os
import stat
from collections.abc import Iterator, Mapping

from tiffin.errors import Invalid
from tiffin.snapshots.erofs import form
from tiffin.snapshots.erofs.image import Attributes, Image, Placed
from tiffin.snapshots.extract import clean
from tiffin.snapshots.whiteouts import OPAQUE, PREFIX, hidden_name

_LINKS_FOLLOWED = 40  # as the kernel, in one look-up
_REMEMBERED = 1024
_OPAQUE_ATTRIBUTE = {b"trusted.overlay.opaque": b"y"}
_NOTHING: Mapping[bytes, bytes] = {}
_TYPE_BITS, _TYPE_MASK = 3, 7
_NO_NAMES = (b"", b".", b"..")
Name = tuple[bytes, ...]


class Directory(Placed):
    """Children by name: a Directory, or nid << 3 | type of anything else.

    One that the archive does not describe is as mkdir makes it, which inherits the group of a set-group-id directory.
    """

    __slots__ = ("children", "opaque", "parent")

    def __init__(self, parent: "Directory | None", mtime: int) -> None:
        inherited = parent.attributes if parent and parent.attributes.mode & stat.S_ISGID else None
        mode = stat.S_IFDIR | 0o755 | (stat.S_ISGID if inherited else 0)
        super().__init__(Attributes(mode, 0, inherited.gid if inherited else 0, mtime, _NOTHING))
        self.parent = parent or self
        self.children: dict[bytes, Directory | int] = {}
        self.opaque = False

    def describe(self, attributes: Attributes) -> None:
        """What an entry says; attributes that an earlier one gave stay, as on disk."""
        if self.attributes.xattrs:
            attributes.xattrs = {**self.attributes.xattrs, **attributes.xattrs}
        self.attributes = attributes

    def entries(self) -> tuple[list[tuple[bytes, int, int]], int]:
        found = [(b".", self.nid, form.TYPE_DIRECTORY), (b"..", self.parent.nid, form.TYPE_DIRECTORY)]
        links = 2
        for name, child in self.children.items():
            if isinstance(child, int):
                found.append((name, child >> _TYPE_BITS, child & _TYPE_MASK))
            else:
                found.append((name, child.nid, form.TYPE_DIRECTORY))
                links += 1
        found.sort()
        return found, links


class Tree:
    def __init__(self, image: Image) -> None:
        self._image = image
        self._root: Directory | None = None
        self._links: dict[int, int] = {}  # of inodes with another number of them than one
        self._targets: dict[int, bytes] = {}  # of symbolic links, which parents may lead through
        self._whiteout = -1
        self._known: dict[bytes, Directory] = {}

    def root(self, mtime: int) -> Directory:
        """mtime: for a directory that the archive does not describe, that of what it brought first."""
        if self._root is None:
            self._root = Directory(None, mtime)
        return self._root

    # -- looking up --------------------------------------------------------------------------------------------------

    def locate(self, path: bytes, mtime: int) -> tuple[Directory, bytes] | None:
        """Where an entry goes: its directory, made where it is missing, and its name; None for the root itself."""
        path = path.rstrip(b"/")
        head, _, name = path.rpartition(b"/")
        directory = self._known.get(head)
        if directory is None or name in _NO_NAMES:
            parts = clean(path)
            if not parts:
                return None
            directory = self._directory(parts[:-1], mtime)
            if name not in _NO_NAMES:
                if len(self._known) >= _REMEMBERED:
                    self._known.clear()
                self._known[head] = directory
            name = parts[-1]
        if len(name) > form.NAME_LIMIT:
            raise _refused(path, errno.ENAMETOOLONG)
        return directory, name

    def _directory(self, parts: Name, mtime: int) -> Directory:
        current = self.root(mtime)
        links = iter(range(_LINKS_FOLLOWED))
        for part in parts:
            if len(part) > form.NAME_LIMIT:
                raise _refused(b"/".join(parts), errno.ENAMETOOLONG)
            child = current.children.get(part)
            if child is None:
                child = current.children[part] = Directory(current, mtime)
            elif isinstance(child, int):
                child = self._followed(current, child, links, b"/".join(parts))
            current = child
        return current

    def _followed(self, current: Directory, link: int, links: Iterator[int], shown: bytes) -> Directory:
        """Where a symbolic link leads, inside the layer's root; it must be a directory that is there."""
        found: Directory | int | None = link
        ahead: list[bytes] = []  # components still to walk, the next one last
        while True:
            if isinstance(found, int):
                target = self._target(found, links, shown)
                current = self.root(0) if target.startswith(b"/") else current
                ahead += reversed(target.split(b"/"))
            elif found is None:
                raise _refused(shown, errno.ELOOP)  # a link that dangles, in openat2's words
            else:
                current = found
            while ahead and ahead[-1] in _NO_NAMES:
                if ahead.pop() == b"..":
                    current = current.parent
            if not ahead:
                return current
            found = current.children.get(ahead.pop())

    def _target(self, child: int, links: Iterator[int], shown: bytes) -> bytes:
        if child & _TYPE_MASK != form.TYPE_SYMLINK:
            raise _refused(shown, errno.ENOTDIR)
        if next(links, None) is None:
            raise _refused(shown, errno.ELOOP)
        return self._targets[child >> _TYPE_BITS]

    # -- placing -----------------------------------------------------------------------------------------------------

    def whiteout(self, directory: Directory, name: bytes) -> bool:
        """Whether a name was a whiteout (then done)."""
        if not name.startswith(PREFIX):
            return False
        if name == OPAQUE:
            directory.opaque = True
            return True
        hidden = hidden_name(name)
        if hidden is not None:
            there = directory.children.get(hidden)
            if there is None:
                directory.children[hidden] = self._whiteout_inode()
            elif isinstance(there, Directory):
                there.opaque = True  # this layer has the name itself: only what is below is hidden
        return True

    def _whiteout_inode(self) -> int:
        """One for the whole layer: overlayfs looks at nothing but that it is a 0/0 character device."""
        if self._whiteout < 0:
            self._whiteout = self._image.special(Attributes(stat.S_IFCHR, 0, 0, 0, _NOTHING))
        else:
            self._links[self._whiteout] = self._links.get(self._whiteout, 1) + 1
        return self._whiteout << _TYPE_BITS | form.TYPE_CHARACTER

    def put(self, directory: Directory, name: bytes, nid: int, kind: int, target: bytes = b"") -> None:
        """Anything but a directory, in the place of what was there."""
        if name in directory.children:
            self._drop(directory.children.pop(name))
        directory.children[name] = nid << _TYPE_BITS | kind
        if target:
            self._targets[nid] = target

    def put_directory(self, directory: Directory, name: bytes, attributes: Attributes) -> None:
        """A directory keeps what is in it already."""
        there = directory.children.get(name)
        if not isinstance(there, Directory):
            if there is not None:
                self._drop(there)
            made = directory.children[name] = Directory(directory, attributes.mtime)
            made.opaque = there is not None and there >> _TYPE_BITS == self._whiteout
            there = made
        there.describe(attributes)

    def put_link(self, directory: Directory, name: bytes, target: bytes, path: bytes) -> None:
        """Another name of something that is there and no directory."""
        found = self.locate(target, 0)
        if found is None:
            raise Invalid(f"{path[:200]!r}: a hard link to the root of the archive")
        inode = found[0].children.get(found[1])
        if inode is None:
            raise _refused(path, errno.ENOENT)
        if isinstance(inode, Directory):
            raise _refused(path, errno.EPERM)
        there = directory.children.get(name)
        if there == inode:
            return
        if there is not None:
            self._drop(there)
            inode = found[0].children.get(found[1])
            if inode is None or isinstance(inode, Directory):
                raise _refused(path, errno.ENOENT)  # it was beneath what it was to replace
        nid = inode >> _TYPE_BITS
        self._links[nid] = self._links.get(nid, 1) + 1
        directory.children[name] = inode

    def _drop(self, child: "Directory | int") -> None:
        self._known.clear()
        pending = [child]
        while pending:
            gone = pending.pop()
            if isinstance(gone, int):
                nid = gone >> _TYPE_BITS
                self._links[nid] = self._links.get(nid, 1) - 1
            else:
                pending += gone.children.values()
                gone.children.clear()

    # -- the end -----------------------------------------------------------------------------------------------------

    def finish(self) -> None:
        """Hand the directories to the image, and the numbers of links."""
        for nid, links in self._links.items():
            if links > 0:
                self._image.set_links(nid, links)
        found = [self.root(0)]
        for directory in found:  # grows as it goes
            if directory.opaque:
                directory.attributes.xattrs = {**directory.attributes.xattrs, **_OPAQUE_ATTRIBUTE}
            found += [child for child in directory.children.values() if isinstance(child, Directory)]
        self._image.directories(found)


def _refused(path: bytes, number: int) -> Invalid:
    shown = path[:200].decode("utf-8", "backslashreplace")
    return Invalid(f"failed to extract {shown!r} from the archive: {os.strerror(number)}")
