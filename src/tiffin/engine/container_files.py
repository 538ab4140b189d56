"""What the engine keeps for a container and mounts into it: its hostname, hosts, resolv.conf, a shared /dev/shm."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import BinaryIO

from tiffin.linux import mounts
from tiffin.model.container import Container
from tiffin.model.network import Endpoint, Endpoints
from tiffin.networks import files

_NOSUID_NODEV_NOEXEC = 2 | 4 | 8
_MNT_DETACH = 2

_LARGEST = 1 << 20  # bytes; a container may have written to its files

MOUNTED = ("resolv.conf", "hostname", "hosts")


def contents(
    container: Container,
    endpoints: Endpoints | None,
    host_gateway: str,
    links: Sequence[tuple[str, Sequence[str]]] = (),
) -> dict[str, str]:
    """What they say at a start: on the host's network what the host's own say, else what the endpoints make of it."""
    host, config = container.host, container.config
    if host.network_mode == "host":
        extra = files.hosts(None, hostname="", extra=host.extra_hosts or (), host_gateway=host_gateway)
        names = _host_file("/etc/hosts") + extra.removeprefix(files.hosts(None, hostname=""))
    else:
        names = files.hosts(
            endpoints,
            hostname=config.hostname,
            domainname=config.domainname,
            extra=host.extra_hosts or (),
            host_gateway=host_gateway,
            links=links,
        )
    return {"hostname": config.hostname + "\n", "hosts": names, "resolv.conf": resolver(container, endpoints)}


def resolver(container: Container, endpoints: Endpoints | None) -> str:
    """Its resolv.conf."""
    host = container.host
    on_host = host.network_mode == "host"
    if on_host and not (host.dns or host.dns_search or host.dns_options):
        return _host_file("/etc/resolv.conf")
    return files.resolv_conf(
        files.host_resolv_conf(),
        nameservers=host.dns or (),
        search=host.dns_search or (),
        options=host.dns_options or (),
        keep_loopback=on_host,
        embedded=endpoints is not None and endpoints.named,
    )


def change_hosts(
    directory: Path, container: Container, *, added: Endpoint | None = None, gone: Endpoint | None = None
) -> None:
    """Add or take out the lines of an endpoint; what else is in there stays, whoever wrote it."""
    config = container.config
    lines = files.own_lines(added, config.hostname, config.domainname) if added is not None else ""
    dropped = {address for address in (gone.ipv4, gone.ipv6) if address} if gone is not None else frozenset[str]()
    with _opened(directory / "hosts") as file:
        text = file.read(_LARGEST).decode("utf-8", "surrogateescape")
        kept = [line for line in text.splitlines(keepends=True) if line.split("\t")[0] not in dropped]
        _replace(file, "".join(kept) + lines)


def change_link(directory: Path, address: str, names: Sequence[str]) -> None:
    """Lead the names of a linked container to another address."""
    with _opened(directory / "hosts") as file:
        text = file.read(_LARGEST).decode("utf-8", "surrogateescape")
        tail = f"\t{' '.join(names)}\n"
        changed = [address + tail if line.endswith(tail) else line for line in text.splitlines(keepends=True)]
        if "".join(changed) != text:
            _replace(file, "".join(changed))


def exchange(path: Path, before: str, after: str) -> None:
    """Replace a file's text, unless the container has changed it."""
    with _opened(path) as file:
        if file.read(_LARGEST) == before.encode():
            _replace(file, after)


def _opened(path: Path) -> BinaryIO:
    # the container writes to this inode as it likes, but has no say in what lies here
    return open(os.open(path, os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC), "r+b")


def _replace(file: BinaryIO, text: str) -> None:
    data = text.encode("utf-8", "surrogateescape")
    file.seek(0)
    file.write(data)
    file.truncate(len(data))


def _host_file(path: str) -> str:
    try:
        return Path(path).read_text()
    except FileNotFoundError:
        return ""


def write(directory: Path, contents: dict[str, str]) -> dict[str, str]:
    """Write files into a container's directory; gives where each is to be mounted: `/etc/NAME` → path.

    They are rewritten in place, as a running container has the inode mounted. None is durable: the next start writes
    them again.
    """
    found = {}
    for name, text in contents.items():
        path = str(directory / name)
        fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o644)
        try:
            os.write(fd, text.encode())
        finally:
            os.close(fd)
        found[f"/etc/{name}"] = path
    return found


def blank(directory: Path) -> dict[str, str]:
    """Where `write` will put them, as it says it: they are there, and as they were, or empty."""
    make_directory(directory, 0o710)
    found = {}
    for name in sorted(MOUNTED):
        path = found[f"/etc/{name}"] = str(directory / name)
        os.close(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o644))
    return found


def make_directory(path: Path, mode: int) -> None:
    """A directory of the engine's own; its parents exist or are made for root alone."""
    try:
        os.mkdir(path, mode)
    except FileExistsError:
        return
    except FileNotFoundError:
        make_directory(path.parent, 0o711)
        os.mkdir(path, mode)


def mount_shm(state: Path, size: int) -> str:
    """A tmpfs on the host for an ipc namespace that others join; gives its path."""
    path = state / "shm"
    if not os.path.ismount(path):
        make_directory(path, 0o1777)
        data = f"mode=1777,size={size}".encode()
        mounts.mount(b"shm", os.fsencode(path), b"tmpfs", _NOSUID_NODEV_NOEXEC, data)
    return str(path)


def drop_shm(state: Path) -> None:
    """Detach it; whoever has it mounted keeps it."""
    path = state / "shm"
    try:
        mounts.umount(os.fsencode(path), _MNT_DETACH)
    except OSError:
        return
    os.rmdir(path)
