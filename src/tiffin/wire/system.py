"""SystemVersion and SystemInfo (API v1.51), with the fields that older clients still read."""

from typing import Any

import msgspec
from msgspec import UNSET, UnsetType, field


class Platform(msgspec.Struct, rename="pascal"):
    """Whose engine this is."""

    name: str


class Component(msgspec.Struct, rename="pascal"):
    """A part of the engine with a version of its own."""

    name: str
    version: str
    details: dict[str, str]


class Version(msgspec.Struct, rename="pascal", kw_only=True):
    """GET /version."""

    platform: Platform
    components: list[Component]
    version: str
    api_version: str
    min_api_version: str = field(name="MinAPIVersion")
    git_commit: str
    go_version: str
    os: str
    arch: str
    kernel_version: str
    build_time: str


class Plugins(msgspec.Struct, rename="pascal"):
    """Names of drivers by kind."""

    volume: list[str]
    network: list[str]
    authorization: list[str] | None
    log: list[str]


class IndexConfig(msgspec.Struct, rename="pascal"):
    """How one registry is reached."""

    name: str
    mirrors: list[str]
    secure: bool
    official: bool


class RegistryConfig(msgspec.Struct, rename="pascal"):
    """How registries are reached."""

    insecure_registry_cidrs: list[str] = field(name="InsecureRegistryCIDRs")
    index_configs: dict[str, IndexConfig]
    mirrors: list[str] | None


class Swarm(msgspec.Struct, rename="pascal"):
    """Always inactive."""

    node_id: str = field(name="NodeID", default="")
    node_addr: str = ""
    local_node_state: str = "inactive"
    control_available: bool = False
    error: str = ""
    remote_managers: None = None


class Commit(msgspec.Struct):
    """A component's commit."""

    id: str = field(name="ID", default="")
    expected: str | UnsetType = field(name="Expected", default=UNSET)


class Runtime(msgspec.Struct, omit_defaults=True):
    """A runtime as `docker info` names it."""

    path: str = ""
    runtime_args: list[str] = field(name="runtimeArgs", default_factory=list)


class AddressPool(msgspec.Struct, rename="pascal"):
    """A default address pool."""

    base: str
    size: int


class Firewall(msgspec.Struct, rename="pascal"):
    """What packets are filtered with."""

    driver: str


class Info(msgspec.Struct, rename="pascal", kw_only=True):
    """GET /info. Fields that are UNSET belong to other API versions than the one asked for."""

    id: str = field(name="ID")
    containers: int
    containers_running: int
    containers_paused: int
    containers_stopped: int
    images: int
    driver: str
    driver_status: list[list[str]]
    plugins: Plugins
    memory_limit: bool
    swap_limit: bool
    kernel_memory: bool | UnsetType = UNSET
    kernel_memory_tcp: bool | UnsetType = field(name="KernelMemoryTCP", default=UNSET)
    cpu_cfs_period: bool
    cpu_cfs_quota: bool
    cpu_shares: bool = field(name="CPUShares")
    cpu_set: bool = field(name="CPUSet")
    pids_limit: bool
    ipv4_forwarding: bool = field(name="IPv4Forwarding")
    bridge_nf_iptables: bool | UnsetType = UNSET
    bridge_nf_ip6tables: bool | UnsetType = UNSET
    debug: bool
    nfd: int = field(name="NFd")
    oom_kill_disable: bool
    goroutines: int = field(name="NGoroutines")
    system_time: str
    logging_driver: str
    cgroup_driver: str
    cgroup_version: str
    events_listener: int = field(name="NEventsListener")
    kernel_version: str
    operating_system: str
    os_version: str = field(name="OSVersion")
    os_type: str = field(name="OSType")
    architecture: str
    index_server_address: str
    registry_config: RegistryConfig
    ncpu: int = field(name="NCPU")
    mem_total: int
    generic_resources: list[Any] | None = None
    docker_root_dir: str
    http_proxy: str
    https_proxy: str
    no_proxy: str
    name: str
    labels: list[str]
    experimental_build: bool
    server_version: str
    runtimes: dict[str, Runtime]
    default_runtime: str
    swarm: Swarm
    live_restore_enabled: bool
    isolation: str = ""
    init_binary: str
    containerd_commit: Commit
    runc_commit: Commit
    init_commit: Commit
    security_options: list[str]
    default_address_pools: list[AddressPool] | UnsetType = UNSET
    firewall_backend: Firewall | UnsetType = UNSET
    cdi_spec_dirs: list[str] = field(name="CDISpecDirs")
    warnings: list[str] | None
