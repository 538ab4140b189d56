"""Layers as file systems: prepare, view, commit, apply, diff."""

from pathlib import Path

from tiffin.content.ledger import Ledger
from tiffin.errors import Invalid
from tiffin.snapshots.copy import Copy
from tiffin.snapshots.erofs import probe
from tiffin.snapshots.erofs.layers import Indexed
from tiffin.snapshots.overlay import Overlay
from tiffin.snapshots.snapshotter import Change, ChangeKind, Layer, Snapshotter, Usage
from tiffin.snapshots.unpacked import Unpacked

__all__ = ["Change", "ChangeKind", "Layer", "Snapshotter", "Usage", "driver", "open_driver"]


def open_driver(name: str, root: Path, ledger: Ledger) -> Snapshotter:
    """The driver of that name (`overlay`, docker's `overlay2`, `erofs`, `copy`), its files in `root/<name>`."""
    match name:
        case "overlay" | "overlay2":
            return Overlay("overlay", root / "overlay", ledger, Unpacked)
        case "erofs":
            return Overlay("erofs", root / "erofs", ledger, Indexed)
        case "copy" | "vfs":
            return Copy(root / "copy", ledger)
    raise Invalid(f"unknown storage driver {name!r}: erofs, overlay and copy exist")


def driver(root: Path) -> str:
    """The driver that fits this machine and what `root` holds: one that has layers there already stays.

    `erofs` where the kernel can, else `overlay` where it has that.
    """
    for name in ("overlay", "erofs", "copy"):
        if any((root / name / "layers").glob("*")):
            return name
    if "\toverlay\n" not in Path("/proc/filesystems").read_text():
        return "copy"
    return "erofs" if probe.supported(root) else "overlay"
