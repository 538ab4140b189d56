"""The OCI runtime specification of a container: what docker's options mean to the kernel (runtime-spec 1.2, config.md).

`build` is pure: whatever must be looked up beforehand (who the user is, which processes' namespaces are joined, where
volumes lie) comes in `Surroundings`.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from tiffin.containers import cdi, modes, spec_mounts, spec_resources, spec_security
from tiffin.containers.spec_devices import Devices
from tiffin.containers.users import User
from tiffin.errors import Invalid
from tiffin.model.container import Container

PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What a container's specification depends on beyond its record.

    joined      namespace kind ("network", "ipc", "pid", "uts") → process id of the container it is shared with
    files       "/etc/hosts", "/etc/hostname", "/etc/resolv.conf" → the host's file that is mounted there
    sources     destination → directory on the host, for volumes and images
    variables   of linked containers, before the container's own
    owners      destination → the OCI mount's uidMappings and gidMappings, for binds whose files change hands
    shm         directory on the host that is mounted as /dev/shm, for an ipc namespace that others (may) share
    """

    user: User
    root: str
    devices: Devices
    hostname: str
    cgroup_parent: str
    unified_cgroups: bool
    joined: Mapping[str, int] = field(default_factory=dict)
    files: Mapping[str, str] = field(default_factory=dict)
    sources: Mapping[str, str] = field(default_factory=dict)
    owners: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    shm: str | None = None
    variables: tuple[str, ...] = ()


def build(container: Container, around: Surroundings) -> dict[str, Any]:
    """Raises Invalid for what only shows now (an unknown ulimit, a malformed profile)."""
    host = container.host
    capabilities = spec_security.capabilities_of(host)
    linux: dict[str, Any] = {
        "namespaces": _namespaces(container, around),
        "cgroupsPath": f"{around.cgroup_parent.rstrip('/')}/{container.id}",
        "resources": spec_resources.resources(host, around.devices.rules),
        "devices": list(around.devices.nodes),
        "maskedPaths": list(host.masked_paths or ()),
        "readonlyPaths": list(host.readonly_paths or ()),
    }
    seccomp = spec_security.seccomp(host, capabilities)
    if seccomp:
        linux["seccomp"] = seccomp
    sysctl = _sysctls(container)
    if sysctl:
        linux["sysctl"] = sysctl
    propagation = spec_mounts.root_propagation(container.mounts)
    if propagation:
        linux["rootfsPropagation"] = propagation
    label = spec_security.mount_label(host)
    if label:
        linux["mountLabel"] = label
    spec: dict[str, Any] = {
        "ociVersion": "1.2.0",
        "process": process(container, around.user, capabilities, around.hostname, around.variables),
        "root": {"path": around.root, "readonly": host.readonly_rootfs},
        "mounts": spec_mounts.mounts(container, around),
        "linux": linux,
    }
    if host.annotations:
        spec["annotations"] = dict(host.annotations)
    if host.uts_mode != "host" and "uts" not in around.joined:
        spec["hostname"] = around.hostname
        if container.config.domainname:
            spec["domainname"] = container.config.domainname
    cdi.apply(spec, around.devices.edits)
    return spec


def process(
    container: Container, user: User, capabilities: list[str], hostname: str, variables: tuple[str, ...] = ()
) -> dict[str, Any]:
    """`process` of the specification, PID 1's."""
    config, host = container.config, container.host
    rows, columns = host.console_size
    found: dict[str, Any] = {
        "terminal": config.tty,
        "user": {"uid": user.uid, "gid": user.gid, "additionalGids": list(user.groups), "umask": 0o022},
        "args": [container.path, *container.args],
        "env": environment((*variables, *(config.env or ())), hostname=hostname, tty=config.tty, home=user.home),
        "cwd": config.working_dir or "/",
        "capabilities": spec_security.capability_sets(capabilities, user.uid),
        "noNewPrivileges": spec_security.no_new_privileges(host),
        "oomScoreAdj": host.oom_score_adj,
    }
    if config.tty and rows and columns:
        found["consoleSize"] = {"height": rows, "width": columns}
    rlimits = [_rlimit(limit.name, limit.soft, limit.hard) for limit in host.ulimits or ()]
    if rlimits:
        found["rlimits"] = rlimits
    profile = spec_security.apparmor(host)
    if profile:
        found["apparmorProfile"] = profile
    label = spec_security.process_label(host)
    if label:
        found["selinuxLabel"] = label
    return found


def environment(given: tuple[str, ...], *, hostname: str, tty: bool, home: str) -> list[str]:
    """PATH, HOSTNAME and TERM first, overridden in place; a bare `NAME` unsets; HOME last unless given."""
    values = {"PATH": PATH, "HOSTNAME": hostname}
    if tty:
        values["TERM"] = "xterm"
    for variable in given:
        name, equals, value = variable.partition("=")
        if equals:
            values[name] = value
        else:
            values.pop(name, None)
    if not values.get("HOME"):
        values["HOME"] = home
    return [f"{name}={value}" for name, value in values.items()]


_RLIMITS = frozenset(
    [
        "as",
        "core",
        "cpu",
        "data",
        "fsize",
        "locks",
        "memlock",
        "msgqueue",
        "nice",
        "nofile",
        "nproc",
        "rss",
        "rtprio",
        "rttime",
        "sigpending",
        "stack",
    ]
)
_INFINITE = 2**64 - 1


def _rlimit(name: str, soft: int, hard: int) -> dict[str, Any]:
    if name not in _RLIMITS:
        raise Invalid(f"invalid ulimit type: {name}")
    return {
        "type": f"RLIMIT_{name.upper()}",
        "soft": _INFINITE if soft < 0 else soft,
        "hard": _INFINITE if hard < 0 else hard,
    }


def _namespaces(container: Container, around: Surroundings) -> list[dict[str, str]]:
    host = container.host
    found: list[dict[str, str]] = [{"type": "mount"}]

    def add(kind: str, mode: str, name: str) -> None:
        if mode == "host":
            return
        if kind in around.joined:
            found.append({"type": kind, "path": f"/proc/{around.joined[kind]}/ns/{name}"})
        else:
            found.append({"type": kind})

    add("network", host.network_mode, "net")
    add("pid", host.pid_mode, "pid")
    add("ipc", host.ipc_mode, "ipc")
    # docker lets a container on the host's network keep a hostname of its own only when asked to
    add("uts", host.uts_mode, "uts")
    if host.cgroupns_mode == "private":
        found.append({"type": "cgroup"})
    return found


def _sysctls(container: Container) -> dict[str, str]:
    found: dict[str, str] = {}
    if modes.has_own_network(container.host.network_mode):
        found["net.ipv4.ip_unprivileged_port_start"] = "0"
        found["net.ipv4.ping_group_range"] = "0 2147483647"
    found.update(container.host.sysctls or {})
    return found
