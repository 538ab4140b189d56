"""One entry of an archive, whatever dialect it was written in."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum

BLOCK = 512


class Kind(Enum):
    FILE = "file"
    DIRECTORY = "directory"
    SYMLINK = "symbolic link"
    LINK = "hard link"
    CHARACTER = "character device"
    BLOCK = "block device"
    FIFO = "fifo"


@dataclass(frozen=True, slots=True)
class Limits:
    """What an archive may ask for. Real layers stay far below; only a hostile one meets them."""

    entries: int = 5_000_000
    header: int = 1 << 20  # bytes of extended header for one entry
    name: int = 4096  # bytes, PATH_MAX
    depth: int = 1024  # components of a name
    fragments: int = 1 << 16  # data fragments of a sparse file
    file: int = 1 << 43  # bytes, 8 TiB


@dataclass(slots=True)
class Entry:
    """Names are bytes, as Linux has them. Modes are the twelve permission bits. Times are nanoseconds since the epoch.

    size     bytes of the file; 0 unless it is one
    stored   bytes in the archive, less than `size` for a sparse file
    sparse   (offset, length) of each fragment of data, in order; None for a file without holes
    """

    name: bytes
    kind: Kind = Kind.FILE
    mode: int = 0o644
    uid: int = 0
    gid: int = 0
    size: int = 0
    mtime: int = 0
    link: bytes = b""
    major: int = 0
    minor: int = 0
    user: bytes = b""
    group: bytes = b""
    xattrs: Mapping[bytes, bytes] = field(default_factory=dict)
    sparse: tuple[tuple[int, int], ...] | None = None
    stored: int = 0
