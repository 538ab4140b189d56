"""What a create body may not say, in docker's words (400)."""

import ipaddress
import os
import re
from collections.abc import Iterable

from tiffin.containers import logs, modes, restart
from tiffin.containers.signals import signal_number
from tiffin.errors import Invalid
from tiffin.linux import capabilities
from tiffin.model.container import Config, EndpointRequest, Healthcheck
from tiffin.model.container_host import HostConfig, PortBinding

LEAST_MEMORY = 6 << 20
_MILLISECOND = 1_000_000
_PORT = re.compile(r"\d{1,5}(-\d{1,5})?(/(tcp|udp|sctp))?")


def check(config: Config, host: HostConfig, networks: dict[str, EndpointRequest]) -> None:
    """Raises Invalid for the first thing that is wrong."""
    _check_process(config)
    _check_network(config, host, networks)
    _check_ports(config, host)
    check_resources(host)
    _check_security(host)
    modes.check(
        network=host.network_mode,
        pid=host.pid_mode,
        ipc=host.ipc_mode,
        uts=host.uts_mode,
        userns=host.userns_mode,
        cgroupns=host.cgroupns_mode,
    )
    restart.check(host.restart_policy, host.auto_remove)
    _check_host(host)


def _check_process(config: Config) -> None:
    if config.working_dir and not config.working_dir.startswith("/"):
        raise Invalid(f"the working directory '{config.working_dir}' is invalid, it needs to be an absolute path")
    for variable in config.env or ():
        if not variable or variable.startswith("="):
            raise Invalid(f"invalid environment variable: {variable}")
    if config.stop_signal:
        signal_number(config.stop_signal)
    if len(config.hostname) > 63:
        raise Invalid(f"invalid hostname: {config.hostname}: longer than 63 characters")
    texts = (
        *(config.cmd or ()),
        *(config.entrypoint or ()),
        *(config.env or ()),
        config.user,
        config.hostname,
        config.working_dir,
    )
    if any("\0" in text for text in texts):
        raise Invalid("a NUL byte can't be part of a command, a variable, a user or a path")
    if config.healthcheck:
        check_health(config.healthcheck)


def check_health(health: Healthcheck) -> None:
    for name, value, words in (
        ("Interval", health.interval, "Interval"),
        ("Timeout", health.timeout, "Timeout"),
        ("StartPeriod", health.start_period, "StartPeriod"),
        ("StartInterval", health.start_interval, "StartInterval"),
    ):
        if value != 0 and value < _MILLISECOND:
            raise Invalid(f"{name} in Healthcheck cannot be less than 1ms" if words else name)
    if health.retries < 0:
        raise Invalid("Retries in Healthcheck cannot be negative")


def _check_network(config: Config, host: HostConfig, networks: dict[str, EndpointRequest]) -> None:
    mode = host.network_mode
    shared = modes.container_of(mode) is not None
    if shared and config.hostname:
        raise Invalid("conflicting options: hostname and the network mode")
    if shared and host.links:
        raise Invalid(
            "conflicting options: container type network can't be used with links. This would result in undefined"
            " behavior"
        )
    if shared and host.dns:
        raise Invalid("conflicting options: dns and the network mode")
    if shared and host.extra_hosts:
        raise Invalid("conflicting options: custom host-to-IP mapping and the network mode")
    if shared and (host.port_bindings or host.publish_all_ports):
        raise Invalid("conflicting options: port publishing and the container type network mode")
    if shared and config.exposed_ports:
        raise Invalid("conflicting options: port exposing and the container type network mode")
    if mode == "host" and host.links:
        raise Invalid(
            "conflicting options: host type networking can't be used with links. This would result in undefined"
            " behavior"
        )
    if host.uts_mode == "host" and (config.hostname or config.domainname):
        raise Invalid("conflicting options: hostname and the UTS mode")
    if shared and (config.mac_address or any(e.mac_address for e in networks.values())):
        raise Invalid("conflicting options: mac-address and the network mode")
    if (mode == "host" or shared) and len(set(networks) - {mode, "default"}) > 0:
        raise Invalid("conflicting options: cannot attach both user-defined and non-user-defined network-modes")
    for entry in host.extra_hosts or ():
        if ":" not in entry and "=" not in entry:
            raise Invalid(f'bad format for add-host: "{entry}"')
        _check_address(entry)


def _check_address(entry: str) -> None:
    """Of `name:address` or `name=address`, the address in brackets or not."""
    address = entry.partition("=" if "=" in entry else ":")[2].removeprefix("[").removesuffix("]")
    try:
        if address != "host-gateway":
            ipaddress.ip_address(address)
    except ValueError:
        raise Invalid(f'invalid IP address in add-host: "{address}"') from None


def _check_ports(config: Config, host: HostConfig) -> None:
    for port in (*(config.exposed_ports or ()), *(host.port_bindings or ())):
        if not _PORT.fullmatch(port) or int(port.partition("/")[0].partition("-")[0]) > 65535:
            raise Invalid(f'invalid port specification: "{port}"')
    for port, bindings in (host.port_bindings or {}).items():
        for binding in bindings or ():
            _check_binding(port, binding)


def _check_binding(port: str, binding: PortBinding) -> None:
    if binding.host_port and (
        not re.fullmatch(r"\d{1,5}(-\d{1,5})?", binding.host_port)
        or any(int(n) > 65535 for n in binding.host_port.split("-"))
    ):
        raise Invalid(f'invalid port specification: "{binding.host_port}"')


def check_resources(host: HostConfig) -> None:
    """Limits, of create and of update."""
    if host.memory and host.memory < LEAST_MEMORY:
        raise Invalid("Minimum memory limit allowed is 6MB")
    if host.memory > 0 and 0 < host.memory_swap < host.memory:
        raise Invalid("Minimum memoryswap limit should be larger than memory limit, see usage")
    if host.memory == 0 and host.memory_swap > 0:
        raise Invalid("You should always set the Memory limit when using Memoryswap limit, see usage")
    if host.memory_swappiness is not None and not -1 <= host.memory_swappiness <= 100:
        raise Invalid(f"Invalid value: {host.memory_swappiness}, valid memory swappiness range is 0-100")
    if 0 < host.memory_reservation < LEAST_MEMORY:
        raise Invalid("Minimum memory reservation allowed is 6MB")
    if host.memory > 0 and host.memory_reservation > host.memory:
        raise Invalid("Minimum memory limit can not be less than memory reservation limit, see usage")
    _check_cpu(host)
    if host.blkio_weight and not 10 <= host.blkio_weight <= 1000:
        raise Invalid("Range of blkio weight is from 10 to 1000")
    if host.io_maximum_bandwidth or host.io_maximum_iops:
        raise Invalid("Invalid QoS settings: Linux does not support Maximum IO Bandwidth or IOps")


def _check_cpu(host: HostConfig) -> None:
    if host.nano_cpus:
        if host.cpu_period:
            raise Invalid("Conflicting options: Nano CPUs and CPU Period cannot both be set")
        if host.cpu_quota:
            raise Invalid("Conflicting options: Nano CPUs and CPU Quota cannot both be set")
        count = os.cpu_count() or 1
        if host.nano_cpus < 0 or host.nano_cpus > count * 10**9:
            raise Invalid(f"range of CPUs is from 0.01 to {count}.00, as there are only {count} CPUs available")
    if host.cpu_period and not 1000 <= host.cpu_period <= 1000000:
        raise Invalid("CPU cfs period can not be less than 1ms (i.e. 1000) or larger than 1s (i.e. 1000000)")
    if 0 < host.cpu_quota < 1000:
        raise Invalid("CPU cfs quota can not be less than 1ms (i.e. 1000)")
    if host.cpu_shares < 0:
        raise Invalid(f"invalid CPU shares ({host.cpu_shares}): value must be a positive integer")
    _check_set("cpuset cpus", "CPUs", host.cpuset_cpus, "/sys/devices/system/cpu/online")
    _check_set("cpuset mems", "memory nodes", host.cpuset_mems, "/sys/devices/system/node/online")


def _check_set(option: str, things: str, text: str, path: str) -> None:
    if not text:
        return
    wanted = members(text)
    if wanted is None:
        raise Invalid(f"Invalid value {text} for {option}: invalid format: {text}")
    try:
        with open(path, encoding="ascii") as file:
            online = file.read().strip()
    except OSError:
        return
    if not wanted <= (members(online) or set()):
        raise Invalid(f"Requested {things} are not available - requested {text}, available: {online}")


def members(text: str) -> set[int] | None:
    """`0-2,5` as numbers; None where it is malformed."""
    found: set[int] = set()
    for part in text.split(","):
        match = re.fullmatch(r"(\d{1,5})(?:-(\d{1,5}))?", part.strip())
        if not match:
            return None
        first, last = int(match[1]), int(match[2] or match[1])
        if last < first:
            return None
        found.update(range(first, last + 1))
    return found


_CHOICES = {
    "no-new-privileges": ("true", "false"),
    "systempaths": ("unconfined",),
    "writable-cgroups": ("true", "false"),
}


def _check_security(host: HostConfig) -> None:
    _check_capabilities("CapAdd", host.cap_add)
    _check_capabilities("CapDrop", host.cap_drop)
    for option in host.security_opt or ():
        key, separator, value = option.partition("=" if "=" in option else ":")
        if option in ("no-new-privileges", "disable", "label=disable"):
            continue
        if not separator or key not in (
            "label",
            "apparmor",
            "seccomp",
            "no-new-privileges",
            "systempaths",
            "writable-cgroups",
        ):
            raise Invalid(
                f'invalid --security-opt 2: "{option}"' if separator else f'invalid --security-opt 1: "{option}"'
            )
        if value not in _CHOICES.get(key, (value,)):
            raise Invalid(f'invalid --security-opt 2: "{option}"')


def _check_capabilities(field: str, names: Iterable[str] | None) -> None:
    for name in names or ():
        try:
            if name.upper() != "ALL":
                capabilities.normalize(name)
        except (ValueError, OSError):
            shown = f"CAP_{name.upper().removeprefix('CAP_')}"
            raise Invalid(f'invalid {field}: unknown capability: "{shown}"') from None


def _check_host(host: HostConfig) -> None:
    if host.shm_size < 0:
        raise Invalid("SHM size can not be less than 0")
    if not -1000 <= host.oom_score_adj <= 1000:
        raise Invalid(f"Invalid value {host.oom_score_adj}, range for oom score adj is [-1000, 1000]")
    if host.log_config.type and host.log_config.type not in logs.DRIVERS:
        driver = host.log_config.type
        raise Invalid(f'error looking up logging plugin {driver}: plugin "{driver}" not found')
    if host.isolation not in ("", "default"):
        raise Invalid(f"invalid isolation ({host.isolation}): linux only supports 'default'")
    for key in host.storage_opt or {}:
        if key.lower() != "size":
            raise Invalid(f"Unknown option {key}")
        raise Invalid(
            "--storage-opt is supported only for overlay over xfs with 'pquota' mount option: layers here have no quota"
        )
    for key in host.annotations or {}:
        if not key:
            raise Invalid("invalid Annotations: the empty string is not permitted as an annotation key")
    for name in host.sysctls or {}:
        _check_sysctl(name, host)


_IPC_SYSCTLS = frozenset(
    f"kernel.{name}" for name in ["msgmax", "msgmnb", "msgmni", "sem", "shmall", "shmmax", "shmmni", "shm_rmid_forced"]
)


def _check_sysctl(name: str, host: HostConfig) -> None:
    if name.startswith("net."):
        if host.network_mode == "host":
            raise Invalid(f'sysctl "{name}" not allowed in host network namespace: use another --network')
        return
    if name in _IPC_SYSCTLS or name.startswith("fs.mqueue."):
        if host.ipc_mode == "host":
            raise Invalid(f'sysctl "{name}" is not allowed in the hosts ipc namespace: use another --ipc')
        return
    if name in ("kernel.domainname", "kernel.hostname") and host.uts_mode != "host":
        return
    raise Invalid(f"sysctl '{name}' is not allowed: it is not of a namespace of the container")
