"""Services of stock Compose, Debian's plugin of docker's command line: they know each other by name."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from rig import Cli, Engine, eventually, plugins

pytestmark = pytest.mark.slow

SERVICES = """
services:
  db:
    image: busybox
    command: nc -ll -p 5432 -e sh -c 'cat /rows/*'
    volumes: ["rows:/rows"]
    networks: [back]
  api:
    image: IMAGE
    command: ["python", "-c", "import socket; print(socket.create_connection(('db', 5432), 20).recv(100).decode())"]
    depends_on: [db]
    networks: [back]
  stranger:
    image: IMAGE
    command: ["python", "-c", "import socket; socket.getaddrinfo('db', 5432)"]
volumes:
  rows:
networks:
  back:
    internal: true
"""


@pytest.fixture
def compose(engine: Engine, docker: Cli, python: str, tmp_path: Path) -> Path:
    """A project directory with docker's plugin at hand."""
    try:
        found = plugins.newest()
    except plugins.Missing as error:
        pytest.skip(f"Compose cannot be had: {error}")
    place = Path(engine.environment()["DOCKER_CONFIG"]) / "cli-plugins"
    place.mkdir(parents=True, exist_ok=True)
    shutil.copy(found / "docker-compose", place)
    project = tmp_path / "lunch"
    project.mkdir()
    (project / "compose.yaml").write_text(SERVICES.replace("IMAGE", python))
    return project


def test_a_services_name_is_its_dns_name(docker: Cli, compose: Path) -> None:
    words = ("compose", "--project-directory", str(compose))
    docker("volume", "create", "--label", "com.docker.compose.project=lunch", "lunch_rows", check=False)
    docker("run", "--rm", "-v", "lunch_rows:/rows", "busybox", "sh", "-c", "echo tuesday > /rows/1")
    docker(*words, "up", "-d", timeout=120)
    try:
        eventually(lambda: "tuesday" in docker(*words, "logs", "api").out, within=60, what="the answer of db:5432")
        eventually(lambda: docker(*words, "ps", "-a", "-q", "--status", "exited", "stranger").out, within=60)
        assert "gaierror" in docker(*words, "logs", "stranger").out, "it is on another network"
        assert docker(*words, "ps", "--services", "--status", "running").out == "db\n"
        docker(*words, "down")
        assert "lunch_rows" in docker("volume", "ls", "-q").out.split()
        assert "lunch_back" not in docker("network", "ls", "--format", "{{.Name}}").out.split()
    finally:
        docker(*words, "down", "-v", check=False)
    assert "lunch_rows" not in docker("volume", "ls", "-q").out.split()
