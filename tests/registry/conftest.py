"""Registries in a network namespace. `client` talks to tiffin's and, slowly, to Debian's; `own` to tiffin's only."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from rig.netns import Namespace
from rig.served import KINDS, Client, Served


@pytest.fixture(scope="package")
def namespace() -> Iterator[Namespace]:
    made = Namespace()
    yield made
    made.close()


@pytest.fixture(scope="module")
def shared(namespace: Namespace) -> Iterator[Served]:
    """tiffin's registry, without any option; in memory, where an fsync costs nothing."""
    with tempfile.TemporaryDirectory(dir="/dev/shm" if os.access("/dev/shm", os.W_OK) else None) as directory:
        made = Served(namespace, Path(directory) / "registry")
        yield made
        made.close()


@pytest.fixture(
    scope="module", params=[KINDS[0], pytest.param(KINDS[1], marks=pytest.mark.slow)], ids=lambda kind: str(kind)
)
def either(
    request: pytest.FixtureRequest, namespace: Namespace, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Served]:
    """tiffin's registry, then the peer: a test that fails there is wrong."""
    if request.param == "tiffin":
        yield request.getfixturevalue("shared")
        return
    made = Served(namespace, tmp_path_factory.mktemp("peer") / "registry", port=5001, kind=request.param)
    yield made
    made.close()


@pytest.fixture
def client(either: Served) -> Iterator[Client]:
    made = either.client()
    yield made
    made.connection.close()


@pytest.fixture
def own(shared: Served) -> Iterator[Client]:
    """What the peer doesn't have, or has otherwise."""
    made = shared.client()
    yield made
    made.connection.close()


@pytest.fixture
def name() -> str:
    """A repository of the test's own."""
    return f"test/r-{os.urandom(6).hex()}"


@pytest.fixture
def serve(namespace: Namespace, tmp_path: Path) -> Iterator[Callable[..., Served]]:
    """serve("--read-only") starts a registry of one's own, at a port that counts up from 5100; ended after the test."""
    started: list[Served] = []

    def start(*flags: str, root: str = "", **options: object) -> Served:
        port = 5100 + len(started)
        directory = tmp_path / (root or f"registry-{port}")
        started.append(Served(namespace, directory, *flags, port=port, **options))  # type: ignore[arg-type]
        return started[-1]

    yield start
    for one in started:
        one.close()
