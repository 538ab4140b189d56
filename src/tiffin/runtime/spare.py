"""A network namespace made before there is a container for it, which takes the kernel longer than all the others do."""

import os

from tiffin.linux import mounts, namespaces
from tiffin.linux.loopback import bring_up


class Network:
    """netns: the namespace, new, its loopback interface up. sysfs: detached, mounted in it."""

    def __init__(self, netns: int, sysfs: int) -> None:
        self.netns, self.sysfs = netns, sysfs


def network() -> Network | None:
    """One; None where this process must not make it. The caller, which has one thread, is where it was afterwards."""
    home = os.open(b"/proc/self/ns/net", os.O_RDONLY | os.O_CLOEXEC)
    netns = -1
    try:
        namespaces.unshare(namespaces.CLONE_NEWNET)
        netns = os.open(b"/proc/self/ns/net", os.O_RDONLY | os.O_CLOEXEC)
        bring_up()
        return Network(netns, mounts.create(b"sysfs", (b"source=sysfs",)))
    except OSError:
        if netns >= 0:
            os.close(netns)
        return None  # the stage tries, and says why it can't
    finally:
        namespaces.setns(home, namespaces.CLONE_NEWNET)
        os.close(home)


def serves(plan: dict[str, object]) -> bool:
    """Whether the container's network namespace is a new one that belongs to the engine's user namespace."""
    flags: int = plan["unshare"]  # type: ignore[assignment]
    user = any(flag == namespaces.CLONE_NEWUSER for flag, _ in plan["join"])  # type: ignore[attr-defined]
    return bool(flags & namespaces.CLONE_NEWNET) and not flags & namespaces.CLONE_NEWUSER and not user
