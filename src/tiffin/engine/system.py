"""Facts about the machine, the engine's settings as clients may see them, and the engine's identity."""

from __future__ import annotations

import contextlib
import os
import platform
import sys
import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from tiffin import __version__
from tiffin.linux.cgroups import Hierarchies, detect

VERSION = f"28.2.2+tiffin.{__version__}"
"""Docker's version that tiffin answers like, as clients switch features by it (≥ 23), then tiffin's own."""

_ARCHITECTURES = {"x86_64": "amd64", "aarch64": "arm64", "armv7l": "arm", "i686": "386", "loongarch64": "loong64"}


@dataclass(frozen=True, slots=True)
class Machine:
    """What does not change while the daemon runs."""

    name: str
    kernel: str
    operating_system: str
    os_version: str
    machine: str
    """As `uname -m` says."""
    processors: int
    memory: int
    """Bytes."""
    cgroup_version: int
    cgroup_controllers: frozenset[str]
    swap_accounting: bool
    apparmor: bool
    seccomp: bool

    @property
    def architecture(self) -> str:
        """As OCI and Go say."""
        return _ARCHITECTURES.get(self.machine, self.machine)


@dataclass(frozen=True, slots=True)
class Settings:
    """The part of the configuration that is told to clients."""

    root: str
    debug: bool = False
    experimental: bool = False
    labels: tuple[str, ...] = ()
    log_driver: str = "json-file"
    cgroup_driver: str = "cgroupfs"
    default_runtime: str = "tiffin"
    runtimes: Mapping[str, tuple[str, tuple[str, ...]]] = field(default_factory=dict)
    """Name → path of the executable ("" for the one built in), further arguments."""
    init_path: str = "docker-init"
    live_restore: bool = True
    registry_mirrors: tuple[str, ...] = ()
    insecure_registries: tuple[str, ...] = ()
    address_pools: tuple[tuple[str, int], ...] = ()
    cdi_directories: tuple[str, ...] = ("/etc/cdi", "/var/run/cdi")
    user_namespace: bool = False
    rootless: bool = False
    seccomp_profile: str = "builtin"
    http_proxy: str = ""
    https_proxy: str = ""
    no_proxy: str = ""
    warnings: tuple[str, ...] = ()


def observe() -> Machine:
    """Look at this machine. What can't be read counts as absent."""
    system = os.uname()
    release = _os_release()
    hierarchies = detect()
    return Machine(
        name=system.nodename,
        kernel=system.release,
        operating_system=release.get("PRETTY_NAME") or release.get("NAME") or "Linux",
        os_version=release.get("VERSION_ID", ""),
        machine=system.machine,
        processors=len(os.sched_getaffinity(0)),
        memory=os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE"),
        cgroup_version=hierarchies.version,
        cgroup_controllers=_controllers(hierarchies),
        swap_accounting=_swap_accounting(hierarchies),
        apparmor=_read("/sys/module/apparmor/parameters/enabled").startswith("Y"),
        seccomp=os.path.exists("/proc/sys/kernel/seccomp"),
    )


def identity(path: Path) -> str:
    """The engine's ID, kept in a file, made on first use."""
    with contextlib.suppress(FileNotFoundError):
        if known := path.read_text().strip():
            return known
    made = str(uuid.uuid4())
    temporary = path.with_name(path.name + ".new")
    temporary.write_text(made + "\n")
    temporary.chmod(0o600)
    temporary.replace(path)
    return made


def python() -> str:
    """The interpreter's name and version."""
    return f"{sys.implementation.name}{platform.python_version()}"


def ip_forwarding() -> bool:
    """Whether the daemon's network namespace forwards IPv4."""
    return _read("/proc/sys/net/ipv4/ip_forward").startswith("1")


def open_descriptors() -> int:
    """How many descriptors the daemon has open."""
    return len(os.listdir("/proc/self/fd"))


def _controllers(hierarchies: Hierarchies) -> frozenset[str]:
    if hierarchies.version == 2:
        return frozenset(hierarchies.controllers)
    return frozenset(name for name in hierarchies.v1 if not name.startswith("name="))


def _swap_accounting(hierarchies: Hierarchies) -> bool:
    if hierarchies.version == 2:
        own = hierarchies.own.get("", "/").lstrip("/")
        # the root group has no memory.swap.max of its own; any child shows whether there is one
        place = os.path.join(hierarchies.unified or "/sys/fs/cgroup", own)
        return os.path.exists(f"{place}/memory.swap.max") or os.path.exists("/proc/swaps")
    memory = hierarchies.v1.get("memory")
    return memory is not None and os.path.exists(f"{memory}/memory.memsw.limit_in_bytes")


def _os_release() -> dict[str, str]:
    text = _read("/etc/os-release") or _read("/usr/lib/os-release")
    pairs = (line.partition("=") for line in text.splitlines() if "=" in line and not line.startswith("#"))
    return {key.strip(): value.strip().strip("\"'") for key, _, value in pairs}


def _read(path: str) -> str:
    try:
        with open(path, encoding="utf-8", errors="replace") as file:
            return file.read()
    except OSError:
        return ""
