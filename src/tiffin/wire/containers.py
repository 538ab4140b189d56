"""The shapes of /containers (Engine API v1.51). Attribute names are those of `model.container`."""

from typing import Any

from msgspec import UNSET, Struct, UnsetType, field

from tiffin.wire.containers_host import HostConfig, rename

Ports = dict[str, dict[str, Any]]


class Healthcheck(Struct, rename=rename, kw_only=True, omit_defaults=True):
    test: list[str] | None = None
    interval: int = 0
    timeout: int = 0
    start_period: int = 0
    start_interval: int = 0
    retries: int = 0


class Config(Struct, rename=rename, kw_only=True):
    hostname: str = ""
    domainname: str = ""
    user: str = ""
    attach_stdin: bool = False
    attach_stdout: bool = False
    attach_stderr: bool = False
    exposed_ports: Ports | UnsetType = UNSET
    tty: bool = False
    open_stdin: bool = False
    stdin_once: bool = False
    env: list[str] | None = None
    cmd: list[str] | str | None = None
    healthcheck: Healthcheck | UnsetType = UNSET
    args_escaped: bool | UnsetType = UNSET
    image: str = ""
    volumes: Ports | None = None
    working_dir: str = ""
    entrypoint: list[str] | str | None = None
    network_disabled: bool | UnsetType = UNSET
    mac_address: str | UnsetType = UNSET
    on_build: list[str] | None = None
    labels: dict[str, str] | None = None
    stop_signal: str | UnsetType = UNSET
    stop_timeout: int | UnsetType = UNSET
    shell: list[str] | UnsetType = UNSET


class EndpointIPAM(Struct, rename=rename, kw_only=True, omit_defaults=True):
    ipv4_address: str = field(default="", name="IPv4Address")
    ipv6_address: str = field(default="", name="IPv6Address")
    link_local_ips: list[str] | None = field(default=None, name="LinkLocalIPs")


class EndpointRequest(Struct, rename=rename, kw_only=True):
    ipam_config: EndpointIPAM | None = field(default=None, name="IPAMConfig")
    links: list[str] | None = None
    aliases: list[str] | None = None
    mac_address: str = ""
    driver_opts: dict[str, str] | None = None
    gw_priority: int = 0


class NetworkingConfig(Struct, rename=rename, kw_only=True):
    endpoints_config: dict[str, EndpointRequest | None] | None = None


class CreateBody(Config, rename=rename, kw_only=True):
    host_config: HostConfig = field(default_factory=HostConfig)
    runtime: str = ""  # docker-py writes it here
    networking_config: NetworkingConfig = field(default_factory=NetworkingConfig)


class UpdateBody(HostConfig, rename=rename, kw_only=True):
    """POST …/update: any of the limits, and the restart policy."""


class ExecCreate(Struct, rename=rename, kw_only=True):
    attach_stdin: bool = False
    attach_stdout: bool = False
    attach_stderr: bool = False
    detach_keys: str = ""
    tty: bool = False
    env: list[str] | None = None
    cmd: list[str] | str | None = None
    privileged: bool = False
    user: str = ""
    working_dir: str = ""
    console_size: tuple[int, int] | None = None


class ExecStart(Struct, rename=rename, kw_only=True):
    detach: bool = False
    tty: bool = False
    console_size: tuple[int, int] | None = None


class Created(Struct, rename=rename):
    id: str = field(name="Id")
    warnings: list[str] = field(default_factory=list)


class MountPoint(Struct, rename=rename, kw_only=True):
    """Of inspect and the list; Name and Driver are a volume's only."""

    type: str
    name: str | UnsetType = UNSET
    source: str
    destination: str
    driver: str | UnsetType = UNSET
    mode: str
    rw: bool = field(name="RW")
    propagation: str


class Probe(Struct, rename=rename):
    start: str
    end: str
    exit_code: int
    output: str


class Health(Struct, rename=rename):
    status: str
    failing_streak: int
    log: list[Probe] | None


class State(Struct, rename=rename, kw_only=True):
    status: str
    running: bool
    paused: bool
    restarting: bool
    oom_killed: bool = field(name="OOMKilled")
    dead: bool
    pid: int
    exit_code: int
    error: str
    started_at: str
    finished_at: str
    health: Health | UnsetType = UNSET
