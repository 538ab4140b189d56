"""Images that tiffin itself composes from the machine's Debian mirror, made once and kept as archives to load."""

from __future__ import annotations

import contextlib
import fcntl
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

from rig import archives
from rig.commands import Cli
from rig.engine import Engine
from rig.mirrors import Mirror, forwarded

SLOW = 3600.0
"""Seconds that a bootstrap may take on a machine that has much else to do."""
PYTHON = "python3.14"
_APT = ("apt", "apt-get", "apt-cache", "dpkg", "dpkg-deb", "dpkg-query", "gpg", "gpgv", "mmdebstrap", "debootstrap")


@contextlib.contextmanager
def bare_machine() -> Iterator[tuple[Engine, Mirror]]:
    """An engine on a machine that has no apt, no dpkg and nothing they know, and reaches a Debian mirror only."""
    engine = Engine("tiffin", start=False)
    try:
        for name in _APT:
            if (path := Path("/usr/bin") / name).exists():
                _mount(engine, "--bind", "/dev/null", str(path))
        for directory in ("/etc/apt", "/var/lib/dpkg", "/var/lib/apt", "/usr/share/keyrings"):
            if Path(directory).is_dir():
                _mount(engine, "-t", "tmpfs", "-o", "size=4k", "none", directory)
        engine.start()
        with forwarded(engine) as mirror:
            yield engine, mirror
    finally:
        engine.close()


def _mount(engine: Engine, *words: str) -> None:
    subprocess.run(engine.machine.inside(["mount", *words], mounts=True), check=True, timeout=60)


def bootstrap(tiffin: Cli, mirror: Mirror, base: str, *words: str) -> str:
    """The ID of an image of a distribution, from that mirror, which may have stopped at some date."""
    flags = ["-q", "--allow-expired", "--mirror", mirror.debian, "--security", mirror.security]
    return tiffin("image", "bootstrap", base, *flags, *words, timeout=SLOW).line


def python() -> Path:
    """An archive with python:3.14, from Debian's testing: python, python3 and pip in /usr/local, CMD python3."""
    target = archives.cache() / "python-3.14-2.tar"
    with (archives.cache() / "python-3.14.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not target.exists():
            with bare_machine() as (engine, mirror):
                _python(engine, mirror, target)
    return target


def _python(engine: Engine, mirror: Mirror, target: Path) -> None:
    tiffin = engine.cli("tiffin")
    bootstrap(tiffin, mirror, "debian:forky", "-t", "base", "--include", f"{PYTHON},{PYTHON}-venv")
    # an environment at /usr/local is what the official image looks like: pip installs there, and nobody minds
    script = f"{PYTHON} -m venv --symlinks /usr/local && ln -sf pip3 /usr/local/bin/pip"
    tiffin("run", "--name", "made", "--network", "none", "base", "sh", "-ec", script, timeout=SLOW)
    changes = ['CMD ["python3"]', "ENV LANG=C.UTF-8"]
    flags = [word for change in changes for word in ("--change", change)]
    tiffin("commit", *flags, "made", "python:3.14", timeout=SLOW)
    tiffin("tag", "python:3.14", "python:latest")
    partial = target.with_suffix(".partial")
    tiffin("save", "-o", str(partial), "python:3.14", "python:latest", timeout=SLOW)
    os.replace(partial, target)
