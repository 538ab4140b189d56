"""POST /build as DOCKER_BUILDKIT=0 and docker-py use it."""

from __future__ import annotations

import concurrent.futures
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from build import building
from build.building import post, tar
from rig import Engine, eventually
from rig.engine import BIN

pytestmark = pytest.mark.root


@pytest.fixture
def context(tmp_path: Path) -> Path:
    return tmp_path / "context"


@pytest.fixture
def image(engine: Engine) -> Iterator[str]:
    """A name of its own for what is built; removed."""
    name = f"built-{uuid.uuid4().hex[:12]}"
    yield name
    building.remove(engine, name)


def text_of(lines: list[dict[str, Any]]) -> str:
    return "".join(line.get("stream", "") for line in lines)


def test_a_build_is_told_step_by_step_and_its_image_runs(engine: Engine, context: Path, image: str) -> None:
    dockerfile = (
        "FROM busybox\nRUN echo said; echo hello > /hello\nCOPY a.txt /data/\nENV A=b\nCMD cat /hello /data/a.txt"
    )
    building.write(context, dockerfile, {"a.txt": "copied\n"})
    built = building.build(engine, context, image=image)
    assert built.rc == 0, built.out
    for line in ("Step 1/5 : FROM busybox", "Step 2/5 : RUN echo said; echo hello > /hello", "said", "Step 5/5 : CMD"):
        assert line in built.out
    assert "Removing intermediate container" in built.out
    assert f"Successfully tagged {image}:latest" in built.out
    docker = engine.cli("docker")
    assert docker("run", "--rm", image).out == "hello\ncopied\n"
    first = docker("image", "inspect", "-f", "{{.Id}}", image).line
    again = building.build(engine, context, image=image)
    assert again.out.count("---> Using cache") == 4
    assert docker("image", "inspect", "-f", "{{.Id}}", image).line == first
    docker("rmi", image)


def test_a_failing_command_s_status_is_told(engine: Engine) -> None:
    code, lines = post(engine, "rm=1", tar(Dockerfile="FROM busybox\nRUN echo before; echo oops >&2; exit 7"))
    assert code == 200
    text = "The command '/bin/sh -c echo before; echo oops >&2; exit 7' returned a non-zero code: 7"
    assert lines[-1] == {"errorDetail": {"code": 7, "message": text}, "error": text}
    assert "before\n" in text_of(lines) and "\x1b[91moops\n\x1b[0m" in text_of(lines)


def test_errors_before_the_first_step_are_statuses(engine: Engine) -> None:
    for archive, code, text in (
        (tar(Dockerfile="FROM busybox\nNONSENSE"), 400, "unknown instruction: NONSENSE"),
        (tar(Dockerfile=""), 400, "cannot be empty"),
        (tar(other="x"), 404, "Cannot locate specified Dockerfile: Dockerfile"),
        (b"x" * 600, 400, "invalid tar header"),
    ):
        got, lines = post(engine, "", archive)
        assert (got, text in lines[0]["message"]) == (code, True), lines


def test_a_missing_source_is_told_in_docker_s_words(engine: Engine) -> None:
    _, lines = post(engine, "", tar(Dockerfile="FROM busybox\nCOPY nowhere /x"))
    assert "file not found in build context or excluded by .dockerignore: stat nowhere" in lines[-1]["error"]


def test_quiet_says_the_image_and_nothing_else(engine: Engine) -> None:
    _, lines = post(engine, "q=1", tar(Dockerfile="FROM busybox\nRUN echo loud"))
    assert [set(line) for line in lines] == [{"aux"}, {"stream"}]
    assert lines[1]["stream"] == lines[0]["aux"]["ID"] + "\n"
    building.remove(engine, lines[0]["aux"]["ID"])


def test_the_context_is_less_what_is_ignored(engine: Engine, image: str) -> None:
    files = {".dockerignore": "Dockerfile\n*.log\n!keep.log\n", "a.log": "", "keep.log": "", "b": ""}
    post(engine, f"t={image}", tar(Dockerfile="FROM busybox\nCOPY . /all", **files))
    assert engine.cli("docker")("run", "--rm", image, "ls", "-A", "/all").out.split() == [
        ".dockerignore",
        "b",
        "keep.log",
    ]


def test_arguments_labels_target_and_limits_are_heard(engine: Engine, image: str) -> None:
    dockerfile = (
        "FROM busybox AS first\nARG A=no\nRUN echo $A $(df -k /dev/shm | tail -1) > /said\nFROM first\nRUN false"
    )
    query = f"t={image}&target=first&buildargs=%7B%22A%22%3A%22yes%22%7D&labels=%7B%22k%22%3A%22v%22%7D&shmsize=8388608"
    code, lines = post(engine, query, tar(Dockerfile=dockerfile))
    assert code == 200 and "error" not in lines[-1], lines
    docker = engine.cli("docker")
    said = docker("run", "--rm", image, "cat", "/said").out.split()
    assert (said[0], said[2]) == ("yes", "8192")
    assert docker("image", "inspect", "-f", "{{.Config.Labels.k}}", image).line == "v"


def test_eight_builds_at_once_end_well_and_share_their_steps(engine: Engine, tmp_path: Path) -> None:
    unique = uuid.uuid4().hex
    dockerfile = (
        f"FROM busybox\nRUN cat /proc/sys/kernel/random/uuid > /common && echo {unique}\nARG N\nRUN echo $N > /own"
    )
    directory = building.write(tmp_path, dockerfile, {})

    def one(number: int) -> building.Built:
        return building.build(engine, directory, "--build-arg", f"N={number}")

    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        built = list(pool.map(one, range(8)))
    assert [one.rc for one in built] == [0] * 8, [one.out for one in built if one.rc]
    docker = engine.cli("docker")
    said = [docker("run", "--rm", one.image, "cat", "/common", "/own").out.split() for one in built]
    building.remove(engine, *(one.image for one in built))
    assert len({common for common, _ in said}) == 1
    assert [own for _, own in said] == [str(number) for number in range(8)]


def test_a_client_that_goes_away_ends_its_build(engine: Engine, tmp_path: Path) -> None:
    mark = f"{10**10 + uuid.uuid4().int % 10**10}"  # so long that no ID of anything has it in it
    docker = engine.cli("docker")
    before = set(docker("ps", "-aq").out.split())
    directory = building.write(tmp_path, f"FROM busybox\nRUN echo begun; sleep {mark}", {})
    program = (
        "import docker, sys\n"
        f"client = docker.APIClient(base_url={engine.host!r})\n"
        f"for line in client.build(path={str(directory)!r}, decode=True):\n"
        "    if line.get('stream') == 'begun\\n': sys.exit()\n"
    )
    engine.run(str(BIN / "python"), "-c", program)
    assert not _sleeping(engine, mark)
    assert set(docker("ps", "-aq").out.split()) <= before


def _sleeping(engine: Engine, mark: str) -> bool:
    def gone() -> bool:
        return not any(mark.encode() in command for command in _commands(engine))

    eventually(gone, within=60, what="the RUN is killed")
    return False


def _commands(engine: Engine) -> list[bytes]:
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            if path.parent.name != "self":
                found.append(path.read_bytes())
        except OSError:
            continue
    return [one for one in found if b"APIClient" not in one]


def test_the_cache_is_told_and_pruned(start_engine: Any, tmp_path: Path) -> None:
    engine = start_engine()
    directory = building.write(tmp_path, "FROM busybox\nRUN head -c 100000 /dev/urandom > /big\nRUN echo x > /x", {})
    built = building.build(engine, directory)
    docker = engine.cli("docker")
    assert "Build Cache" in docker("system", "df").out
    (row,) = [line.split() for line in docker("system", "df").out.splitlines() if line.startswith("Build Cache")]
    assert row[2] == "2"
    assert docker("builder", "prune", "-f").out.startswith("Total reclaimed space: 0B")  # an image has these layers
    docker("rmi", built.image)
    assert building.build(engine, directory).out.count("Using cache") == 2  # records keep what the image had
    docker("rmi", "-f", *docker("images", "-q", "built-*").out.split())
    freed = docker("builder", "prune", "-f").out.split()[-1]
    assert 100 < float(freed.removesuffix("kB")) < 200
    assert building.build(engine, directory).out.count("Using cache") == 0
