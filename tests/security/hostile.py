"""Images that an attacker made: busybox below, what the test says on top of it."""

from __future__ import annotations

import tarfile
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from rig import Engine, archives


def image(engine: Engine, name: str, layer: Callable[[tarfile.TarFile], None] | None = None, **config: Any) -> str:
    """Load an image with one more layer and this `config` (Cmd, WorkingDir, Volumes, …); gives its name."""
    archives.busybox()
    base = archives.cache() / "busybox-1.layer.tar"
    with tempfile.TemporaryDirectory() as place:
        layers = [base]
        if layer is not None:
            layers.append(Path(place) / "layer.tar")
            with tarfile.open(layers[-1], "w") as tar:
                layer(tar)
        settings = {"Cmd": ["sh"], "Env": [archives.PATH], **config}
        archive = Path(place) / "image.tar"
        archives.write(archive, [archives.Recipe([f"{name}:latest"], layers, settings)])
        engine.cli("docker")("load", "-i", str(archive))
    return name


def link(name: str, target: str) -> Callable[[tarfile.TarFile], None]:
    """A layer of one symbolic link."""
    return lambda tar: archives.add(tar, name, type=tarfile.SYMTYPE, linkname=target)


def device(name: str, kind: bytes, major: int, minor: int) -> Callable[[tarfile.TarFile], None]:
    """A layer of one device node (tarfile.CHRTYPE, BLKTYPE) or FIFO."""
    return lambda tar: archives.add(tar, name, type=kind, devmajor=major, devminor=minor, mode=0o666)
