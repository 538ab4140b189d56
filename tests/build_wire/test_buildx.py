"""The stock `docker buildx build`, bake and Compose against the daemon's own builder: docker's driver, no container."""

from __future__ import annotations

import hashlib
import io
import json
import os
import re
import signal
import socket
import subprocess
import tarfile
from pathlib import Path

import pytest

from rig import Cli, Engine, eventually

# the first test may have to fetch the plugins: 60 MB
pytestmark = pytest.mark.timeout(600)


def write(folder: Path, **files: str) -> Path:
    """Files by name; `_` in a name stands for a dot."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in files.items():
        (folder / name.replace("_", ".")).write_text(text)
    return folder


def build(docker: Cli, *words: str, check: bool = True, input: str | None = None) -> str:
    """What the build prints, plainly."""
    done = docker("buildx", "build", "--progress", "plain", *words, check=check, input=input, timeout=300)
    return done.out + done.err


def told(shown: str, instruction: str) -> list[str]:
    """What is said of a step: buildx prints steps that end at about the same time in any order."""
    found = re.search(rf"^#(\d+) \[[^\]]*\] {re.escape(instruction)}", shown, re.MULTILINE)
    assert found, shown
    return re.findall(rf"^#{found[1]} (?!\[)(.*)$", shown, re.MULTILINE)


def test_the_driver_is_dockers_own_and_runs(docker: Cli) -> None:
    listed = docker("buildx", "ls").out
    assert "docker" in listed.split("\n")[1]
    assert "running" in listed


def test_an_image_is_built_and_runs(docker: Cli, tmp_path: Path) -> None:
    folder = write(tmp_path / "c", Dockerfile="FROM busybox\nCOPY greeting /\nCMD cat /greeting\n", greeting="hello\n")
    shown = build(docker, "-t", "wire-run:1", "-t", "wire-run:2", str(folder))
    assert "naming to docker.io/library/wire-run:2" in shown
    assert docker("run", "--rm", "wire-run:1").out == "hello\n"


def test_an_unchanged_build_is_cached_and_a_changed_file_is_not(docker: Cli, tmp_path: Path) -> None:
    folder = write(tmp_path / "c", Dockerfile="FROM busybox\nCOPY a /\nRUN cat /a > /b\n", a="first")
    steps = ("COPY a /", "RUN cat /a > /b")
    first = build(docker, str(folder))
    assert not any("CACHED" in told(first, step) for step in steps), first
    again = build(docker, str(folder))
    assert all("CACHED" in told(again, step) for step in steps), again
    (folder / "a").write_text("other")
    other = build(docker, str(folder))
    assert not any("CACHED" in told(other, step) for step in steps), other


def test_a_failed_step_shows_its_output_and_its_line(docker: Cli, tmp_path: Path) -> None:
    folder = write(tmp_path / "c", Dockerfile="FROM busybox\nRUN echo about to fail && exit 7\n")
    shown = build(docker, str(folder), check=False)
    assert "about to fail" in shown
    assert "did not complete successfully: exit code: 7" in shown
    assert "   2 | >>> RUN echo about to fail && exit 7" in shown


def test_a_dockerfile_that_cannot_be_read_is_told_with_its_line(docker: Cli, tmp_path: Path) -> None:
    folder = write(tmp_path / "c", Dockerfile="FROM busybox\nCOPPY a b\n")
    shown = build(docker, str(folder), check=False)
    assert "unknown instruction: COPPY (did you mean COPY?)" in shown
    assert "   2 | >>> COPPY a b" in shown


def test_check_lists_what_it_finds_and_says_so_by_its_status(docker: Cli, tmp_path: Path) -> None:
    folder = write(tmp_path / "c", Dockerfile="FROM busybox AS Upper\nMAINTAINER me\n")
    if "--check" not in docker("buildx", "build", "--help").out:
        pytest.skip("this buildx has no --check")
    done = docker("buildx", "build", "--check", str(folder), check=False)
    assert done.rc == 1
    assert "StageNameCasing" in done.out
    assert "MaintainerDeprecated" in done.out
    fine = write(tmp_path / "d", Dockerfile="FROM busybox\n")
    assert docker("buildx", "build", "--check", str(fine)).rc == 0


def test_results_go_to_a_directory_and_to_a_tar(docker: Cli, tmp_path: Path) -> None:
    text = (
        "FROM busybox AS made\nRUN mkdir /d && echo out > /d/f && ln -s f /d/l\nFROM scratch\nCOPY --from=made /d /d\n"
    )
    folder = write(tmp_path / "c", Dockerfile=text)
    build(docker, "-o", str(tmp_path / "out"), str(folder))
    assert (tmp_path / "out" / "d" / "f").read_text() == "out\n"
    assert os.readlink(tmp_path / "out" / "d" / "l") == "f"
    build(docker, "-o", f"type=tar,dest={tmp_path / 'out.tar'}", str(folder))
    with tarfile.open(tmp_path / "out.tar") as archive:
        assert {"d", "d/f", "d/l"} == set(archive.getnames())


def test_a_dockerfile_and_a_whole_context_come_from_standard_input(docker: Cli, tmp_path: Path) -> None:
    build(docker, "-t", "wire-stdin", "-", input="FROM busybox\nCMD echo from stdin\n")
    assert docker("run", "--rm", "wire-stdin").out == "from stdin\n"
    folder = write(tmp_path / "c", note="in the context\n")
    build(docker, "-t", "wire-file", "-f", "-", str(folder), input="FROM busybox\nCOPY note /\nCMD cat /note\n")
    assert docker("run", "--rm", "wire-file").out == "in the context\n"
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w") as archive:
        for name, data in {
            "Dockerfile": b"FROM busybox\nADD inside /\nCMD cat /inside\n",
            "inside": b"tarred\n",
        }.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
    done = subprocess.run(
        docker.argv("buildx", "build", "-t", "wire-tar", "-"),
        input=packed.getvalue(),
        env={**os.environ, **docker.environment},
        capture_output=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr.decode()
    assert docker("run", "--rm", "wire-tar").out == "tarred\n"


def test_secrets_are_seen_by_their_step_only(docker: Cli, tmp_path: Path) -> None:
    text = "FROM busybox\nRUN --mount=type=secret,id=key,required=true sha1sum < /run/secrets/key > /sum\n"
    folder = write(tmp_path / "c", Dockerfile=text, key="open sesame")
    build(docker, "-t", "wire-secret", "--secret", f"id=key,src={folder / 'key'}", str(folder))
    shown = docker("run", "--rm", "wire-secret", "sh", "-c", "cat /sum; ls -A /run/secrets 2>/dev/null; true").out
    assert shown.split() == [hashlib.sha1(b"open sesame").hexdigest(), "-"]


def test_a_step_finds_the_agents_socket(docker: Cli, tmp_path: Path) -> None:
    text = "FROM busybox\nRUN --mount=type=ssh test -S $SSH_AUTH_SOCK && echo there is a socket\n"
    folder = write(tmp_path / "c", Dockerfile=text)
    with socket.socket(socket.AF_UNIX) as agent:
        agent.bind(str(tmp_path / "agent"))
        agent.listen()
        shown = build(docker, "--no-cache", "--ssh", f"default={tmp_path / 'agent'}", str(folder))
    assert "there is a socket" in shown


def test_other_directories_and_images_are_contexts(docker: Cli, tmp_path: Path) -> None:
    other = write(tmp_path / "other", file="of the other", skipped="no", _dockerignore="skipped\n")
    text = "FROM start\nCOPY --from=more / /more\nCMD ls /more && cat /more/file\n"
    folder = write(tmp_path / "c", Dockerfile=text)
    contexts = ["--build-context", f"more={other}", "--build-context", "start=docker-image://busybox"]
    build(docker, "-t", "wire-contexts", *contexts, str(folder))
    assert docker("run", "--rm", "wire-contexts").out == "file\nof the other"


def test_what_dockerignore_names_is_not_sent(docker: Cli, tmp_path: Path) -> None:
    folder = write(tmp_path / "c", Dockerfile="FROM busybox\nCOPY . /all\n", kept="", secret="", _dockerignore="se*\n")
    build(docker, "-t", "wire-ignore", str(folder))
    assert docker("run", "--rm", "wire-ignore", "ls", "/all").out.split() == ["Dockerfile", "kept"]


@pytest.mark.slow
def test_a_file_that_goes_and_one_that_becomes_a_directory_are_followed(docker: Cli, tmp_path: Path) -> None:
    folder = write(tmp_path / "c", Dockerfile="FROM busybox\nCOPY . /all\n", gone="", turned="", kept="1")
    build(docker, str(folder))
    (folder / "gone").unlink()
    (folder / "turned").unlink()
    write(folder / "turned", inner="now a directory")
    (folder / "kept").write_text("2")
    build(docker, "-t", "wire-changed", str(folder))
    shown = docker("run", "--rm", "wire-changed", "sh", "-c", "cd /all; find . -type f | sort; cat kept").out
    assert shown.split() == ["./Dockerfile", "./kept", "./turned/inner", "2"]


def test_metadata_and_id_are_written_for_scripts(docker: Cli, tmp_path: Path) -> None:
    folder = write(tmp_path / "c", Dockerfile="FROM busybox\nLABEL wire=metadata\n")
    files = ["--iidfile", str(tmp_path / "iid"), "--metadata-file", str(tmp_path / "metadata")]
    build(docker, "-t", "wire-metadata", *files, str(folder))
    image = json.loads(docker("inspect", "wire-metadata").out)[0]
    assert (tmp_path / "iid").read_text() == image["Id"]
    metadata = json.loads((tmp_path / "metadata").read_text())
    assert metadata["containerimage.config.digest"] == image["Id"]
    assert metadata["image.name"] == "docker.io/library/wire-metadata:latest"


def test_bake_builds_targets_on_each_other(docker: Cli, tmp_path: Path) -> None:
    bake = """
    group "default" { targets = ["below", "above"] }
    target "below" { dockerfile-inline = "FROM busybox\\nENV FROM_BELOW=yes\\nRUN echo below > /below" }
    target "above" {
      contexts = { lower = "target:below" }
      dockerfile-inline = "FROM lower\\nCMD cat /below; echo $FROM_BELOW"
      tags = ["wire-bake"]
    }
    """
    folder = tmp_path / "c"
    folder.mkdir()
    (folder / "docker-bake.hcl").write_text(bake)
    docker("buildx", "bake", "-f", str(folder / "docker-bake.hcl"), "--progress", "plain")
    assert docker("run", "--rm", "wire-bake").out == "below\nyes\n"


def test_compose_builds_its_services_and_starts_one(docker: Cli, tmp_path: Path) -> None:
    services = """
    services:
      first: {build: ., image: wire-compose-first}
      second: {build: {context: ., dockerfile_inline: "FROM busybox\\nCMD echo second"}, image: wire-compose-second}
    """
    folder = write(tmp_path / "wirecompose", Dockerfile="FROM busybox\nCMD echo first\n")
    (folder / "compose.yaml").write_text(services)
    docker("compose", "--project-directory", str(folder), "build", timeout=120)
    assert docker("run", "--rm", "wire-compose-first").out == "first\n"
    assert docker("run", "--rm", "wire-compose-second").out == "second\n"


def test_a_build_that_is_broken_off_ends_its_steps(docker: Cli, builder: Engine, tmp_path: Path) -> None:
    mark = 8_000_000_000 + os.getpid()
    folder = write(tmp_path / "c", Dockerfile=f"FROM busybox\nRUN echo waiting; exec sleep {mark}\n")

    def sleeps() -> bool:
        return any(read(path) == b"sleep\0%d\0" % mark for path in Path("/proc").glob("[0-9]*/cmdline"))

    running = docker.start("buildx", "build", "--progress", "plain", str(folder), start_new_session=True)
    try:
        eventually(sleeps, within=60, what="the step runs")
        # as a terminal does: before 28 docker ends without its plugin
        os.killpg(running.pid, signal.SIGINT)
        running.communicate(timeout=60)
        eventually(lambda: not sleeps(), within=60, what="the step has ended")
    finally:
        running.kill()
        running.wait()


def read(path: Path) -> bytes:
    """A file of a process; nothing of one that has gone."""
    try:
        return path.read_bytes()
    except OSError:
        return b""


def test_cache_and_history_are_listed_and_removed(docker: Cli, tmp_path: Path) -> None:
    folder = write(tmp_path / "c", Dockerfile="FROM busybox\nRUN echo for the list\n")
    build(docker, str(folder))
    assert "RUN echo for the list" in docker("buildx", "du", "--verbose").out
    if "--max-used-space" in docker("buildx", "prune", "--help").out:
        docker("buildx", "prune", "--all", "--force", "--max-used-space", "100GB", "--min-free-space", "1kB")
        assert "RUN echo for the list" in docker("buildx", "du", "--verbose").out
    docker("buildx", "prune", "--all", "--force")
    assert "RUN echo for the list" not in docker("buildx", "du", "--verbose").out
