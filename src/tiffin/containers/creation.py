"""From a request and an image to what a container will be: the image fills what the request left out."""

import shlex
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from tiffin.containers import modes, restart
from tiffin.errors import Invalid
from tiffin.linux import capabilities
from tiffin.model.container import Config, Healthcheck
from tiffin.model.container_host import HostConfig, LogConfig

DEFAULT_SHM = 64 << 20
MASKED_PATHS = (
    "/proc/acpi",
    "/proc/asound",
    "/proc/interrupts",
    "/proc/kcore",
    "/proc/keys",
    "/proc/latency_stats",
    "/proc/sched_debug",
    "/proc/scsi",
    "/proc/timer_list",
    "/proc/timer_stats",
    "/sys/devices/virtual/powercap",
    "/sys/firmware",
)
READONLY_PATHS = ("/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger")


def merge(config: Config, run: Mapping[str, Any]) -> Config:
    """`run` is the image document's `config` object. Raises Invalid `no command specified`."""
    entrypoint, command = config.entrypoint, config.cmd
    if not entrypoint:
        if not command:
            command = _words(run.get("Cmd"))
        if entrypoint is None:
            entrypoint = _words(run.get("Entrypoint"))
    if entrypoint == ("",):
        entrypoint = None
    if not entrypoint and not command:
        raise Invalid("no command specified")
    return replace(
        config,
        user=config.user or run.get("User") or "",
        exposed_ports=_union(config.exposed_ports, run.get("ExposedPorts")),
        env=merge_environment(config.env or (), run.get("Env") or ()),
        labels={**(run.get("Labels") or {}), **(config.labels or {})},
        entrypoint=entrypoint,
        cmd=command,
        healthcheck=_merge_health(config.healthcheck, run.get("Healthcheck")),
        working_dir=config.working_dir or run.get("WorkingDir") or "",
        volumes=_union(config.volumes, run.get("Volumes")),
        stop_signal=config.stop_signal or run.get("StopSignal") or "",
        on_build=config.on_build or _words(run.get("OnBuild")),
        shell=config.shell or _words(run.get("Shell")),
    )


def merge_environment(given: tuple[str, ...], inherited: Any) -> tuple[str, ...]:
    """The request's variables, then the image's that it does not set."""
    names = {variable.partition("=")[0] for variable in given}
    return (*given, *(variable for variable in inherited if variable.partition("=")[0] not in names))


def _words(value: Any) -> tuple[str, ...] | None:
    return None if value is None else tuple(value)


def _union(ours: Mapping[str, Any] | None, theirs: Mapping[str, Any] | None) -> Mapping[str, Any] | None:
    if not ours and not theirs:
        return None
    return {**{name: {} for name in theirs or {}}, **(ours or {})}


def _merge_health(ours: Healthcheck | None, theirs: Mapping[str, Any] | None) -> Healthcheck | None:
    if not theirs:
        return ours
    base = Healthcheck(
        test=_words(theirs.get("Test")),
        interval=int(theirs.get("Interval") or 0),
        timeout=int(theirs.get("Timeout") or 0),
        start_period=int(theirs.get("StartPeriod") or 0),
        start_interval=int(theirs.get("StartInterval") or 0),
        retries=int(theirs.get("Retries") or 0),
    )
    if ours is None:
        return base
    return Healthcheck(
        test=ours.test or base.test,
        interval=ours.interval or base.interval,
        timeout=ours.timeout or base.timeout,
        start_period=ours.start_period or base.start_period,
        start_interval=ours.start_interval or base.start_interval,
        retries=ours.retries or base.retries,
    )


def command_of(config: Config) -> tuple[str, tuple[str, ...]]:
    """Path and arguments, as `ps` shows them."""
    words = (*(config.entrypoint or ()), *(config.cmd or ()))
    return words[0], words[1:]


def command_line(path: str, args: tuple[str, ...]) -> str:
    """As `ps` and the list show it."""
    return " ".join([path, *(shlex.quote(word) if " " in word else word for word in args)])


def settle(host: HostConfig, *, runtime: str, log: LogConfig, unified_cgroups: bool) -> HostConfig:
    """The defaults that docker fills in at create and shows in inspect."""
    memory_swap = host.memory_swap
    if host.memory > 0 and memory_swap == 0:
        memory_swap = host.memory * 2
    security = host.security_opt
    if security is None and (host.privileged or host.pid_mode == "host" or host.ipc_mode == "host"):
        security = ("label=disable",)
    masked, readonly = host.masked_paths, host.readonly_paths
    if host.privileged or "systempaths=unconfined" in (security or ()):
        masked, readonly = (masked, readonly) if not host.privileged else (None, None)
        security = tuple(item for item in security or () if item != "systempaths=unconfined") or None
    else:
        masked = MASKED_PATHS if masked is None else masked
        readonly = READONLY_PATHS if readonly is None else readonly
    return replace(
        host,
        network_mode="bridge" if host.network_mode in ("", "default") else host.network_mode,
        log_config=_settle_log(host.log_config, log),
        restart_policy=restart.check(host.restart_policy, host.auto_remove),
        ipc_mode=host.ipc_mode or "private",
        cgroupns_mode=host.cgroupns_mode or ("private" if unified_cgroups and not host.privileged else "host"),
        shm_size=host.shm_size or DEFAULT_SHM,
        runtime=host.runtime or runtime,
        memory_swap=memory_swap,
        memory_swappiness=None if host.memory_swappiness == -1 else host.memory_swappiness,
        oom_kill_disable=host.oom_kill_disable if unified_cgroups else bool(host.oom_kill_disable),
        pids_limit=None if host.pids_limit is not None and host.pids_limit <= 0 else host.pids_limit,
        cap_add=_capabilities(host.cap_add),
        cap_drop=_capabilities(host.cap_drop),
        security_opt=security,
        masked_paths=masked,
        readonly_paths=readonly,
    )


def _settle_log(given: LogConfig, default: LogConfig) -> LogConfig:
    return LogConfig(
        given.type or default.type, dict(given.config) if given.type else {**default.config, **given.config}
    )


def _capabilities(names: tuple[str, ...] | None) -> tuple[str, ...] | None:
    return None if names is None else tuple(sorted({capabilities.normalize(name) for name in names}))


def hostname(config: Config, host: HostConfig, container_id: str, own: str) -> str:
    """`own` is the machine's, which a container on its network shares."""
    if config.hostname:
        return config.hostname
    if host.network_mode == "host" or host.uts_mode == "host":
        return own
    return "" if modes.container_of(host.network_mode) else container_id[:12]
