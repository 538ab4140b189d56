"""fsck.erofs and mkfs.erofs as independent readers and writers: those installed, else from Debian trixie's package.

Indexes have blocks of 512 bytes, which erofs-utils know from 1.7 on; bookworm's are older.
"""

from __future__ import annotations

import fcntl
import re
import shutil
import subprocess
from pathlib import Path

from rig import archives, debian

_SINCE = (1, 7)
_PACKAGES = (
    "erofs-utils", "libc6", "libdeflate0", "liblz4-1", "liblzma5", "libpcre2-8-0", "libselinux1", "libuuid1",
    "libxxhash0", "libzstd1", "zlib1g",
)  # fmt: skip


def tool(name: str) -> list[str] | None:
    """The command of a tool that is new enough; None where there is none and none could be fetched."""
    installed = shutil.which(name)
    if installed and _version([installed]) >= _SINCE:
        return [installed]
    with (archives.cache() / "erofs-utils.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        root = archives.cache() / "erofs-utils"
        if not root.exists():
            _fetch(root)
    loader = next(root.glob("usr/lib64/ld-linux-*"), None) or next(root.glob("usr/lib/ld-linux-*"), None)
    if loader is None:
        return None
    # with the C library that it was made for
    libraries = next(root.glob("usr/lib/*-linux-gnu"))
    return [str(loader), "--library-path", str(libraries), str(root / "usr/bin" / name)]


def _version(command: list[str]) -> tuple[int, ...]:
    done = subprocess.run([*command, "-V"], capture_output=True, text=True)
    found = re.search(r"(\d+)\.(\d+)", done.stdout + done.stderr)
    return tuple(map(int, found.groups())) if found and not done.returncode else (0,)


def _fetch(root: Path) -> None:
    """Unpack trixie's erofs-utils into a directory, by apt with lists of its own; nothing is installed."""
    work = root.with_suffix(".partial")
    shutil.rmtree(work, ignore_errors=True)
    for directory in ("lists/partial", "cache/archives/partial", "root"):
        (work / directory).mkdir(parents=True)
    keyring = "/usr/share/keyrings/debian-archive-keyring.gpg"
    (work / "sources").write_text(f"deb [signed-by={keyring}] {debian.mirror()} trixie main\n")
    options = {
        "Dir::Etc::sourcelist": work / "sources", "Dir::Etc::sourceparts": "/dev/null",
        "Dir::State::lists": work / "lists", "Dir::Cache": work / "cache", "APT::Sandbox::User": "root",
        "Acquire::Retries": "5",
    }  # fmt: skip
    apt = ["apt-get", *(f"-o{key}={value}" for key, value in options.items())]
    for command in ([*apt, "--quiet=2", "update"], [*apt, "--quiet=2", "download", *_PACKAGES]):
        if subprocess.run(command, cwd=work, capture_output=True).returncode:
            return
    for package in work.glob("*.deb"):
        subprocess.run(["dpkg-deb", "-x", package, work / "root"], check=True)
    (work / "root").rename(root)
    shutil.rmtree(work)
