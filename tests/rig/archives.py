"""Images for the tests as `docker save` archives, made here: no registry is asked for anything."""

from __future__ import annotations

import hashlib
import io
import json
import os
import subprocess
import tarfile
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

PATH = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


@dataclass(frozen=True)
class Recipe:
    """One image of an archive: its names, its layers (uncompressed tars), its config's `config` object."""

    names: Sequence[str]
    layers: Sequence[Path]
    config: dict[str, Any] = field(default_factory=dict)


def cache() -> Path:
    """Where made images are kept between runs: TIFFIN_TEST_CACHE, else ~/.cache/tiffin-test."""
    directory = Path(os.environ.get("TIFFIN_TEST_CACHE") or Path.home() / ".cache" / "tiffin-test")
    directory.mkdir(parents=True, exist_ok=True)
    return directory


def busybox() -> Path:
    """An archive with busybox:latest, the way the official image looks: one layer, CMD sh."""
    archive = cache() / "busybox-1.tar"
    if not archive.exists():
        layer = cache() / "busybox-1.layer.tar"
        layer.write_bytes(busybox_layer())
        write(archive, [Recipe(["busybox:latest"], [layer], {"Cmd": ["sh"], "Env": [PATH]})])
    return archive


def busybox_layer() -> bytes:
    """A root file system of one static binary: /bin with a hard link an applet, /etc, /root, /tmp, …"""
    binary = next(path for path in (Path("/bin/busybox"), Path("/usr/bin/busybox")) if path.exists())
    applets = subprocess.run([binary, "--list"], check=True, capture_output=True, text=True).stdout.split()
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        directories = {
            "bin": 0o755,
            "etc": 0o755,
            "home": 0o755,
            "root": 0o700,
            "tmp": 0o1777,
            "usr": 0o755,
            "usr/bin": 0o755,
        }
        for name, mode in {**directories, "usr/sbin": 0o755, "var": 0o755, "var/www": 0o755, "dev": 0o755}.items():
            add(tar, name, type=tarfile.DIRTYPE, mode=mode)
        add(tar, "bin/busybox", binary.read_bytes(), mode=0o755)
        for applet in sorted(set(applets) - {"busybox"}):
            add(tar, f"bin/{applet}", type=tarfile.LNKTYPE, linkname="bin/busybox", mode=0o755)
        add(tar, "usr/bin/env", type=tarfile.SYMTYPE, linkname="../../bin/env", mode=0o777)
        people = "root:x:0:0:root:/root:/bin/sh\ndaemon:x:1:1:daemon:/usr/sbin:/bin/false\n"
        people += "www-data:x:33:33:www-data:/var/www:/bin/false\nnobody:x:65534:65534:nobody:/home:/bin/false\n"
        add(tar, "etc/passwd", people.encode())
        groups = "root:x:0:\ndaemon:x:1:\naudio:x:29:\nwww-data:x:33:\nusers:x:100:\nnobody:x:65534:\n"
        add(tar, "etc/group", groups.encode())
    return buffer.getvalue()


def add(tar: tarfile.TarFile, name: str, data: bytes = b"", **attributes: Any) -> None:
    """Add an entry that is the same each time: owned by root, from 2024."""
    entry = tarfile.TarInfo(name)
    entry.size, entry.mtime, entry.mode = len(data), 1704067200, 0o644
    for attribute, value in attributes.items():
        setattr(entry, attribute, value)
    tar.addfile(entry, io.BytesIO(data))


def write(archive: Path, recipes: Sequence[Recipe]) -> None:
    """Write what `docker load` takes: manifest.json, a config for each image, a tar for each layer; atomically."""
    partial = archive.with_suffix(".partial")
    manifest, written = [], set()
    with tarfile.open(partial, mode="w") as tar:
        for recipe in recipes:
            digests = [digest(layer) for layer in recipe.layers]
            config = json.dumps(
                {
                    "architecture": architecture(),
                    "os": "linux",
                    "created": "2024-01-01T00:00:00Z",
                    "config": recipe.config,
                    "rootfs": {"type": "layers", "diff_ids": [f"sha256:{value}" for value in digests]},
                    "history": [{"created": "2024-01-01T00:00:00Z", "created_by": f"layer {v[:12]}"} for v in digests],
                }
            ).encode()
            name = hashlib.sha256(config).hexdigest() + ".json"
            if name not in written:
                add(tar, name, config)
            for value, layer in zip(digests, recipe.layers, strict=True):
                if value not in written:
                    tar.add(layer, f"{value}/layer.tar")
            written |= {*digests, name}
            layers = [f"{value}/layer.tar" for value in digests]
            manifest.append({"Config": name, "RepoTags": list(recipe.names), "Layers": layers})
        add(tar, "manifest.json", json.dumps(manifest).encode())
    partial.rename(archive)


def digest(path: Path) -> str:
    """sha256 of a file in hex."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def architecture() -> str:
    """This machine's architecture in the words of image configs."""
    return {"x86_64": "amd64", "aarch64": "arm64"}.get(os.uname().machine, os.uname().machine)
