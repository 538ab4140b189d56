"""Contexts, builds, and what came of them: the configuration and the file tree of an image, to be compared."""

from __future__ import annotations

import contextlib
import hashlib
import io
import json
import os
import subprocess
import tarfile
import uuid
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from rig import Engine
from rig.commands import docker_binary

PEER_DOCKER = "/usr/bin/docker"  # its BuildKit client needs no plugin
DATE = 1704067200
# what every engine makes in a container's root by itself
OWN = frozenset(("dev", "proc", "sys", ".dockerenv", "etc/hosts", "etc/hostname", "etc/resolv.conf", "etc/mtab"))


@dataclass(frozen=True)
class Link:
    """A symbolic link in a context."""

    target: str


@dataclass(frozen=True)
class File:
    content: str | bytes = ""
    mode: int = 0o644


Files = Mapping[str, "str | Link | File | None"]
"""Path → content, a link, a file with a mode; None is a directory."""


@dataclass(frozen=True)
class Case:
    name: str
    dockerfile: str
    files: Files = field(default_factory=dict)
    options: Sequence[str] = ()
    fails: bool = False


def write(directory: Path, dockerfile: str, files: Files) -> Path:
    """A context on disk; every file is from the same second."""
    directory.mkdir(parents=True, exist_ok=True)
    for name, what in {**files, "Dockerfile": dockerfile}.items():
        path = directory / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if what is None:
            path.mkdir(exist_ok=True)
        elif isinstance(what, Link):
            path.symlink_to(what.target)
        else:
            file = what if isinstance(what, File) else File(what)
            path.write_bytes(file.content.encode() if isinstance(file.content, str) else file.content)
            path.chmod(file.mode)
        os.utime(path, (DATE, DATE), follow_symlinks=False)
    return directory


@dataclass(frozen=True)
class Built:
    """image: its name; out: stdout and stderr of the command line."""

    rc: int
    out: str
    image: str


def build(
    engine: Engine, directory: Path, *options: str, buildkit: bool = False, timeout: float = 120, image: str = ""
) -> Built:
    """`docker build` of a directory."""
    name = image or f"built-{uuid.uuid4().hex[:12]}"
    binary = PEER_DOCKER if buildkit else docker_binary()
    environment = {**os.environ, **engine.environment(), "DOCKER_BUILDKIT": str(int(buildkit))}
    done = subprocess.run(
        engine.inside([binary, "build", "-t", name, *options, str(directory)]),
        env=environment,
        capture_output=True,
        text=True,
        errors="replace",
        timeout=timeout,
    )
    return Built(done.returncode, done.stdout + done.stderr, name)


def config(engine: Engine, image: str) -> dict[str, Any]:
    """The configuration, less what builders fill in differently and what means nothing."""
    (document,) = json.loads(engine.cli("docker")("image", "inspect", image).out)
    found = {key: value for key, value in document["Config"].items() if value not in (None, "", [], {}, False)}
    for key in ("Hostname", "Image", "Domainname", "ArgsEscaped"):
        found.pop(key, None)
    if found.get("WorkingDir") == "/":
        del found["WorkingDir"]
    return found | {"architecture": document["Architecture"], "author": document["Author"]}


@contextlib.contextmanager
def exported(engine: Engine, image: str) -> Iterator[tarfile.TarFile]:
    """The file system of an image as a tar."""
    docker = engine.cli("docker")
    container = docker("create", image, "nothing").line
    try:
        command = engine.inside([docker_binary(), "export", container])
        done = subprocess.run(
            command, env={**os.environ, **engine.environment()}, capture_output=True, check=True, timeout=120
        )
        with tarfile.open(fileobj=io.BytesIO(done.stdout)) as archive:
            yield archive
    finally:
        docker("rm", "-f", container)


def tree(engine: Engine, image: str) -> dict[str, tuple[Any, ...]]:
    """Path → kind, mode, owner, and content or target. Hard links are told by their content."""
    found: dict[str, tuple[Any, ...]] = {}
    with exported(engine, image) as archive:
        for entry in archive:
            name = entry.name.strip("/")
            if name in OWN or name.partition("/")[0] in ("dev", "proc", "sys") or not name:
                continue
            found[name] = _told(archive, entry)
    if not any(name.startswith("etc/") for name in found):
        found.pop("etc", None)  # there for the engine's own files alone
    return found


def _told(archive: tarfile.TarFile, entry: tarfile.TarInfo) -> tuple[Any, ...]:
    if entry.issym():
        return ("link", entry.linkname, entry.uid, entry.gid)
    if entry.isdir():
        return ("directory", oct(entry.mode & 0o7777), entry.uid, entry.gid)
    if entry.isreg() or entry.islnk():
        file = archive.extractfile(entry)
        assert file is not None
        target = archive.getmember(entry.linkname) if entry.islnk() else entry
        content = hashlib.sha256(file.read()).hexdigest()[:16]
        return ("file", oct(target.mode & 0o7777), target.uid, target.gid, content)
    return (entry.type, oct(entry.mode & 0o7777), entry.uid, entry.gid, entry.devmajor, entry.devminor)


def times(engine: Engine, image: str) -> dict[str, int]:
    """Path → modification time in seconds."""
    with exported(engine, image) as archive:
        return {entry.name.strip("/"): int(entry.mtime) for entry in archive}


def remove(engine: Engine, *images: str) -> None:
    """Without complaint where one is gone."""
    engine.cli("docker")("rmi", "-f", *images, check=False)


def post(engine: Engine, query: str, archive: bytes) -> tuple[int, list[dict[str, Any]]]:
    """POST /build by hand: status, and the lines of the answer."""
    path = engine.root / f"{uuid.uuid4().hex}.tar"
    path.write_bytes(archive)
    url = f"http://engine/build?{query}"
    command = ["curl", "-sS", "--unix-socket", str(engine.socket), "-X", "POST", "-w", "%{http_code}"]
    out = engine.run(*command, "-H", "Content-Type: application/x-tar", "--data-binary", f"@{path}", url)
    path.unlink()
    body, code = out[:-3], int(out[-3:])
    return code, [json.loads(line) for line in body.splitlines()]


def tar(**files: str) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        for name, text in files.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(text)
            archive.addfile(entry, io.BytesIO(text.encode()))
    return buffer.getvalue()
