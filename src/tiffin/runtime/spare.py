"""What is the same for most containers, made before there is one for it: a network namespace, and file systems.

A network namespace takes the kernel longer than all the others do. The file systems are those of Docker's defaults.
They have no mounts yet: /proc/mounts shows these in the order in which they were made, from Linux 6.8 on.
"""

import os

from tiffin.linux import mounts, namespaces
from tiffin.linux.loopback import bring_up
from tiffin.runtime.plan import Kind

_SYSFS: Kind = (b"sysfs", b"sysfs", ())  # shows the network namespace of who makes it
_OTHERS: tuple[Kind, ...] = (
    (b"tmpfs", b"tmpfs", (b"mode=755", b"size=65536k")),
    (b"devpts", b"devpts", (b"newinstance", b"ptmxmode=0666", b"mode=0620", b"gid=5")),
    (b"tmpfs", b"shm", (b"mode=1777", b"size=67108864")),
)
Configured = dict[Kind, int]


def make() -> tuple[int, Configured]:
    """A network namespace, its loopback interface up, and what `mounts.mounted` takes.

    -1, or missing, is what this process must not make: the stage tries, and says why it can't. The caller has one
    thread, and is where it was afterwards.
    """
    made: Configured = {}
    for kind in _OTHERS:
        _add(made, kind)
    return _network(made), made


def _add(made: Configured, kind: Kind) -> None:
    name, source, options = kind
    try:
        made[kind] = mounts.configured(name, (b"source=" + source, *options))
    except OSError:
        pass


def _network(made: Configured) -> int:
    home = os.open(b"/proc/self/ns/net", os.O_RDONLY | os.O_CLOEXEC)
    netns = -1
    try:
        namespaces.unshare(namespaces.CLONE_NEWNET)
        netns = os.open(b"/proc/self/ns/net", os.O_RDONLY | os.O_CLOEXEC)
        bring_up()
        _add(made, _SYSFS)
        return netns
    except OSError:
        if netns >= 0:
            os.close(netns)
        return -1
    finally:
        namespaces.setns(home, namespaces.CLONE_NEWNET)
        os.close(home)


def fitting(netns: int, made: Configured, plan: dict[str, object]) -> tuple[int, Configured]:
    """What of it is as a container's own would be; in a user namespace nothing is."""
    flags: int = plan["unshare"]  # type: ignore[assignment]
    user = any(flag == namespaces.CLONE_NEWUSER for flag, _ in plan["join"])  # type: ignore[attr-defined]
    if user or flags & namespaces.CLONE_NEWUSER:
        return -1, {}
    if flags & namespaces.CLONE_NEWNET:
        return netns, made
    return -1, {kind: made[kind] for kind in made if kind != _SYSFS}
