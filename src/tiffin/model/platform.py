"""Platforms: operating system, architecture, variant, in Go's names (OCI image specification, image-index.md)."""

import os
import re
from collections.abc import Sequence
from dataclasses import dataclass

from tiffin.errors import Invalid

_ARCHITECTURES = {
    "x86_64": ("amd64", ""), "x86-64": ("amd64", ""), "amd64": ("amd64", ""),
    "aarch64": ("arm64", ""), "arm64": ("arm64", ""),
    "armhf": ("arm", "v7"), "armv7l": ("arm", "v7"), "armel": ("arm", "v6"), "armv6l": ("arm", "v6"),
    "arm": ("arm", "v7"),
    "i386": ("386", ""), "i686": ("386", ""), "386": ("386", ""),
}  # fmt: skip
_SYSTEMS = frozenset((
    "aix", "android", "darwin", "dragonfly", "freebsd", "hurd", "illumos", "ios", "js", "linux", "nacl", "netbsd",
    "openbsd", "plan9", "solaris", "windows", "zos",
))  # fmt: skip
_OTHERS = frozenset((
    "armbe", "arm64be", "loong64", "mips", "mips64", "mips64le", "mipsle", "ppc", "ppc64", "ppc64le", "riscv",
    "riscv64", "s390", "s390x", "sparc", "sparc64", "wasm",
))  # fmt: skip
_COMPONENT = re.compile(r"[A-Za-z0-9_.-]+", re.ASCII)
_NEWEST_ARM = 8
_ANOTHER_ARCHITECTURE = 20  # ranks from here on


@dataclass(frozen=True, slots=True)
class Platform:
    os: str
    architecture: str
    variant: str = ""

    def __str__(self) -> str:
        return "/".join(part for part in (self.os, self.architecture, self.variant) if part)


def normalized(system: str, architecture: str, variant: str = "") -> Platform:
    architecture, implied = _ARCHITECTURES.get(architecture.lower(), (architecture.lower(), ""))
    variant = variant.lower() or implied
    if architecture == "arm64" and variant in ("8", "v8"):
        variant = ""
    if architecture == "amd64" and variant == "v1":
        variant = ""
    if variant.isdigit():
        variant = f"v{variant}"
    return Platform(system.lower(), architecture, variant)


def host_platform() -> Platform:
    return normalized("linux", os.uname().machine)


def parse_platform(text: str) -> Platform:
    """`linux`, `arm64`, `linux/arm/v7`. Invalid otherwise."""
    parts = text.split("/")
    for part in parts:
        if not _COMPONENT.fullmatch(part):
            raise Invalid(
                f'"{part}" is an invalid component of "{text}": platform specifier component must match'
                ' "^[A-Za-z0-9_.-]+$": invalid argument'
            )
    if len(parts) > 3:
        raise Invalid(f'"{text}": cannot parse platform specifier: invalid argument')
    if len(parts) == 1:
        if parts[0].lower() in _SYSTEMS:
            return normalized(parts[0], os.uname().machine)
        if parts[0].lower() in _ARCHITECTURES or parts[0].lower() in _OTHERS:
            return normalized("linux", parts[0])
        raise Invalid(f'"{text}": unknown operating system or architecture: invalid argument')
    return normalized(*parts)


def _arm_variants(wanted: Platform) -> list[str]:
    newest = int(wanted.variant[1:]) if wanted.variant[1:].isdigit() else _NEWEST_ARM
    return [f"v{n}" for n in range(newest, 4, -1)]


def rank(wanted: Platform, offered: Platform) -> int | None:
    """How well `offered` runs where `wanted` is asked for: 0 is exact, more is worse, None is not at all."""
    if offered.os != wanted.os:
        return None
    if offered.architecture == wanted.architecture:
        if offered.variant == wanted.variant:
            return 0
        if wanted.architecture == "arm":
            variants = _arm_variants(wanted)
            return variants.index(offered.variant) + 1 if offered.variant in variants else None
        return 1 if not wanted.variant or not offered.variant else None
    if (wanted.architecture, offered.architecture) == ("amd64", "386"):
        return _ANOTHER_ARCHITECTURE
    if (wanted.architecture, offered.architecture) == ("arm64", "arm"):
        return 30 + _arm_variants(wanted).index(offered.variant) if offered.variant in _arm_variants(wanted) else None
    return None


def same_architecture(wanted: Platform, offered: Platform) -> bool:
    """Whether `offered` is what was asked for, not merely something that runs there too (386 on amd64)."""
    place = rank(wanted, offered)
    return place is not None and place < _ANOTHER_ARCHITECTURE


def choose(wanted: Platform, offered: Sequence[Platform | None]) -> int | None:
    """The index of the best of `offered`; an unknown platform is taken only when nothing else fits."""
    ranked = [(1000 if platform is None else rank(wanted, platform), index) for index, platform in enumerate(offered)]
    usable = [(position, index) for position, index in ranked if position is not None]
    return min(usable)[1] if usable else None
