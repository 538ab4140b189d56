"""The host's half of a create body: limits, namespaces, mounts, devices (Engine API v1.51, `HostConfig`)."""

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class LogConfig:
    type: str = "json-file"
    config: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class PortBinding:
    host_ip: str = ""
    host_port: str = ""


@dataclass(frozen=True, slots=True)
class RestartPolicy:
    """`name` is "no", "always", "unless-stopped" or "on-failure"; only the last counts retries (0: no end)."""

    name: str = "no"
    maximum_retry_count: int = 0


@dataclass(frozen=True, slots=True)
class WeightDevice:
    path: str = ""
    weight: int = 0


@dataclass(frozen=True, slots=True)
class ThrottleDevice:
    path: str = ""
    rate: int = 0


@dataclass(frozen=True, slots=True)
class DeviceMapping:
    path_on_host: str = ""
    path_in_container: str = ""
    cgroup_permissions: str = ""


@dataclass(frozen=True, slots=True)
class DeviceRequest:
    driver: str = ""
    count: int = 0
    device_ids: tuple[str, ...] | None = None
    capabilities: tuple[tuple[str, ...], ...] | None = None
    options: Mapping[str, str] | None = None


@dataclass(frozen=True, slots=True)
class Ulimit:
    name: str = ""
    hard: int = 0
    soft: int = 0


@dataclass(frozen=True, slots=True)
class IdMapping:
    """Whose files a bind shows as whose: with `source` "match-user" those of the source's owner as `user`'s, the
    container's own without. As proposed for API v1.56 (moby#53368).
    """

    source: str = ""
    user: str = ""


@dataclass(frozen=True, slots=True)
class BindOptions:
    propagation: str = ""
    non_recursive: bool = False
    create_mountpoint: bool = False
    read_only_non_recursive: bool = False
    read_only_force_recursive: bool = False
    id_mapping: IdMapping | None = None


@dataclass(frozen=True, slots=True)
class VolumeDriver:
    name: str = ""
    options: Mapping[str, str] | None = None


@dataclass(frozen=True, slots=True)
class VolumeOptions:
    no_copy: bool = False
    labels: Mapping[str, str] | None = None
    driver_config: VolumeDriver | None = None
    subpath: str = ""


@dataclass(frozen=True, slots=True)
class ImageOptions:
    subpath: str = ""


@dataclass(frozen=True, slots=True)
class TmpfsOptions:
    size_bytes: int = 0
    mode: int = 0
    options: tuple[tuple[str, ...], ...] | None = None


@dataclass(frozen=True, slots=True)
class MountRequest:
    """`--mount`: `type` is bind, volume, tmpfs, image, npipe or cluster."""

    type: str = ""
    source: str = ""
    target: str = ""
    read_only: bool = False
    consistency: str = ""
    bind_options: BindOptions | None = None
    volume_options: VolumeOptions | None = None
    image_options: ImageOptions | None = None
    tmpfs_options: TmpfsOptions | None = None


@dataclass(frozen=True, slots=True)
class MountPoint:
    """A mount that was settled at create: where it comes from and where it goes (API `MountPoint`).

    `type` is bind, volume, tmpfs or image; `name` and `driver` are a volume's, else empty. `source` is the host's path,
    for a volume its data directory. `create` makes a missing bind source; `copy_up` fills an empty volume from
    the image.
    """

    type: str
    destination: str
    source: str = ""
    name: str = ""
    driver: str = ""
    mode: str = ""
    rw: bool = True
    propagation: str = ""
    create: bool = False
    copy_up: bool = False
    anonymous: bool = False
    recursive: bool = True
    read_only_recursive: str = "if-possible"  # "never", "if-possible", "force"
    subpath: str = ""
    options: tuple[str, ...] = ()  # of a tmpfs
    request: MountRequest | None = None


@dataclass(frozen=True, slots=True)
class HostConfig:
    binds: tuple[str, ...] | None = None
    container_id_file: str = ""
    log_config: LogConfig = LogConfig()
    network_mode: str = "default"
    port_bindings: Mapping[str, tuple[PortBinding, ...] | None] | None = None
    restart_policy: RestartPolicy = RestartPolicy()
    auto_remove: bool = False
    volume_driver: str = ""
    volumes_from: tuple[str, ...] | None = None
    console_size: tuple[int, int] = (0, 0)
    annotations: Mapping[str, str] | None = None
    cap_add: tuple[str, ...] | None = None
    cap_drop: tuple[str, ...] | None = None
    cgroupns_mode: str = ""
    dns: tuple[str, ...] | None = None
    dns_options: tuple[str, ...] | None = None
    dns_search: tuple[str, ...] | None = None
    extra_hosts: tuple[str, ...] | None = None
    group_add: tuple[str, ...] | None = None
    ipc_mode: str = ""
    cgroup: str = ""
    links: tuple[str, ...] | None = None
    oom_score_adj: int = 0
    pid_mode: str = ""
    privileged: bool = False
    publish_all_ports: bool = False
    readonly_rootfs: bool = False
    security_opt: tuple[str, ...] | None = None
    storage_opt: Mapping[str, str] | None = None
    tmpfs: Mapping[str, str] | None = None
    uts_mode: str = ""
    userns_mode: str = ""
    shm_size: int = 0
    sysctls: Mapping[str, str] | None = None
    runtime: str = ""
    isolation: str = ""
    cpu_shares: int = 0
    memory: int = 0
    nano_cpus: int = 0
    cgroup_parent: str = ""
    blkio_weight: int = 0
    blkio_weight_device: tuple[WeightDevice, ...] | None = None
    blkio_device_read_bps: tuple[ThrottleDevice, ...] | None = None
    blkio_device_write_bps: tuple[ThrottleDevice, ...] | None = None
    blkio_device_read_iops: tuple[ThrottleDevice, ...] | None = None
    blkio_device_write_iops: tuple[ThrottleDevice, ...] | None = None
    cpu_period: int = 0
    cpu_quota: int = 0
    cpu_realtime_period: int = 0
    cpu_realtime_runtime: int = 0
    cpuset_cpus: str = ""
    cpuset_mems: str = ""
    devices: tuple[DeviceMapping, ...] | None = None
    device_cgroup_rules: tuple[str, ...] | None = None
    device_requests: tuple[DeviceRequest, ...] | None = None
    kernel_memory: int = 0
    kernel_memory_tcp: int = 0
    memory_reservation: int = 0
    memory_swap: int = 0
    memory_swappiness: int | None = None
    oom_kill_disable: bool | None = None
    pids_limit: int | None = None
    ulimits: tuple[Ulimit, ...] | None = None
    cpu_count: int = 0
    cpu_percent: int = 0
    io_maximum_iops: int = 0
    io_maximum_bandwidth: int = 0
    mounts: tuple[MountRequest, ...] | None = None
    masked_paths: tuple[str, ...] | None = None
    readonly_paths: tuple[str, ...] | None = None
    init: bool | None = None
