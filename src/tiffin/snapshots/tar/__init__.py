"""The tar format as streams: entries out of bytes, bytes out of entries. Nothing here touches a file system."""

from tiffin.snapshots.tar.entry import Entry, Kind, Limits
from tiffin.snapshots.tar.reader import TarReader
from tiffin.snapshots.tar.writer import END, entry_header, padding

__all__ = ["END", "Entry", "Kind", "Limits", "TarReader", "entry_header", "padding"]
