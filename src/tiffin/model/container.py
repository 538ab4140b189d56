"""What a container is asked to be: the process half of the create body, its health check and its networks.

Field names are the Engine API's (v1.51, `ContainerConfig`) in Python's spelling; None where the API tells null from
empty. The host's half (limits, mounts, namespaces) is in `container_host`, what becomes of it in `container_status`.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import NewType

from tiffin.model.container_host import HostConfig, MountPoint
from tiffin.model.container_status import Created, Health, Status
from tiffin.model.digest import Digest

ContainerId = NewType("ContainerId", str)


@dataclass(frozen=True, slots=True)
class Healthcheck:
    """A probe: `test` is `("NONE",)`, `("CMD", argv…)` or `("CMD-SHELL", line)`; times in nanoseconds, 0 inherits."""

    test: tuple[str, ...] | None = None
    interval: int = 0
    timeout: int = 0
    start_period: int = 0
    start_interval: int = 0
    retries: int = 0


@dataclass(frozen=True, slots=True)
class Config:
    """What the image and the request together say about the process."""

    hostname: str = ""
    domainname: str = ""
    user: str = ""
    attach_stdin: bool = False
    attach_stdout: bool = False
    attach_stderr: bool = False
    exposed_ports: Mapping[str, Mapping[str, str]] | None = None
    tty: bool = False
    open_stdin: bool = False
    stdin_once: bool = False
    env: tuple[str, ...] | None = None
    cmd: tuple[str, ...] | None = None
    healthcheck: Healthcheck | None = None
    args_escaped: bool = False
    image: str = ""
    volumes: Mapping[str, Mapping[str, str]] | None = None
    working_dir: str = ""
    entrypoint: tuple[str, ...] | None = None
    network_disabled: bool = False
    mac_address: str = ""
    on_build: tuple[str, ...] | None = None
    labels: Mapping[str, str] | None = None
    stop_signal: str = ""
    stop_timeout: int | None = None
    shell: tuple[str, ...] | None = None


@dataclass(frozen=True, slots=True)
class EndpointIPAM:
    """Addresses that the request wants on one network."""

    ipv4_address: str = ""
    ipv6_address: str = ""
    link_local_ips: tuple[str, ...] | None = None


@dataclass(frozen=True, slots=True)
class EndpointRequest:
    """How the container shall be on one network (API `EndpointSettings`, the part a client may set)."""

    ipam_config: EndpointIPAM | None = None
    links: tuple[str, ...] | None = None
    aliases: tuple[str, ...] | None = None
    mac_address: str = ""
    driver_opts: Mapping[str, str] | None = None
    gw_priority: int = 0


@dataclass(frozen=True, slots=True)
class Container:
    """One container's record. Replaced, never changed; `status` says where it is in its life.

    Times are nanoseconds since the epoch. `path` and `args` are what will be executed. `image_id` is the image's
    digest with its algorithm; `config.image` the name that the request gave.
    """

    id: ContainerId
    name: str
    created: int
    image_id: str
    config: Config
    host: HostConfig
    path: str
    args: tuple[str, ...]
    driver: str
    networks: Mapping[str, EndpointRequest] = field(default_factory=dict)
    mounts: tuple[MountPoint, ...] = ()
    chain: Digest | None = None
    platform: str = "linux"
    status: Status = field(default_factory=Created)
    restart_count: int = 0
    manually_stopped: bool = False
    health: Health | None = None
    pristine: bool = True  # nothing has written to its layer since it was prepared

    @property
    def short_id(self) -> str:
        return self.id[:12]
