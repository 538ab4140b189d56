"""Registries in network namespaces. `client` talks to tiffin's and to Debian's; `own` to tiffin's only."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from rig.netns import Namespace
from rig.seaweed import SeaweedFS
from rig.served import Client, Served


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


@pytest.fixture(scope="session")
def weed() -> Iterator[SeaweedFS]:
    """An S3-compatible service, in a network namespace of its own."""
    network = Namespace()
    with tempfile.TemporaryDirectory() as directory:
        made = SeaweedFS(network, Path(directory))
        yield made
        made.close()
    network.close()


@pytest.fixture(scope="module")
def bucket(weed: SeaweedFS, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """tiffin's registry, its storage in a bucket."""
    made = weed.registry(tmp_path_factory.mktemp("bucket") / "state")
    yield made
    made.close()


@pytest.fixture(scope="module")
def peer(namespace: Namespace, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """Debian's docker-registry."""
    made = Served(namespace, tmp_path_factory.mktemp("peer") / "registry", port=5001, kind="docker-registry")
    yield made
    made.close()


@pytest.fixture(params=["shared", *(pytest.param(kind, marks=pytest.mark.slow) for kind in ("bucket", "peer"))])
def client(request: pytest.FixtureRequest) -> Iterator[Client]:
    """tiffin's registry from a directory and from a bucket, and the peer: a test that fails there is wrong."""
    made = request.getfixturevalue(request.param).client()
    yield made
    made.connection.close()


@pytest.fixture(params=["shared", pytest.param("bucket", marks=pytest.mark.slow)])
def own(request: pytest.FixtureRequest) -> Iterator[Client]:
    """What the peer doesn't have, or has otherwise."""
    made = request.getfixturevalue(request.param).client()
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
