"""What one domain asks of another, answered: small objects, so that no domain imports another."""

from __future__ import annotations

import asyncio
import os
import shutil
from collections.abc import Callable, Iterator, Mapping
from typing import Protocol

from tiffin.containers.records import Records
from tiffin.content.ledger import Ledger
from tiffin.daemon.config import Config
from tiffin.daemon.host_defaults import host_defaults
from tiffin.daemon.roots import Roots
from tiffin.engine.container_context import Settings
from tiffin.engine.container_external import BUILT_IN, KNOWN
from tiffin.engine.events import Events
from tiffin.engine.transfers import Transfers
from tiffin.errors import Invalid
from tiffin.images.events import User
from tiffin.images.pulling import Pulls
from tiffin.images.pushing import Pushes
from tiffin.images.service import Images
from tiffin.model.container import Container
from tiffin.model.container_host import LogConfig
from tiffin.model.container_status import is_running
from tiffin.model.digest import Digest
from tiffin.model.network import Network
from tiffin.model.reference import DEFAULT_DOMAIN
from tiffin.model.volume import Volume
from tiffin.networks.addresses import parse_space
from tiffin.networks.definition import Defaults
from tiffin.registry.access import Registries
from tiffin.registry.hosts import Hosts, check_mirror
from tiffin.registry.provenance import Provenance
from tiffin.registry.session import Retries
from tiffin.registry.transport import Proxies, Transport


class ImageUsers:
    """Tells images which containers need them."""

    def __init__(self, records: Records) -> None:
        self._records = records

    def using(self, image: Digest) -> list[User]:
        """The containers made from an image, and those that have it mounted."""
        return [
            User(one.id, is_running(one.status), one.created / 1e9)
            for one in tuple(self._records)
            if one.image_id == image or image in _mounted(one)
        ]

    def chains(self) -> Iterator[Digest]:
        """Layers that containers stand on, be their image removed or not."""
        for one in tuple(self._records):
            if one.chain is not None:
                yield Digest(one.chain)


def _mounted(container: Container) -> set[str]:
    """The images that are mounted into a container."""
    return {point.request.source for point in container.mounts if point.type == "image" and point.request}


class Publish(Protocol):
    """Publishes from any thread."""

    def __call__(self, type: str, action: str, actor: str, attributes: Mapping[str, str]) -> None: ...


def from_threads(events: Events) -> Publish:
    """`events.publish` for domains that work in threads; in order with what the loop publishes itself."""
    loop = asyncio.get_running_loop()

    def publish(type: str, action: str, actor: str, attributes: Mapping[str, str]) -> None:
        loop.call_soon_threadsafe(events.publish, type, action, actor, attributes)

    return publish


def of_images(events: Events) -> Callable[[str, str, Mapping[str, str]], None]:
    """How images tell what happened to them."""
    publish = from_threads(events)
    return lambda action, actor, attributes: publish("image", action, actor, attributes)


def of_volumes(events: Events) -> Callable[[str, Volume], None]:
    """How volumes tell what happened to them."""
    publish = from_threads(events)
    return lambda action, volume: publish("volume", action, volume.name, {"driver": volume.driver})


def of_networks(events: Events) -> Callable[[str, Network, str], None]:
    """How networks tell what happened to them, on the loop."""

    def tell(action: str, network: Network, container_id: str) -> None:
        who = {"container": container_id} if container_id else {}
        events.publish("network", action, network.id, {**who, "name": network.name, "type": network.driver})

    return tell


def network_defaults(config: Config) -> Defaults:
    """The options that are about networks."""
    return Defaults(
        bridge=config.bridge or "tiffin0",
        bip=config.bip,
        fixed_cidr=config.fixed_cidr,
        spaces=tuple(parse_space(f"base={base},size={size}") for base, size in config.address_pools),
        mtu=config.mtu,
        icc=config.icc,
        masquerade=config.ip_masq,
        host_ip="" if config.ip == "0.0.0.0" else config.ip,
        ipv6=config.ipv6,
        bip6=config.bip6,
        fixed_cidr_v6=config.fixed_cidr_v6,
        options={
            driver: {key: str(value) for key, value in options.items()}
            for driver, options in config.default_network_opts.items()
        },
    )


def runtimes(config: Config) -> dict[str, str]:
    """Name → executable: the one built in, those installed that docker's users name, those configured.

    Raises Invalid when the default runtime is none of them.
    """
    found = {BUILT_IN: "tiffin-runtime"}
    found |= {name: path for name in sorted(KNOWN) if (path := shutil.which(name))}
    for name, given in config.runtimes.items():
        if name == BUILT_IN:
            raise Invalid(f"runtime name '{BUILT_IN}' is reserved")
        if not isinstance(given, Mapping) or not given.get("path"):
            raise Invalid(f"runtime {name}: give its path")
        if given.get("runtimeArgs") or given.get("options"):
            raise Invalid(f"runtime {name}: runtimeArgs and options are not supported; name a script that adds them")
        found[name] = str(given["path"])
    if config.default_runtime not in found:
        raise Invalid(f"specified default runtime '{config.default_runtime}' does not exist")
    return found


def container_settings(config: Config, roots: Roots) -> Settings:
    """The options that are about containers."""
    given = {name: str(value) for name, value in config.log_opts.items()}
    return Settings(
        data_root=roots.data,
        exec_root=roots.state,
        default_runtime=config.default_runtime,
        runtimes={name: path for name, path in runtimes(config).items() if name != BUILT_IN},
        default_log=LogConfig(config.log_driver, given),
        cgroup_parent=config.cgroup_parent or "/tiffin",
        cdi_directories=config.cdi_spec_dirs,
        init=config.init,
        host_defaults=host_defaults(config),
    )


def registry_hosts(config: Config) -> Hosts:
    """Mirrors and insecure registries; `registry-mirrors` is docker.io's, as docker has it."""
    mirrors = {host: tuple(check_mirror(url, path=True) for url in urls) for host, urls in config.mirrors.items()}
    hub = tuple(check_mirror(url) for url in config.registry_mirrors)
    if hub:
        mirrors[DEFAULT_DOMAIN] = (*hub, *mirrors.get(DEFAULT_DOMAIN, ()))
    return Hosts(config.insecure_registries, mirrors)


def transfers(config: Config, images: Images, ledger: Ledger) -> Transfers:
    """What talks to registries. Made before the first sweep: it knows blobs that are to be kept."""
    environment = os.environ.get
    proxies = Proxies(
        config.http_proxy or environment("HTTP_PROXY", "") or environment("http_proxy", ""),
        config.https_proxy or environment("HTTPS_PROXY", "") or environment("https_proxy", ""),
        config.no_proxy or environment("NO_PROXY", "") or environment("no_proxy", ""),
    )
    retries = Retries(config.max_download_attempts)
    registries = Registries(registry_hosts(config), Transport(proxies), retries)
    provenance = Provenance(ledger)
    provenance.keep_only(images.blobs.digests())
    pulls = Pulls(
        images,
        ledger,
        registries,
        provenance,
        at_once=config.max_concurrent_downloads,
        referrers=config.pull_referrers,
    )
    pushes = Pushes(images, registries, provenance, at_once=config.max_concurrent_uploads)
    return Transfers(registries, pulls, pushes)
