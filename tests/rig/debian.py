"""debian and python as images, made with mmdebstrap from the machine's own apt sources, once."""

from __future__ import annotations

import fcntl
import io
import os
import re
import subprocess
import tarfile
from pathlib import Path

from rig import archives

PACKAGES = "bash,iproute2,procps,python3"
LEAN = ("doc", "man", "locale", "info")


def archive() -> Path:
    """An archive with debian:latest (CMD bash) and python:3.14 (CMD python3, which is Debian's)."""
    target = archives.cache() / "debian-1.tar"
    with (archives.cache() / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not target.exists():
            base, link = archives.cache() / "debian-1.layer.tar", archives.cache() / "python-1.layer.tar"
            if not base.exists():
                bootstrap(base)
            link.write_bytes(python_layer())
            debian = {"Cmd": ["bash"], "Env": [archives.PATH]}
            python = {"Cmd": ["python3"], "Env": [archives.PATH, "LANG=C.UTF-8", "PYTHON_IMAGE=yes"]}
            images = [
                archives.Recipe(["debian:latest"], [base], debian),
                archives.Recipe(["python:3.14", "python:latest"], [base, link], python),
            ]
            archives.write(target, images)
    return target


def bootstrap(target: Path) -> None:
    """Make the tar of a minimal Debian with PACKAGES; RuntimeError with mmdebstrap's words where it fails."""
    partial = target.with_suffix(".partial.tar")
    lean = [f"--dpkgopt=path-exclude=/usr/share/{name}/*" for name in LEAN]
    command = [
        "mmdebstrap",
        "--quiet",
        "--variant=minbase",
        f"--include={PACKAGES}",
        '--aptopt=Acquire::Languages "none"',
        '--aptopt=Acquire::Retries "5"',
        "--dpkgopt=force-unsafe-io",
        *lean,
    ]
    done = subprocess.run([*command, *proxies(), codename(), str(partial), mirror()], capture_output=True, text=True)
    if done.returncode != 0:
        raise RuntimeError(f"mmdebstrap cannot make the Debian test image:\n{done.stderr[-4000:]}")
    partial.rename(target)


def python_layer() -> bytes:
    """`python`, as the official image has it."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        archives.add(tar, "usr/local/bin/python", type=tarfile.SYMTYPE, linkname="/usr/bin/python3", mode=0o777)
    return buffer.getvalue()


def codename() -> str:
    """The suite this machine runs; bookworm where it is no Debian."""
    lines = Path("/etc/os-release").read_text().splitlines()
    values = dict(line.split("=", 1) for line in lines if "=" in line)
    return values["VERSION_CODENAME"].strip('"') if values.get("ID") == "debian" else "bookworm"


def mirror(kind: str = "") -> str:
    """The archive the machine's apt sources name for its own suite; kind `-security`: for that one's updates."""
    sources = Path("/etc/apt")
    for path in [sources / "sources.list", *sorted((sources / "sources.list.d").glob("*"))]:
        text = path.read_text(errors="replace") if path.is_file() else ""
        for stanza in re.split(r"\n\s*\n", text) if path.suffix == ".sources" else text.splitlines():
            address = re.search(r"\b(?:https?|file|mirror\+\S+?)://?[^\s\]]+", strip_comments(stanza))
            if address and re.search(rf"\b{codename()}{kind}\b(?!-)", stanza) and "debian" in address[0]:
                return address[0]
    return f"http://deb.debian.org/debian{kind}"


def strip_comments(text: str) -> str:
    return "\n".join(line for line in text.splitlines() if not line.lstrip().startswith("#"))


def proxies() -> list[str]:
    """apt's configured proxies, which mmdebstrap does not read by itself."""
    dump = subprocess.run(
        ["apt-config", "dump", "Acquire"], capture_output=True, text=True, env={**os.environ, "LC_ALL": "C"}
    )
    return [
        f"--aptopt={line.rstrip(';')}" for line in dump.stdout.splitlines() if "::Proxy" in line and '""' not in line
    ]
