"""The engine about itself: ping, version, info, disk usage."""

import os
from datetime import UTC, datetime

from msgspec import UNSET

from tiffin.engine import system
from tiffin.engine.system import Machine
from tiffin.http import response
from tiffin.http.request import Request
from tiffin.http.response import Response
from tiffin.http.router import MAXIMUM, MINIMUM, route, spelled
from tiffin.http.services import Services
from tiffin.wire import system as wire

_PING_HEADERS = {"Builder-Version": "2", "Cache-Control": "no-cache, no-store, must-revalidate", "Pragma": "no-cache"}
_HUB = "https://index.docker.io/v1/"
_LOG_DRIVERS = ["journald", "json-file", "local"]
# the only thing that clients (buildx, pack) look for here: whether images may be indexes, with attestations
_STORE = ("driver-type", "io.containerd.snapshotter.v1")


@route("GET", "/_ping")
@route("HEAD", "/_ping")
async def ping(request: Request) -> Response:
    """`OK`, and what a client negotiates with in the headers."""
    return response.raw(b"" if request.method == "HEAD" else b"OK", headers={**_PING_HEADERS, "Swarm": "inactive"})


@route("GET", "/version")
async def version(request: Request) -> Response:
    """Versions of the engine and of its parts."""
    services: Services = request.services
    machine = services.machine
    details = {
        "ApiVersion": spelled(MAXIMUM),
        "Arch": machine.architecture,
        "BuildTime": "",
        "Experimental": "true" if services.settings.experimental else "false",
        "GitCommit": "",
        "GoVersion": system.python(),
        "KernelVersion": machine.kernel,
        "MinAPIVersion": spelled(MINIMUM),
        "Os": "linux",
    }
    return response.json(
        wire.Version(
            platform=wire.Platform("tiffin"),
            components=[wire.Component("Engine", system.VERSION, details)],
            version=system.VERSION,
            api_version=spelled(MAXIMUM),
            min_api_version=spelled(MINIMUM),
            git_commit="",
            go_version=system.python(),
            os="linux",
            arch=machine.architecture,
            kernel_version=machine.kernel,
            build_time="",
        )
    )


@route("GET", "/info")
async def info(request: Request) -> Response:
    """Everything `docker info` prints, in the shape of the API version asked for."""
    services: Services = request.services
    machine, settings = services.machine, services.settings
    census = services.census()
    has = machine.cgroup_controllers
    limits_memory = "memory" in has
    schedules = "cpu" in has
    bridged = UNSET if request.since("1.50") else True
    first_version = machine.cgroup_version == 1
    commit = wire.Commit(expected=UNSET if request.since("1.49") else "")
    told = wire.Info(
        id=services.identity,
        containers=census.running + census.paused + census.stopped,
        containers_running=census.running,
        containers_paused=census.paused,
        containers_stopped=census.stopped,
        images=census.images,
        driver=services.storage_driver,
        driver_status=[list(_STORE)],
        plugins=wire.Plugins(services.volumes.drivers(), services.networks.drivers(), None, _LOG_DRIVERS),
        memory_limit=limits_memory,
        swap_limit=machine.swap_accounting,
        kernel_memory=UNSET if request.since("1.42") else False,
        kernel_memory_tcp=UNSET if request.since("1.42") and not first_version else first_version,
        cpu_cfs_period=schedules,
        cpu_cfs_quota=schedules,
        cpu_shares=schedules,
        cpu_set="cpuset" in has,
        pids_limit="pids" in has,
        ipv4_forwarding=system.ip_forwarding(),
        bridge_nf_iptables=bridged,
        bridge_nf_ip6tables=bridged,
        debug=settings.debug,
        nfd=system.open_descriptors(),
        oom_kill_disable=first_version and limits_memory,
        goroutines=len(os.listdir("/proc/self/task")),
        system_time=datetime.now(UTC).isoformat().replace("+00:00", "Z"),
        logging_driver=settings.log_driver,
        cgroup_driver=settings.cgroup_driver,
        cgroup_version=str(machine.cgroup_version),
        events_listener=services.events.followers,
        kernel_version=machine.kernel,
        operating_system=machine.operating_system,
        os_version=machine.os_version,
        os_type="linux",
        architecture=machine.machine,
        index_server_address=_HUB,
        registry_config=_registries(services),
        ncpu=machine.processors,
        mem_total=machine.memory,
        docker_root_dir=settings.root,
        http_proxy=settings.http_proxy,
        https_proxy=settings.https_proxy,
        no_proxy=settings.no_proxy,
        name=machine.name,
        labels=list(settings.labels),
        experimental_build=settings.experimental,
        server_version=system.VERSION,
        runtimes=_runtimes(services),
        default_runtime=settings.default_runtime,
        swarm=wire.Swarm(),
        live_restore_enabled=settings.live_restore,
        init_binary=settings.init_path,
        containerd_commit=commit,
        runc_commit=commit,
        init_commit=commit,
        security_options=_security(services),
        default_address_pools=[wire.AddressPool(*pool) for pool in settings.address_pools] or UNSET,
        firewall_backend=wire.Firewall("nftables") if request.since("1.49") else UNSET,
        cdi_spec_dirs=list(settings.cdi_directories),
        warnings=[*_lacks(machine), *settings.warnings, *(f"WARNING: {one}" for one in services.networks.warnings())]
        or None,
    )
    return response.json(told)


def _registries(services: Services) -> wire.RegistryConfig:
    settings = services.settings
    indexes = {"docker.io": wire.IndexConfig("docker.io", list(settings.registry_mirrors), True, True)}
    networks = [name for name in settings.insecure_registries if "/" in name]
    for name in settings.insecure_registries:
        if "/" not in name:
            indexes[name] = wire.IndexConfig(name, [], False, False)
    return wire.RegistryConfig(["::1/128", "127.0.0.0/8", *networks], indexes, list(settings.registry_mirrors) or None)


def _runtimes(services: Services) -> dict[str, wire.Runtime]:
    return {name: wire.Runtime(path, list(arguments)) for name, (path, arguments) in services.settings.runtimes.items()}


def _security(services: Services) -> list[str]:
    machine, settings = services.machine, services.settings
    options = []
    if machine.seccomp:
        options.append(f"name=seccomp,profile={settings.seccomp_profile}")
    if settings.rootless:
        options.append("name=rootless")
    if settings.user_namespace:
        options.append("name=userns")
    if machine.cgroup_version == 2:
        options.append("name=cgroupns")
    return options


def _lacks(machine: Machine) -> list[str]:
    """docker's warnings about what the kernel doesn't offer."""
    has = machine.cgroup_controllers
    warnings = []
    if "memory" not in has:
        warnings.append("WARNING: No memory limit support")
    if not machine.swap_accounting:
        warnings.append("WARNING: No swap limit support")
    if "cpu" not in has:
        warnings += ["WARNING: No cpu cfs quota support", "WARNING: No cpu shares support"]
    if "cpuset" not in has:
        warnings.append("WARNING: No cpuset support")
    if "pids" not in has:
        warnings.append("WARNING: No pids limit support")
    if not system.ip_forwarding():
        warnings.append("WARNING: IPv4 forwarding is disabled")
    return warnings
