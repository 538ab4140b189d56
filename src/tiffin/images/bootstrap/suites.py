"""What `debian:trixie` means: which archives, which components, whose keys."""

from dataclasses import dataclass, replace

from tiffin.errors import Invalid, Unsupported
from tiffin.model.platform import Platform

_STABLE = ("stable", "oldstable", "bullseye", "bookworm", "trixie")
_DEBIAN_NUMBERS = {"latest": "stable", "11": "bullseye", "12": "bookworm", "13": "trixie", "14": "forky"}
_UBUNTU_NUMBERS = {"latest": "noble", "22.04": "jammy", "24.04": "noble", "25.10": "questing", "26.04": "resolute"}
_ARCHITECTURES = {"386": "i386", "arm": "armhf", "ppc64le": "ppc64el"}  # the others have one name everywhere


@dataclass(frozen=True, slots=True)
class Source:
    """One suite of one archive. optional: an archive may do without it."""

    url: str
    suite: str
    components: tuple[str, ...]
    optional: bool = False

    def __str__(self) -> str:
        return f"{self.url} {self.suite}"


@dataclass(frozen=True, slots=True)
class Distribution:
    """keyring: the shipped one that its archives are signed by. keyring_file: where its packages keep the same."""

    name: str
    suite: str
    sources: tuple[Source, ...]
    keyring: str
    keyring_file: str


def distribution(
    text: str, architecture: str, *, mirror: str = "", security: str = "", components: tuple[str, ...] = ()
) -> Distribution:
    """`debian`, `debian:13`, `ubuntu:noble`. Raises Invalid.

    mirror takes the place of the distribution's own archive. Updates are on the same; security updates are another
    archive, at `security`: with a mirror there are none unless one is named, and `none` leaves them out.
    """
    name, _, tag = text.partition(":")
    if name == "debian":
        found = _debian(_DEBIAN_NUMBERS.get(tag or "latest", tag), mirror, security)
    elif name == "ubuntu":
        found = _ubuntu(_UBUNTU_NUMBERS.get(tag or "latest", tag), architecture, mirror, security)
    else:
        raise Invalid(f"cannot compose {text!r}: debian[:SUITE], ubuntu[:SUITE] and busybox[:SUITE] are known")
    if not found.suite or not found.suite.replace("-", "").replace(".", "").isalnum():
        raise Invalid(f"{found.suite!r} is no name of a suite")
    if components:
        found = replace(found, sources=tuple(replace(one, components=components) for one in found.sources))
    return found


def _debian(suite: str, mirror: str, security: str) -> Distribution:
    url = _archive(mirror or "http://deb.debian.org/debian")
    components = ("main",)
    sources = [Source(url, suite, components)]
    if suite in _STABLE:
        sources.append(Source(url, f"{suite}-updates", components, optional=True))
        beside = security or ("none" if mirror else "http://deb.debian.org/debian-security")
        if beside != "none":
            sources.append(Source(_archive(beside), f"{suite}-security", components))
    return Distribution("debian", suite, tuple(sources), "debian", "/usr/share/keyrings/debian-archive-keyring.gpg")


def _ubuntu(suite: str, architecture: str, mirror: str, security: str) -> Distribution:
    ports = architecture not in ("amd64", "i386")
    own = "http://ports.ubuntu.com/ubuntu-ports" if ports else "http://archive.ubuntu.com/ubuntu"
    guarded = own if ports else "http://security.ubuntu.com/ubuntu"
    url = _archive(mirror or own)
    components = ("main", "universe")
    sources = [Source(url, suite, components), Source(url, f"{suite}-updates", components, optional=True)]
    # Ubuntu's mirrors carry security updates too
    beside = security or (mirror or guarded)
    if beside != "none":
        sources.append(Source(_archive(beside), f"{suite}-security", components, optional=bool(mirror)))
    return Distribution("ubuntu", suite, tuple(sources), "ubuntu", "/usr/share/keyrings/ubuntu-archive-keyring.gpg")


def _archive(url: str) -> str:
    if not url.startswith(("http://", "https://")):
        raise Invalid(f"{url!r} is no archive: give the http or https URL below which dists/ and pool/ lie")
    if any(character in url for character in " \n\t?#"):
        raise Invalid(f"{url!r} is no archive: an address has no spaces, ? or #")
    return url.rstrip("/")


def debian_architecture(platform: Platform) -> str:
    """Debian's name for a platform's architecture. Raises Unsupported."""
    architecture = platform.architecture
    if platform.os != "linux":
        raise Unsupported(f"a distribution for {platform}: there are those for linux")
    if (architecture, platform.variant) in (("arm", "v5"), ("arm", "v6")):
        return "armel"
    if architecture == "riscv64" or architecture in ("amd64", "arm64", "s390x", *_ARCHITECTURES):
        return _ARCHITECTURES.get(architecture, architecture)
    raise Unsupported(f"Debian has no archive for {architecture}")


def sources_list(sources: tuple[Source, ...], keyring_file: str) -> str:
    """`/etc/apt/sources.list.d/NAME.sources`: the same archives for apt in the image (sources.list(5), deb822)."""
    stanzas: list[str] = []
    by_archive: dict[tuple[str, tuple[str, ...]], list[str]] = {}
    for source in sources:
        by_archive.setdefault((source.url, source.components), []).append(source.suite)
    for (url, components), suites in by_archive.items():
        stanzas.append(
            f"Types: deb\nURIs: {url}\nSuites: {' '.join(suites)}\nComponents: {' '.join(components)}\n"
            f"Signed-By: {keyring_file}\n"
        )
    return "\n".join(stanzas)
