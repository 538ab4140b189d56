"""What is composed: a distribution out of many packages, or busybox out of one. Nothing here fetches or runs."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from tiffin.errors import Invalid
from tiffin.images.bootstrap import closure, stages, suites
from tiffin.images.bootstrap.packages import Index, Package
from tiffin.images.bootstrap.rootfs import Rootfs
from tiffin.images.bootstrap.suites import Distribution, Source
from tiffin.model.platform import Platform

PATH = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
BUSYBOX = "busybox"
_DEFAULT_VARIANT = "minbase"
_PEOPLE = (
    "root:x:0:0:root:/root:/bin/sh\ndaemon:x:1:1:daemon:/usr/sbin:/bin/false\n"
    "www-data:x:33:33:www-data:/home:/bin/false\nnobody:x:65534:65534:nobody:/home:/bin/false\n"
)
_GROUPS = "root:x:0:\ndaemon:x:1:\nwww-data:x:33:\nusers:x:100:\nnobody:x:65534:\n"
# services stay down while packages are installed: there is no init here, nor in most containers
_POLICY = "#!/bin/sh\nexit 101\n"


@dataclass(frozen=True, slots=True)
class Request:
    """What is asked for. base: `debian:trixie`, `ubuntu`, `busybox`; the rest as the command's flags."""

    base: str
    name: str = ""
    variant: str = ""
    include: tuple[str, ...] = ()
    mirror: str = ""
    security: str = ""
    components: tuple[str, ...] = ()
    keyring: bytes = b""
    allow_expired: bool = False
    network: str = "none"
    platform: Platform | None = None
    """None for this machine's."""


@dataclass(frozen=True, slots=True)
class Chosen:
    """Packages to fetch, and what is done with them.

    essential  unpacked first, by us; `groups` follow, installed by dpkg within the container
    command    what runs in the container; `script` is what it finds there
    """

    essential: tuple[Package, ...]
    groups: tuple[tuple[Package, ...], ...]
    command: tuple[str, ...]
    run: Mapping[str, object]
    files: Mapping[str, tuple[bytes, int]] = field(default_factory=dict)
    script: str = ""

    @property
    def packages(self) -> tuple[Package, ...]:
        return (*self.essential, *(one for group in self.groups for one in group))


def distribution(request: Request, architecture: str) -> Distribution:
    """The archives a request means. Raises Invalid."""
    base, _, tag = request.base.partition(":")
    if base == BUSYBOX:
        if request.include or request.variant:
            raise Invalid("busybox is one package: --include and --variant are for debian and ubuntu")
        base = f"debian:{tag or 'latest'}"
    else:
        base = request.base
    if request.variant and request.variant not in closure.VARIANTS:
        raise Invalid(f"no variant {request.variant!r}: there are {', '.join(closure.VARIANTS)}")
    return suites.distribution(
        base, architecture, mirror=request.mirror, security=request.security, components=request.components
    )


def chosen(request: Request, where: Distribution, sources: Sequence[Source], index: Index, architecture: str) -> Chosen:
    """The packages of an image. Raises NotFound, Conflict, Invalid; see `closure`."""
    if request.base.partition(":")[0] == BUSYBOX:
        return _busybox(index)
    roots = [
        *closure.base(index, request.variant or _DEFAULT_VARIANT),
        *closure.asked_for(index, request.include),
    ]
    packages = closure.resolved(index, roots, architecture)
    essential = stages.reached(packages, [one for one in packages if one.essential])
    groups = stages.waves(packages, essential)
    files: dict[str, tuple[bytes, int]] = {"usr/sbin/policy-rc.d": (_POLICY.encode(), 0o755)}
    if any(one.name == "apt" for one in packages):
        files |= _sources(request, where, sources)
    return Chosen(
        tuple(essential),
        tuple(map(tuple, groups)),
        ("/bin/sh", f"{stages.HERE}/install"),
        {"Cmd": ["bash"], "Env": [PATH]},
        files,
        stages.script(essential, groups),
    )


def _sources(request: Request, where: Distribution, sources: Sequence[Source]) -> dict[str, tuple[bytes, int]]:
    """apt's configuration in the image: the same archives, trusted by the same keys."""
    file, found = where.keyring_file, {}
    if request.keyring:
        suffix = "asc" if request.keyring.lstrip().startswith(b"-----BEGIN") else "gpg"
        file = f"/etc/apt/keyrings/{where.name}.{suffix}"
        found[file.lstrip("/")] = (request.keyring, 0o644)
    text = suites.sources_list(tuple(sources), file)
    return {**found, f"etc/apt/sources.list.d/{where.name}.sources": (text.encode(), 0o644)}


def _busybox(index: Index) -> Chosen:
    return Chosen(
        tuple(closure.asked_for(index, ["busybox-static"])),
        (),
        ("/bin/busybox", "--install", "/bin"),
        {"Cmd": ["sh"], "Env": [PATH]},
        {"etc/passwd": (_PEOPLE.encode(), 0o644), "etc/group": (_GROUPS.encode(), 0o644)},
    )


def first_stage(rootfs: Rootfs, chosen: Chosen, debs: Mapping[str, Path], check: Callable[[], None]) -> None:
    """Write the root file system that the container starts with. debs: by the packages' names.

    check: called between packages; raises when nobody waits any more.
    """
    if not chosen.script:
        _busybox_files(rootfs)
        rootfs.unpack(chosen.essential[0], debs[chosen.essential[0].name], only=_binary)
    else:
        for name, mode in ((b"dev", 0o755), (b"proc", 0o755), (b"sys", 0o755), (b"run", 0o755), (b"tmp", 0o1777)):
            rootfs.directory(name, mode)
        for package in chosen.essential:
            check()
            rootfs.unpack(package, debs[package.name])
        for database in (b"status", b"available"):
            rootfs.file(b"var/lib/dpkg/" + database, b"")
    for path, (content, mode) in chosen.files.items():
        rootfs.file(path.encode(), content, mode)
    rootfs.close()


def _busybox_files(rootfs: Rootfs) -> None:
    for directory in (
        "bin",
        "dev",
        "etc",
        "home",
        "proc",
        "run",
        "sys",
        "usr",
        "usr/bin",
        "usr/sbin",
        "var",
        "var/www",
    ):
        rootfs.directory(directory.encode())
    rootfs.directory(b"root", 0o700)
    rootfs.directory(b"tmp", 0o1777)
    rootfs.link(b"usr/bin/env", b"../../bin/env")  # where scripts look for it


def _binary(name: bytes) -> bytes | None:
    """The one file of busybox-static that the image has, at its place there."""
    return b"bin/busybox" if name in (b"bin/busybox", b"usr/bin/busybox") else None
