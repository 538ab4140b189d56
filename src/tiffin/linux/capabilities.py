"""Capabilities by name and as bit sets; docker's --cap-add, --cap-drop and --privileged. See capabilities(7)."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

EINVAL = 22

_KERNEL_ORDER = """
    CHOWN DAC_OVERRIDE DAC_READ_SEARCH FOWNER FSETID KILL SETGID SETUID SETPCAP LINUX_IMMUTABLE NET_BIND_SERVICE
    NET_BROADCAST NET_ADMIN NET_RAW IPC_LOCK IPC_OWNER SYS_MODULE SYS_RAWIO SYS_CHROOT SYS_PTRACE SYS_PACCT SYS_ADMIN
    SYS_BOOT SYS_NICE SYS_RESOURCE SYS_TIME SYS_TTY_CONFIG MKNOD LEASE AUDIT_WRITE AUDIT_CONTROL SETFCAP MAC_OVERRIDE
    MAC_ADMIN SYSLOG WAKE_ALARM BLOCK_SUSPEND AUDIT_READ PERFMON BPF CHECKPOINT_RESTORE
"""
_DOCKER = """
    CHOWN DAC_OVERRIDE FSETID FOWNER MKNOD NET_RAW SETGID SETUID SETFCAP SETPCAP NET_BIND_SERVICE SYS_CHROOT KILL
    AUDIT_WRITE
"""
NAMES = tuple("CAP_" + name for name in _KERNEL_ORDER.split())
NUMBERS = {name: number for number, name in enumerate(NAMES)}

DEFAULT = tuple("CAP_" + name for name in _DOCKER.split())


def bits(names: Iterable[str]) -> int:
    """The set as an integer, bit n being capability n. Raises OSError EINVAL for a name the kernel does not have."""
    found = 0
    for name in names:
        if name not in NUMBERS:
            raise OSError(EINVAL, f"unknown capability {name!r}")
        found |= 1 << NUMBERS[name]
    return found


def names(bits: int) -> list[str]:
    """In the kernel's order; bits without a name are left out."""
    return [name for number, name in enumerate(NAMES) if bits >> number & 1]


def last() -> int:
    """The running kernel's highest capability."""
    with open("/proc/sys/kernel/cap_last_cap", encoding="ascii") as file:
        return int(file.read())


def own() -> int:
    """What this process may give away: its bounding set."""
    with open("/proc/thread-self/status", encoding="ascii") as file:
        for line in file:
            if line.startswith("CapBnd:"):
                return int(line.split()[1], 16)
    raise OSError(2, "no CapBnd in /proc/thread-self/status")


def normalize(name: str) -> str:
    """ "net_admin", "CAP_NET_ADMIN" → "CAP_NET_ADMIN"; "all" → "ALL". Raises OSError EINVAL for an unknown one."""
    upper = name.strip().upper()
    if upper == "ALL":
        return upper
    full = upper if upper.startswith("CAP_") else "CAP_" + upper
    if full not in NUMBERS:
        raise OSError(EINVAL, f'invalid capability: "{name}"')
    return full


def tweak(
    add: Iterable[str] = (),
    drop: Iterable[str] = (),
    *,
    privileged: bool = False,
    available: int | None = None,
    default: Iterable[str] = DEFAULT,
) -> list[str]:
    """A container's capabilities from docker's options, in the kernel's order.

    `available` is what the daemon itself has (default: `own()`): "ALL" and `privileged` mean that and no more, since a
    machine may withhold some. Naming one that is missing is kept: starting the container then reports it.
    """
    if available is None:
        available = own()
    added = [normalize(name) for name in add]
    dropped = [normalize(name) for name in drop]
    if privileged:
        return names(available)
    named_added = bits(name for name in added if name != "ALL")
    named_dropped = bits(name for name in dropped if name != "ALL")
    if "ALL" in added:
        return names((available | named_added) & ~named_dropped)
    if "ALL" in dropped:
        return names(named_added)
    return names(bits(default) & available & ~named_dropped | named_added)
