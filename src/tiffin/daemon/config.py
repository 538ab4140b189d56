"""The daemon's configuration: dockerd's options under their own names, as one frozen value.

Each field is an option of the command line (`data_root` is `--data-root`) and a key of daemon.json; where the file's
key or the flag differs, the field's metadata says so. `options` reads both.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from tiffin.containers.cdi import DIRECTORIES

DEFAULT_FILE = "/etc/tiffin/daemon.json"


def _option(
    default: Any, help: str, *, flag: str = "", short: str = "", key: str | None = None, flagged: bool = True
) -> Any:
    """`flag` and `key` default to the field's name with dashes; key "" keeps it out of the file, `flagged` in it."""
    data = {"help": help, "flag": flag, "short": short, "key": key, "flagged": flagged}
    return field(default=default, metadata=data)


def _map_option(help: str, *, flag: str = "", key: str | None = None, flagged: bool = True) -> Any:
    data = {"help": help, "flag": flag, "short": "", "key": key, "flagged": flagged}
    return field(default_factory=dict, metadata=data)


@dataclass(frozen=True, slots=True)
class Config:
    """What the daemon was told. Values are as given; `Config()` is all defaults."""

    config_file: str = _option(DEFAULT_FILE, "the configuration file", key="")
    validate: bool = _option(False, "check the configuration and exit", key="")
    hosts: tuple[str, ...] = _option((), "sockets to listen on: unix://, tcp://, fd://", flag="host", short="H")
    group: str = _option("docker", "group of the unix socket", short="G")
    data_root: str = _option("/var/lib/tiffin", "where images, containers and volumes are kept")
    exec_root: str = _option("/run/tiffin", "where the state of running containers is kept")
    pidfile: str = _option("", "file for the daemon's process ID", short="p")
    debug: bool = _option(False, "log everything", short="D")
    log_level: str = _option("info", "debug, info, warn, error or fatal", short="l")
    tls: bool = _option(False, "use TLS on tcp sockets; implied by --tlsverify")
    tlsverify: bool = _option(False, "use TLS and verify the client")
    tlscacert: str = _option("", "trust certificates signed by this CA")
    tlscert: str = _option("", "the daemon's certificate")
    tlskey: str = _option("", "the daemon's key")
    allow_insecure_tcp: bool = _option(False, "serve tcp without TLS on addresses other than loopback")

    storage_driver: str = _option("", "erofs, overlay or copy", short="s")
    storage_opts: tuple[str, ...] = _option((), "options for the storage driver", flag="storage-opt")
    insecure_registries: tuple[str, ...] = _option((), "registries without TLS", flag="insecure-registry")
    registry_mirrors: tuple[str, ...] = _option((), "mirrors of docker.io", flag="registry-mirror")
    mirrors: Mapping[str, Any] = _map_option("mirrors of any registry: host to URLs, * for all others", flagged=False)
    pull_referrers: bool = _option(False, "pull the signatures and attestations that refer to an image, too")
    max_concurrent_downloads: int = _option(3, "layers a pull fetches at once")
    max_concurrent_uploads: int = _option(5, "layers a push sends at once")
    max_download_attempts: int = _option(5, "attempts at a layer")

    default_runtime: str = _option("tiffin", "runtime of containers that name none")
    runtimes: Mapping[str, Any] = _map_option("another OCI runtime: name=path", flag="add-runtime")
    cgroup_parent: str = _option("", "parent of the containers' cgroups")
    default_cgroupns_mode: str = _option("", "host or private")
    default_ipc_mode: str = _option("private", "private or shareable")
    default_shm_size: str = _option("64M", "size of /dev/shm")
    default_ulimits: Mapping[str, Any] = _map_option("ulimit: name=soft[:hard]", flag="default-ulimit")
    exec_opts: tuple[str, ...] = _option((), "options such as native.cgroupdriver=cgroupfs", flag="exec-opt")
    cdi_spec_dirs: tuple[str, ...] = _option(DIRECTORIES, "where CDI specifications are", flag="cdi-spec-dir")
    init: bool = _option(False, "run an init in every container")
    init_path: str = _option("", "the init")
    seccomp_profile: str = _option("", "path of the default seccomp profile")
    no_new_privileges: bool = _option(False, "set no_new_privs in every container")
    oom_score_adjust: int = _option(0, "oom_score_adj of the daemon")
    log_driver: str = _option("json-file", "json-file, local, journald or none")
    log_opts: Mapping[str, Any] = _map_option("option of the log driver: name=value", flag="log-opt")
    labels: tuple[str, ...] = _option((), "label of the daemon", flag="label")
    live_restore: bool = _option(True, "keep containers running without the daemon")
    shutdown_timeout: int = _option(15, "seconds containers get to stop, where they are stopped with the daemon")
    experimental: bool = _option(False, "announce experimental features")
    features: Mapping[str, Any] = _map_option("switches", flagged=False)
    proxies: Mapping[str, Any] = _map_option("http-proxy, https-proxy, no-proxy", flagged=False)
    http_proxy: str = _option("", "proxy for registries", key="")
    https_proxy: str = _option("", "proxy for registries", key="")
    no_proxy: str = _option("", "hosts that need no proxy", key="")

    bridge: str = _option("", "an existing bridge, or none", short="b")
    bip: str = _option("", "address of the default bridge, as 172.17.0.1/16")
    bip6: str = _option("", "IPv6 address of the default bridge")
    fixed_cidr: str = _option("", "addresses for containers on the default bridge")
    fixed_cidr_v6: str = _option("", "IPv6 addresses for containers on the default bridge")
    default_gateway: str = _option("", "gateway of the default bridge")
    default_gateway_v6: str = _option("", "IPv6 gateway of the default bridge")
    default_address_pools: tuple[Any, ...] = _option((), "base=CIDR,size=BITS", flag="default-address-pool")
    default_network_opts: Mapping[str, Any] = _map_option("driver=option=value", flag="default-network-opt")
    mtu: int = _option(1500, "MTU of the default bridge")
    icc: bool = _option(True, "let containers on the default bridge reach each other")
    ip: str = _option("0.0.0.0", "address that ports are published on")
    ip_forward: bool = _option(True, "switch net.ipv4.ip_forward on")
    ip_masq: bool = _option(True, "masquerade the bridges' addresses")
    iptables: bool = _option(True, "add packet filter rules (nftables)")
    ip6tables: bool = _option(True, "add IPv6 packet filter rules (nftables)")
    ipv6: bool = _option(False, "IPv6 on the default bridge")
    userland_proxy: bool = _option(True, "relay published ports for connections from loopback")
    dns: tuple[str, ...] = _option((), "DNS servers")
    dns_opts: tuple[str, ...] = _option((), "DNS options", flag="dns-opt")
    dns_search: tuple[str, ...] = _option((), "DNS search domains")
    host_gateway_ips: tuple[str, ...] = _option((), "address of host-gateway", flag="host-gateway-ip")

    selinux_enabled: bool = _option(False, "not supported")
    userns_remap: str = _option("", "not supported")
    metrics_addr: str = _option("", "not supported")

    @property
    def level(self) -> str:
        """The log level, debug included."""
        return "debug" if self.debug else self.log_level

    @property
    def addresses(self) -> tuple[str, ...]:
        """Where to listen."""
        return self.hosts or (f"unix://{os.path.join(self.exec_root, 'tiffin.sock')}",)

    @property
    def address_pools(self) -> tuple[tuple[str, int], ...]:
        """The default address pools as (base, size)."""
        return tuple((str(pool["base"]), int(pool["size"])) for pool in self.default_address_pools)
