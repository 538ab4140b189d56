"""Which packages a root file system holds, by the databases that package systems leave in it. Read as data, never run.

Source: dpkg's status file (deb-control(5)), apk's installed database, rpm's headers, Python's core metadata
(dist-info/METADATA).
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from urllib.parse import quote

from tiffin.http.buildkit import sbom_rpm
from tiffin.linux import paths

_FILE_LIMIT = 64 << 20
_METADATA_LIMIT = 1 << 20
_RPM = (b"usr/lib/sysimage/rpm/rpmdb.sqlite", b"var/lib/rpm/rpmdb.sqlite")
_PYTHON_ROOTS = (b"usr/lib", b"usr/local/lib", b"opt/venv/lib", b"app/.venv/lib")
_PYTHON_FOLDERS = (b"site-packages", b"dist-packages")


@dataclass(frozen=True, slots=True, order=True)
class Package:
    """`source` is the database, `url` a package URL (purl)."""

    name: str
    version: str
    source: str
    url: str


def packages(root: int) -> list[Package]:
    """All that is found beneath a root (an fd), sorted. A database that can't be read holds nothing."""
    return sorted({*_dpkg(root), *_apk(root), *_rpm(root), *_python(root)})


def _read(root: int, path: bytes, limit: int) -> bytes:
    """A regular file inside the root, as far as the limit; nothing where there is none."""
    try:
        found = paths.open_in(root, path, os.O_RDONLY | os.O_NONBLOCK)
    except OSError:
        return b""
    with os.fdopen(found, "rb") as file:
        return file.read(limit) if stat.S_ISREG(os.fstat(found).st_mode) else b""


def _names(root: int, path: bytes) -> list[bytes]:
    try:
        directory = paths.open_in(root, path, os.O_RDONLY | os.O_DIRECTORY)
    except OSError:
        return []
    try:
        return [os.fsencode(name) for name in os.listdir(directory)]
    finally:
        os.close(directory)


def _fields(paragraph: str) -> dict[str, str]:
    pairs = (line.partition(":") for line in paragraph.split("\n") if line[:1] not in (" ", "\t"))
    return {name: value.strip() for name, colon, value in pairs if colon}


def _release(root: int) -> str:
    """`debian-13`, for package URLs."""
    for path in (b"etc/os-release", b"usr/lib/os-release"):
        lines = (
            line.partition("=") for line in _read(root, path, _METADATA_LIMIT).decode("utf-8", "replace").split("\n")
        )
        values = {name: value.strip("\"'") for name, _, value in lines}
        if values.get("ID"):
            return "-".join(filter(None, (values["ID"], values.get("VERSION_ID", ""))))
    return ""


def _dpkg(root: int) -> Iterator[Package]:
    text = _read(root, b"var/lib/dpkg/status", _FILE_LIMIT).decode("utf-8", "replace")
    paragraphs = [(paragraph, "/var/lib/dpkg/status") for paragraph in text.split("\n\n")]
    # images without a package system keep one file a package
    for name in sorted(_names(root, b"var/lib/dpkg/status.d")):
        path = b"var/lib/dpkg/status.d/" + name
        paragraphs.append((_read(root, path, _METADATA_LIMIT).decode("utf-8", "replace"), "/" + os.fsdecode(path)))
    release = _release(root)
    vendor = release.partition("-")[0] or "debian"
    for paragraph, source in paragraphs:
        found = _fields(paragraph)
        if found.get("Package") and found.get("Version") and "deinstall" not in found.get("Status", ""):
            wanted = f"arch={found.get('Architecture', '')}" + (f"&distro={release}" if release else "")
            url = f"pkg:deb/{vendor}/{quote(found['Package'])}@{quote(found['Version'])}?{wanted}"
            yield Package(found["Package"], found["Version"], source, url)


def _apk(root: int) -> Iterator[Package]:
    text = _read(root, b"lib/apk/db/installed", _FILE_LIMIT).decode("utf-8", "replace")
    for paragraph in text.split("\n\n"):
        found = _fields(paragraph)
        if found.get("P") and found.get("V"):
            url = f"pkg:apk/alpine/{quote(found['P'])}@{quote(found['V'])}?arch={found.get('A', '')}"
            yield Package(found["P"], found["V"], "/lib/apk/db/installed", url)


def _rpm(root: int) -> Iterator[Package]:
    vendor = _release(root).partition("-")[0] or "redhat"
    for path in _RPM:
        for found in sbom_rpm.headers(_read(root, path, _FILE_LIMIT)):
            name, version = found.get(sbom_rpm.NAME), found.get(sbom_rpm.VERSION)
            if not name or not version or name == "gpg-pubkey":
                continue
            version = f"{version}-{found[sbom_rpm.RELEASE]}" if found.get(sbom_rpm.RELEASE) else version
            wanted = {"arch": found.get(sbom_rpm.ARCHITECTURE), "epoch": found.get(sbom_rpm.EPOCH)}
            more = "&".join(f"{key}={quote(value)}" for key, value in wanted.items() if value)
            url = f"pkg:rpm/{vendor}/{quote(name)}@{quote(version)}" + (f"?{more}" if more else "")
            yield Package(name, version, "/" + os.fsdecode(path), url)


def _python(root: int) -> Iterator[Package]:
    for above in _PYTHON_ROOTS:
        for version in _names(root, above):
            if not version.startswith(b"python"):
                continue
            for folder in _PYTHON_FOLDERS:
                directory = b"/".join((above, version, folder))
                for name in _names(root, directory):
                    if name.endswith(b".dist-info"):
                        yield from _distribution(root, directory + b"/" + name + b"/METADATA")


def _distribution(root: int, path: bytes) -> Iterator[Package]:
    head = _read(root, path, _METADATA_LIMIT).decode("utf-8", "replace").partition("\n\n")[0]
    found = _fields(head)
    if found.get("Name") and found.get("Version"):
        url = f"pkg:pypi/{quote(found['Name'].lower())}@{quote(found['Version'])}"
        yield Package(found["Name"], found["Version"], "/" + os.fsdecode(path), url)
