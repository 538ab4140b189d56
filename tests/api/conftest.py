"""docker-py on the shared engine, and registries beside it."""

from __future__ import annotations

import uuid
from collections.abc import Iterator

import docker as docker_py
import pytest

from rig import Cli, Engine
from rig.peers import needs_api
from rig.served import Inside, Served

PORTS = {"tiffin": 5020, "docker-registry": 5021}


@pytest.fixture
def client(engine: Engine, tidy: None) -> Iterator[docker_py.APIClient]:
    """docker-py; what the test made is removed."""
    made = docker_py.APIClient(base_url=engine.host, timeout=60)
    yield made
    made.close()


@pytest.fixture(scope="module", params=["tiffin", pytest.param("docker-registry", marks=pytest.mark.slow)])
def registry(
    request: pytest.FixtureRequest, engine: Engine, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Served]:
    """One that lists referrers, and one that doesn't: there clients keep the list under a tag."""
    root = tmp_path_factory.mktemp(request.param)
    made = Served(Inside(engine.machine), root / "registry", port=PORTS[request.param], kind=request.param)
    yield made
    made.close()


@pytest.fixture
def path(docker: Cli) -> Iterator[str]:
    """A repository of the test's own; what is loaded of it is removed afterwards."""
    path = f"test-{uuid.uuid4().hex[:12]}"
    yield path
    for line in docker("images", "--format", "{{.Repository}}:{{.Tag}}").out.split():
        if path in line:
            docker("rmi", "-f", line, check=False)


@pytest.fixture
def newest(engine: Engine, tidy: None) -> Iterator[docker_py.APIClient]:
    needs_api(engine, "1.51", "shapes of dockerd 28")
    made = docker_py.APIClient(base_url=engine.host, timeout=60, version="1.51")
    yield made
    made.close()
