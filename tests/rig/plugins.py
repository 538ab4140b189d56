"""docker's buildx and Compose plugins, out of Debian packages; nothing is installed."""

from __future__ import annotations

import fcntl
import shutil
import subprocess
from pathlib import Path

from rig import archives, debian

PACKAGES = {"docker-buildx": "docker-buildx", "docker-compose": "docker-compose"}
SUITES = ("forky", "trixie")
_PATIENCE = 120
_KEYRING = "/usr/share/keyrings/debian-archive-keyring.gpg"


class Missing(RuntimeError):
    """The packages cannot be had; the text says why."""


def newest() -> Path:
    """The newest plugins that run on this machine. Raises Missing."""
    failures = []
    for suite in SUITES:
        try:
            return fetched(suite)
        except Missing as error:
            failures.append(str(error))
    raise Missing("; ".join(failures))


def fetched(suite: str) -> Path:
    """A directory with both plugins of a Debian suite, made once. Raises Missing."""
    target = archives.cache() / f"plugins-{suite}"
    with (archives.cache() / "plugins-lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not target.exists():
            _fetch(suite, target)
    return target


def _fetch(suite: str, target: Path) -> None:
    work = target.with_suffix(".partial")
    shutil.rmtree(work, ignore_errors=True)
    for name in ("lists/partial", "cache/archives/partial", "state", "plugins", "unpacked"):
        (work / name).mkdir(parents=True)
    (work / "status").touch()
    (work / "sources.list").write_text(f"deb [signed-by={_KEYRING}] {debian.mirror()} {suite} main\n")
    options = {
        "Dir::State::Lists": work / "lists",
        "Dir::Cache": work / "cache",
        "Dir::State": work / "state",
        "Dir::State::status": work / "status",
        "Dir::Etc::SourceList": work / "sources.list",
        "Dir::Etc::SourceParts": "/dev/null",
        "Acquire::Languages": "none",
        "Acquire::Retries": "3",
        "APT::Sandbox::User": "root",
    }
    apt = ["apt-get", "--quiet=2", *(f"-o{name}={value}" for name, value in options.items())]
    _run([*apt, "update"], work, suite)
    _run([*apt, "download", *PACKAGES], work, suite)
    for package in work.glob("*.deb"):
        _run(["dpkg", "--extract", str(package), str(work / "unpacked")], work, suite)
    for name in PACKAGES.values():
        found = next((work / "unpacked").rglob(f"cli-plugins/{name}"), None)
        if found is None:
            raise Missing(f"{suite}: the packages hold no {name}")
        _run([str(found), "docker-cli-plugin-metadata"], work, suite)
        shutil.move(found, work / "plugins" / name)
    (work / "plugins").rename(target)
    shutil.rmtree(work)


def _run(command: list[str], work: Path, suite: str) -> None:
    try:
        done = subprocess.run(command, cwd=work, capture_output=True, text=True, timeout=_PATIENCE)
    except subprocess.TimeoutExpired as error:
        raise Missing(f"{suite}: {command[0]} {command[-1]}: no end after {_PATIENCE} seconds") from error
    if done.returncode != 0:
        raise Missing(f"{suite}: {command[0]} {command[-1]}: {(done.stderr or done.stdout).strip()[-500:]}")
