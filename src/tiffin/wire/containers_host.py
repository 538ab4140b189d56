"""`HostConfig` as the Engine API spells it (v1.51). Attribute names are those of `model.container_host`."""

from collections.abc import Callable

from msgspec import UNSET, Struct, UnsetType, field

_WORDS = {"ip": "IP", "id": "ID", "ids": "IDs", "ipam": "IPAM", "ips": "IPs", "ipv4": "IPv4", "ipv6": "IPv6"}


def api_name(name: str) -> str:
    """`restart_policy` → `RestartPolicy`; fields that docker spells irregularly say so with `field(name=…)`."""
    return "".join(_WORDS.get(word, word.capitalize()) for word in name.split("_"))


rename: Callable[[str], str | None] = api_name


class LogConfig(Struct, rename=rename, kw_only=True):
    type: str = ""
    config: dict[str, str] | None = None


class PortBinding(Struct, rename=rename, kw_only=True):
    host_ip: str = field(default="", name="HostIp")
    host_port: str = ""


class RestartPolicy(Struct, rename=rename, kw_only=True):
    name: str = ""
    maximum_retry_count: int = 0


class WeightDevice(Struct, rename=rename, kw_only=True):
    path: str = ""
    weight: int = 0


class ThrottleDevice(Struct, rename=rename, kw_only=True):
    path: str = ""
    rate: int = 0


class DeviceMapping(Struct, rename=rename, kw_only=True):
    path_on_host: str = ""
    path_in_container: str = ""
    cgroup_permissions: str = ""


class DeviceRequest(Struct, rename=rename, kw_only=True):
    driver: str = ""
    count: int = 0
    device_ids: list[str] | None = field(default=None, name="DeviceIDs")
    capabilities: list[list[str]] | None = None
    options: dict[str, str] | None = None


class Ulimit(Struct, rename=rename, kw_only=True):
    name: str = ""
    hard: int = 0
    soft: int = 0


class IdMapping(Struct, rename=rename, kw_only=True, omit_defaults=True):
    source: str = ""
    user: str = ""


class BindOptions(Struct, rename=rename, kw_only=True, omit_defaults=True):
    propagation: str = ""
    non_recursive: bool = False
    create_mountpoint: bool = False
    read_only_non_recursive: bool = False
    read_only_force_recursive: bool = False
    id_mapping: IdMapping | None = field(default=None, name="IDMapping")


class VolumeDriver(Struct, rename=rename, kw_only=True, omit_defaults=True):
    name: str = ""
    options: dict[str, str] | None = None


class VolumeOptions(Struct, rename=rename, kw_only=True, omit_defaults=True):
    no_copy: bool = False
    labels: dict[str, str] | None = None
    driver_config: VolumeDriver | None = None
    subpath: str = ""


class ImageOptions(Struct, rename=rename, kw_only=True, omit_defaults=True):
    subpath: str = ""


class TmpfsOptions(Struct, rename=rename, kw_only=True, omit_defaults=True):
    size_bytes: int = 0
    mode: int = 0
    options: list[list[str]] | None = None


class MountRequest(Struct, rename=rename, kw_only=True, omit_defaults=True):
    type: str = ""
    source: str = ""
    target: str = ""
    read_only: bool = False
    consistency: str = ""
    bind_options: BindOptions | None = None
    volume_options: VolumeOptions | None = None
    image_options: ImageOptions | None = None
    tmpfs_options: TmpfsOptions | None = None


class HostConfig(Struct, rename=rename, kw_only=True):
    """Order and presence are docker's; fields of type UnsetType are left out when nobody set them."""

    binds: list[str] | None = None
    container_id_file: str = field(default="", name="ContainerIDFile")
    log_config: LogConfig = field(default_factory=LogConfig)
    network_mode: str = ""
    port_bindings: dict[str, list[PortBinding] | None] | None = None
    restart_policy: RestartPolicy = field(default_factory=RestartPolicy)
    auto_remove: bool = False
    volume_driver: str = ""
    volumes_from: list[str] | None = None
    console_size: tuple[int, int] = (0, 0)
    annotations: dict[str, str] | UnsetType = UNSET
    cap_add: list[str] | None = None
    cap_drop: list[str] | None = None
    cgroupns_mode: str = ""
    dns: list[str] | None = None
    dns_options: list[str] | None = None
    dns_search: list[str] | None = None
    extra_hosts: list[str] | None = None
    group_add: list[str] | None = None
    ipc_mode: str = ""
    cgroup: str = ""
    links: list[str] | None = None
    oom_score_adj: int = 0
    pid_mode: str = ""
    privileged: bool = False
    publish_all_ports: bool = False
    readonly_rootfs: bool = False
    security_opt: list[str] | None = None
    storage_opt: dict[str, str] | UnsetType = UNSET
    tmpfs: dict[str, str] | UnsetType = UNSET
    uts_mode: str = field(default="", name="UTSMode")
    userns_mode: str = ""
    shm_size: int = 0
    sysctls: dict[str, str] | UnsetType = UNSET
    runtime: str = ""
    isolation: str = ""
    cpu_shares: int = 0
    memory: int = 0
    nano_cpus: int = 0
    cgroup_parent: str = ""
    blkio_weight: int = 0
    blkio_weight_device: list[WeightDevice] | None = None
    blkio_device_read_bps: list[ThrottleDevice] | None = None
    blkio_device_write_bps: list[ThrottleDevice] | None = None
    blkio_device_read_iops: list[ThrottleDevice] | None = field(default=None, name="BlkioDeviceReadIOps")
    blkio_device_write_iops: list[ThrottleDevice] | None = field(default=None, name="BlkioDeviceWriteIOps")
    cpu_period: int = 0
    cpu_quota: int = 0
    cpu_realtime_period: int = 0
    cpu_realtime_runtime: int = 0
    cpuset_cpus: str = ""
    cpuset_mems: str = ""
    devices: list[DeviceMapping] | None = None
    device_cgroup_rules: list[str] | None = None
    device_requests: list[DeviceRequest] | None = None
    kernel_memory: int | UnsetType = UNSET
    kernel_memory_tcp: int | UnsetType = field(default=UNSET, name="KernelMemoryTCP")
    memory_reservation: int = 0
    memory_swap: int = 0
    memory_swappiness: int | None = None
    oom_kill_disable: bool | None = None
    pids_limit: int | None = None
    ulimits: list[Ulimit] | None = None
    cpu_count: int = 0
    cpu_percent: int = 0
    io_maximum_iops: int = field(default=0, name="IOMaximumIOps")
    io_maximum_bandwidth: int = field(default=0, name="IOMaximumBandwidth")
    mounts: list[MountRequest] | UnsetType = UNSET
    masked_paths: list[str] | None = None
    readonly_paths: list[str] | None = None
    init: bool | UnsetType = UNSET
