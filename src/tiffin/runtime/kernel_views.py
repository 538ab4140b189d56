"""The host's procfs and sysfs where a container enters its root without a pivot. For the stage; raises OSError."""

from tiffin.linux import mounts


def cover(root: bytes) -> None:
    """Unmount whole procfs and sysfs mounts outside of the root, or cover them.

    They stay in the namespace when nothing is pivoted away, and the kernel lets a user namespace mount its own unmasked
    procfs only where a whole one is visible already.
    """
    with open(b"/proc/self/mountinfo", "rb") as file:
        entries = [line.split() for line in file]
    for fields in reversed(entries):
        target, kind = fields[4], fields[fields.index(b"-") + 1]
        if kind not in (b"proc", b"sysfs") or fields[3] != b"/" or target.startswith(root + b"/"):
            continue
        try:
            mounts.umount(target, mounts.MNT_DETACH)
        except OSError:
            mounts.mount(b"tmpfs", target, b"tmpfs", 0)
