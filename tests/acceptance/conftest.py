"""What every acceptance test uses: a name of its own, images with a configuration of their own."""

from __future__ import annotations

import json
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from rig import Cli, Engine, archives

Configured = Callable[..., str]


@pytest.fixture
def name() -> str:
    """A container name that no other test has."""
    return f"test-{uuid.uuid4().hex[:12]}"


@pytest.fixture
def configured(engine: Engine, tmp_path: Path) -> Iterator[Configured]:
    """configured(Cmd=[...], User="1000") is the name of a busybox image with this configuration; removed afterwards."""
    docker, made = engine.cli("docker"), []

    def make(**config: Any) -> str:
        image = f"configured-{uuid.uuid4().hex[:12]}:latest"
        layer, archive = tmp_path / "layer.tar", tmp_path / "archive.tar"
        layer.write_bytes(archives.busybox_layer())
        # the label makes the image's ID its own
        settings = {"Cmd": ["sh"], "Env": [archives.PATH], "Labels": {"name": image}, **config}
        archives.write(archive, [archives.Recipe([image], [layer], settings)])
        docker("load", "-i", str(archive))
        made.append(image)
        return image

    yield make
    engine.clear()
    for image in made:
        docker("rmi", "-f", image, check=False)


def inspect(cli: Cli, name: str) -> dict[str, Any]:
    """The one object that `inspect` prints."""
    (found,) = json.loads(cli("inspect", name).out)
    assert isinstance(found, dict)
    return found
