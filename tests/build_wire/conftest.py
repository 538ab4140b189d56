"""An engine to build on, and the clients: docker with its plugins, and tiffin."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from rig import Cli, Engine
from rig.engine import running
from rig.plugins import Missing, fetched, newest


@pytest.fixture(scope="session")
def builder() -> Iterator[Engine]:
    """An engine of its own: what is built must not turn up in other tests' lists."""
    with running() as engine:
        yield engine


def with_plugins(engine: Engine, plugins: Path) -> Cli:
    """docker with these plugins, in a configuration of its own."""
    folder = engine.root / f"docker-{plugins.name}" / "cli-plugins"
    folder.mkdir(parents=True, exist_ok=True)
    for plugin in plugins.iterdir():
        if not (folder / plugin.name).exists():
            os.symlink(plugin, folder / plugin.name)
    docker = engine.cli("docker")
    environment = {**docker.environment, "DOCKER_CONFIG": str(folder.parent), "BUILDX_CONFIG": str(folder.parent)}
    return Cli("docker", docker.binary, docker.inside, environment)


@pytest.fixture(scope="session")
def docker(builder: Engine) -> Cli:
    """docker with the newest buildx and Compose that Debian has."""
    try:
        plugins = newest()
    except Missing as error:
        pytest.skip(f"docker's plugins cannot be fetched: {error}")
    return with_plugins(builder, plugins)


@pytest.fixture(scope="session")
def old_docker(builder: Engine) -> Cli:
    """docker with the plugins of Debian 13: buildx 0.13, Compose 2.26."""
    try:
        plugins = fetched("trixie")
    except Missing as error:
        pytest.skip(f"docker's plugins cannot be fetched: {error}")
    return with_plugins(builder, plugins)


@pytest.fixture(scope="session")
def tiffin(builder: Engine) -> Cli:
    return builder.cli("tiffin")
