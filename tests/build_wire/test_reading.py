"""A small API in Python, built by a Dockerfile that names images of Docker Hub and of ghcr.io, and served.

The images come from tiffin's own registry, as the mirror of both hosts; packages from the index this machine reaches.
"""

from __future__ import annotations

import contextlib
import json
import re
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from build_wire.conftest import with_plugins
from rig import Cli, Engine, eventually
from rig.bootstrapped import SLOW, python
from rig.plugins import Missing, newest
from rig.pypi import forwarded, uv
from rig.served import Inside, Served

pytestmark = [pytest.mark.slow, pytest.mark.timeout(4 * SLOW)]

DOCKERFILE = """\
FROM python:3.14

COPY --from=ghcr.io/astral-sh/uv:latest /uv /uvx /bin/

WORKDIR /app

COPY pyproject.toml uv.lock ./
RUN uv sync --frozen --no-dev

COPY . .

CMD ["uv", "run", "uvicorn", "main:app", "--host", "0.0.0.0", "--port", "8000"]
"""
MAIN = """\
from fastapi import FastAPI

app = FastAPI()


@app.get("/items/{number}")
def item(number: int) -> dict[str, int | str]:
    return {"number": number, "dish": "soup"}
"""
PROJECT = """\
[project]
name = "api"
version = "0.1.0"
requires-python = ">=3.14"
dependencies = ["fastapi", "uvicorn"]

[[tool.uv.index]]
url = "INDEX"
default = true
"""
IGNORED = {".git/HEAD": "ref", ".venv/bin/python": "", "data/rows.csv": "1", "secrets/key": "k", "a/__pycache__/x": ""}
IGNORE = ".git\n.venv\n**/__pycache__\ndata\n!data/kept.csv\nsecrets\n"


@dataclass(frozen=True)
class Kitchen:
    """An engine whose registries are reached through one of tiffin's. index: URL of the packages' index."""

    engine: Engine
    registry: Served
    index: str
    docker: Cli

    @property
    def tiffin(self) -> Cli:
        return self.engine.cli("tiffin")

    def build(self, client: str, name: str, project: Path, *flags: str) -> str:
        """What the client said, line by line as it went."""
        words = ["--progress", "plain", "--network=host", *flags, "-t", name, str(project)]
        if client == "tiffin":
            done = self.tiffin("build", *words, timeout=SLOW)
        else:
            done = self.docker(*client.split()[1:], *words, timeout=SLOW)
        return done.out + done.err

    def forget(self) -> None:
        """As if nothing had been built or pulled."""
        self.tiffin("builder", "prune", "-af", timeout=SLOW)
        self.tiffin("image", "prune", "-af", timeout=SLOW)

    def get(self, port: int, path: str) -> str:
        return self.engine.run("curl", "-s", "-m", "5", f"http://127.0.0.1:{port}{path}", check=False)


@pytest.fixture(scope="module")
def kitchen(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Kitchen]:
    try:
        plugins = newest()
    except Missing as error:
        pytest.skip(f"docker's plugins cannot be fetched: {error}")
    engine = Engine("tiffin", start=False)
    with contextlib.ExitStack() as undo:
        undo.callback(engine.close)
        registry = Served(Inside(engine.machine), tmp_path_factory.mktemp("registry") / "images")
        undo.callback(registry.close)
        mirror = [f"http://{registry.address}"]
        configuration = engine.root / "daemon.json"
        configuration.write_text(json.dumps({"mirrors": {"docker.io": mirror, "ghcr.io": mirror}}))
        engine.options += ["--config-file", str(configuration)]
        engine.start()
        index = undo.enter_context(forwarded(engine))
        made = Kitchen(engine, registry, f"{index.url}/simple", with_plugins(engine, plugins))
        stock(made, tmp_path_factory.mktemp("uv"))
        yield made
        assert "Traceback" not in engine.log.read_text(errors="replace"), engine.log_tail()


def stock(kitchen: Kitchen, folder: Path) -> None:
    """Push what the Dockerfile names; afterwards nothing of it is in the engine."""
    tiffin = kitchen.tiffin
    tiffin("load", "-i", str(python()), timeout=SLOW)
    (folder / "Dockerfile").write_text("FROM scratch\nCOPY uv uvx /\n")
    uv_image = f"{kitchen.registry.address}/astral-sh/uv:latest"
    tiffin("build", "-q", "-f", str(folder / "Dockerfile"), "-t", uv_image, str(uv()), timeout=SLOW)
    python_image = f"{kitchen.registry.address}/library/python:3.14"
    tiffin("tag", "python:3.14", python_image)
    for image in (uv_image, python_image):
        tiffin("push", "-q", image, timeout=SLOW)
    kitchen.forget()
    # the machine's own root is always there
    assert tiffin("images", "-a", "--format", "{{.Repository}}").line == "host"


def put(folder: Path, files: dict[str, str]) -> None:
    for name, text in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)


@pytest.fixture
def project(kitchen: Kitchen, tmp_path: Path) -> Path:
    """The reading's project, locked; with files around it that are nobody's business."""
    folder = tmp_path / "project"
    put(folder, {"Dockerfile": DOCKERFILE, "main.py": MAIN, "pyproject.toml": PROJECT.replace("INDEX", kitchen.index)})
    mounts = ["-v", f"{folder}:/app", "-w", "/app", "-v", f"{uv()}:/opt/uv:ro"]
    kitchen.tiffin("run", "--rm", "--network", "host", *mounts, "python:3.14", "/opt/uv/uv", "lock", timeout=SLOW)
    put(folder, {**IGNORED, ".dockerignore": IGNORE, "data/kept.csv": "2"})
    return folder


@pytest.fixture
def served(kitchen: Kitchen) -> Iterator[Callable[[str], int]]:
    """Runs an image with its port 8000 published: the port. Removed afterwards."""
    names = []

    def run(image: str) -> int:
        name = f"api-{uuid.uuid4().hex[:8]}"
        kitchen.tiffin("run", "-d", "--name", name, "-p", "8000:8000", image)
        names.append(name)
        return 8000

    yield run
    for name in names:
        kitchen.tiffin("rm", "-f", name)


def said_of(output: str, instruction: str) -> list[str]:
    """The lines of the step, without its number."""
    found = re.search(rf"^#(\d+) \[[^\]]*\] {re.escape(instruction)}$", output, re.MULTILINE)
    assert found, output
    return re.findall(rf"^#{found[1]} (.*)$", output, re.MULTILINE)


SYNC = "RUN uv sync --frozen --no-dev"


@pytest.mark.parametrize("client", ["docker build", "docker buildx build", "tiffin"])
def test_the_dockerfile_builds_as_it_stands_and_serves_its_api(
    kitchen: Kitchen, project: Path, served: Callable[[str], int], client: str
) -> None:
    kitchen.forget()
    output = kitchen.build(client, "api", project)
    assert "fastapi==" in output
    for repository in ("library/python", "astral-sh/uv"):
        assert kitchen.registry.requests("GET", f"/v2/{repository}/blobs/")
    assert re.search(r"transferring context: \d+\.\d+kB", output)
    port = served("api")
    expected = '{"number":7,"dish":"soup"}'
    eventually(lambda: kitchen.get(port, "/items/7") == expected, within=300, what="the API answers", every=0.5)
    assert "GET /items/7" in eventually(lambda: kitchen.tiffin("logs", kitchen.tiffin("ps", "-q").line).out)
    assert json.loads(kitchen.get(port, "/openapi.json"))["paths"].keys() == {"/items/{number}"}
    assert kitchen.tiffin("ps", "--format", "{{.Ports}}").line.startswith("0.0.0.0:8000->8000/tcp")


def test_code_alone_leaves_the_dependencies_cached_and_the_project_file_does_not(
    kitchen: Kitchen, project: Path, served: Callable[[str], int]
) -> None:
    kitchen.build("docker build", "api", project)
    (project / "main.py").write_text(MAIN.replace("soup", "dumplings"))
    for client in ("docker build", "tiffin"):
        output = kitchen.build(client, "api", project)
        assert said_of(output, SYNC)[-1] == "CACHED"
        assert said_of(output, "COPY pyproject.toml uv.lock ./")[-1] == "CACHED"
    port = served("api")
    eventually(lambda: "dumplings" in kitchen.get(port, "/items/1"), within=300, what="the new dish", every=0.5)

    (project / "pyproject.toml").write_text(PROJECT.replace("INDEX", kitchen.index).replace("0.1.0", "0.2.0"))
    output = kitchen.build("tiffin", "api", project, "--explain")
    ran = said_of(output, SYNC)
    assert "CACHED" not in ran
    assert ran[-1].startswith("DONE")
    assert said_of(output, "WORKDIR /app")[-1] == "CACHED"
    assert any("pyproject.toml" in line for line in said_of(output, "COPY pyproject.toml uv.lock ./"))


def test_history_maps_instructions_to_layers(kitchen: Kitchen, project: Path) -> None:
    kitchen.build("docker build", "api", project)
    lines = kitchen.tiffin("history", "--no-trunc", "--format", "{{.CreatedBy}}\t{{.Size}}", "api").out.splitlines()
    ours = [line.split("\t") for line in lines[:6]]
    assert [by for by, _ in ours] == [
        'CMD ["uv" "run" "uvicorn" "main:app" "--host" "0.0.0.0" "--port" "8000"]',
        "COPY . . # buildkit",
        f"RUN /bin/sh -c {SYNC.removeprefix('RUN ')} # buildkit",
        "COPY pyproject.toml uv.lock ./ # buildkit",
        "WORKDIR /app",
        "COPY /uv /uvx /bin/ # buildkit",
    ]
    layers = json.loads(kitchen.tiffin("image", "layers", "--format", "json", "api").out)
    assert [one["Instruction"] for one in layers[:-6:-1]] == [by for by, _ in ours[1:]]
    assert [file["Path"] for file in layers[-5]["Adds"]["Largest"][:2]] == ["/usr/bin/uv", "/usr/bin/uvx"]
    assert layers[-2]["Adds"]["Largest"][0]["Path"].startswith("/app/.venv/lib/python3.14/site-packages/")
    sizes = [size for _, size in ours]
    assert sizes[0] == "0B"
    assert all(re.fullmatch(r"[\d.]+MB", sizes[at]) for at in (2, 5))


def test_what_is_ignored_is_not_in_the_image(kitchen: Kitchen, project: Path) -> None:
    kitchen.build("docker build", "api", project)
    listed = kitchen.tiffin(
        "run", "--rm", "api", "find", "/app", "-path", "/app/.venv", "-prune", "-o", "-type", "f", "-print"
    )
    files = {line.removeprefix("/app/") for line in listed.out.split()}
    assert files == {"Dockerfile", ".dockerignore", "main.py", "pyproject.toml", "uv.lock", "data/kept.csv"}
    kitchen.tiffin("run", "--rm", "api", "test", "-x", "/app/.venv/bin/uvicorn")
