"""Release: the signed table of an archive's suite (https://wiki.debian.org/DebianRepository/Format)."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

from tiffin.errors import Invalid
from tiffin.images.bootstrap import stanzas

_SHA256 = re.compile(r"[0-9a-f]{64}", re.ASCII)
_EARLY = 3600  # seconds that this machine's clock may be slow


@dataclass(frozen=True, slots=True)
class File:
    """A file as a table promises it: hex of its SHA-256, bytes."""

    sha256: str
    size: int


@dataclass(frozen=True, slots=True)
class Release:
    """Times are seconds since the epoch; valid_until 0 for ever. files: by path below the suite's directory."""

    names: frozenset[str]
    date: int
    valid_until: int
    architectures: tuple[str, ...]
    components: tuple[str, ...]
    by_hash: bool
    separate_all: bool  # packages for all architectures have an index of their own, which must be read too
    files: Mapping[str, File]


def parse(text: str, where: str) -> Release:
    """The table of a Release whose signature was verified. Raises Invalid."""
    found = stanzas.fields(text)
    if "date" not in found:
        raise Invalid(f"{where}: this Release has no date")
    architectures = tuple(found.get("architectures", "").split())
    return Release(
        names=frozenset(found[key] for key in ("suite", "codename") if found.get(key)),
        date=_seconds(found["date"], where),
        valid_until=_seconds(found["valid-until"], where) if found.get("valid-until") else 0,
        architectures=architectures,
        components=tuple(name.rpartition("/")[2] for name in found.get("components", "").split()),
        by_hash=found.get("acquire-by-hash", "").lower() == "yes",
        separate_all="all" in architectures and "Packages" not in found.get("no-support-for-architecture-all", ""),
        files=_files(found.get("sha256", ""), where),
    )


def _seconds(text: str, where: str) -> int:
    try:
        moment = parsedate_to_datetime(text.replace("UTC", "+0000"))
    except ValueError as error:
        raise Invalid(f"{where}: {text[:60]!r} is no date") from error
    return int((moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp())


def _files(table: str, where: str) -> dict[str, File]:
    found = {}
    for line in table.splitlines():
        words = line.split()
        if not words:
            continue
        if len(words) != 3 or not _SHA256.fullmatch(words[0]) or not words[1].isdigit():
            raise Invalid(f"{where}: damaged line among the checksums: {line[:80]!r}")
        found[words[2]] = File(words[0], int(words[1]))
    if not found:
        raise Invalid(f"{where}: no SHA256 checksums: an archive this old can't be trusted")
    return found


def check(release: Release, suite: str, where: str, *, now: float, allow_expired: bool) -> None:
    """Raises Invalid for a Release of another suite (signed all the same), of the future, or whose time is over."""
    if suite not in release.names:
        told = " or ".join(sorted(release.names)) or "nameless"
        raise Invalid(f"{where}: asked for {suite}, the archive's signed Release is for {told}")
    if release.date > now + _EARLY:
        raise Invalid(f"{where}: its Release is of {shown(release.date)}, which is to come: is this clock right?")
    if release.valid_until and release.valid_until < now and not allow_expired:
        raise Invalid(
            f"{where}: its Release has expired: it was valid until {shown(release.valid_until)}. Updates may be held "
            "back. Use another mirror, or --allow-expired for an archive that is no longer kept up"
        )


def shown(seconds: int) -> str:
    """RFC 3339 in UTC."""
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
