"""What needs more than a directory, by each client: the web, repositories, rights, a terminal, a whole Compose file."""

from __future__ import annotations

import functools
import hashlib
import os
import pty
import subprocess
import sys
import tarfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from build_wire.test_buildx import write
from rig import Cli, Engine, eventually

pytestmark = [pytest.mark.timeout(600), pytest.mark.slow]

WEB, REPOSITORY = "http://127.0.0.1:8087", "git://127.0.0.1/repo.git"
_GIT = {
    **os.environ,
    "GIT_CONFIG_GLOBAL": "/dev/null",
    **{f"GIT_{who}_{what}": "tester@example.org" for who in ("AUTHOR", "COMMITTER") for what in ("NAME", "EMAIL")},
}
Build = Callable[..., str]


@pytest.fixture(params=["docker", "old_docker", "tiffin"])
def client(request: pytest.FixtureRequest) -> Cli:
    found: Cli = request.getfixturevalue(request.param)
    return found


@pytest.fixture
def build(client: Cli) -> Build:
    words = ("build",) if client.name == "tiffin" else ("buildx", "build")

    def run(*more: str | Path, check: bool = True, **options: Any) -> str:
        done = client(*words, "--progress", "plain", *map(str, more), check=check, timeout=300, **options)
        return done.out + done.err

    return run


@pytest.fixture(scope="module")
def served(builder: Engine, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """What lies behind WEB and REPOSITORY, in the engine's network."""
    base = tmp_path_factory.mktemp("served")
    write(base / "web", Dockerfile="FROM busybox\nCMD echo of the web\n", file="on the web\n")
    packed = write(base / "context", Dockerfile="FROM busybox\nCOPY file /\nCMD cat /file\n", file="packed\n")
    with tarfile.open(base / "web" / "context.tar.gz", "w:gz") as archive:
        archive.add(packed, ".")
    work = write(base / "repo.git", Dockerfile="FROM busybox\nCOPY . /all\nCMD ls -A /all\n", file="kept\n")
    git = functools.partial(subprocess.run, check=True, cwd=work, env=_GIT, capture_output=True)
    for words in (["init", "-q", "-b", "main"], ["add", "."], ["commit", "-qm", "one"], ["tag", "v1"]):
        git(["git", *words])
    web = [sys.executable, "-m", "http.server", "--bind", "127.0.0.1", "--directory", str(base / "web"), "8087"]
    repositories = ["git", "daemon", f"--base-path={base}", "--export-all", "--reuseaddr", "--listen=127.0.0.1"]
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL, "start_new_session": True}
    servers = [subprocess.Popen(builder.inside(one), env=_GIT, **quiet) for one in (web, repositories)]  # type: ignore[call-overload]
    try:
        eventually(lambda: "on the web" in builder.run("curl", "-s", f"{WEB}/file", check=False), within=60)
        eventually(lambda: "main" in builder.run("git", "ls-remote", REPOSITORY, check=False), within=60)
        yield base / "web"
    finally:
        for server in servers:
            os.killpg(server.pid, 15)
            server.wait(60)


def test_contexts_come_from_the_web(build: Build, docker: Cli, served: Path) -> None:
    build("-t", "far:web", f"{WEB}/Dockerfile")
    assert docker("run", "--rm", "far:web").out == "of the web\n"
    build("-t", "far:packed", f"{WEB}/context.tar.gz")
    assert docker("run", "--rm", "far:packed").out == "packed\n"


def test_contexts_come_from_repositories(build: Build, docker: Cli, served: Path) -> None:
    build("-t", "far:git", f"{REPOSITORY}#v1")
    assert docker("run", "--rm", "far:git").out == "Dockerfile\nfile\n"
    build("-t", "far:kept", "--build-arg", "BUILDKIT_CONTEXT_KEEP_GIT_DIR=1", f"{REPOSITORY}#main")
    assert docker("run", "--rm", "far:kept").out == ".git\nDockerfile\nfile\n"


def test_what_is_added_from_afar(build: Build, docker: Cli, served: Path, tmp_path: Path) -> None:
    digest = hashlib.sha256((served / "file").read_bytes()).hexdigest()
    text = (
        f"FROM busybox\nADD --checksum=sha256:{digest} {WEB}/file /f\nADD --keep-git-dir=true {REPOSITORY}#v1 /with\n"
        f"ADD {REPOSITORY} /without\nCOPY --from=named file /named\nCMD cat /f /named; ls -A /with /without\n"
    )
    folder = write(tmp_path / "c", Dockerfile=text)
    build("-t", "far:added", "--build-context", f"named={REPOSITORY}", folder)
    shown = "on the web\nkept\n/with:\n.git\nDockerfile\nfile\n\n/without:\nDockerfile\nfile\n"
    assert docker("run", "--rm", "far:added").out == shown
    (folder / "Dockerfile").write_text(text.replace(digest, "0" * 64))
    assert "digest mismatch" in build("--build-context", f"named={REPOSITORY}", folder, check=False)


def test_rights_are_granted_by_name(build: Build, docker: Cli, tmp_path: Path) -> None:
    text = (
        "FROM busybox\nRUN --network=none ls /sys/class/net > /none\nRUN --network=host ls /sys/class/net > /host\n"
        "RUN --security=insecure grep CapEff /proc/self/status > /rights\n"
        "RUN grep CapEff /proc/self/status >> /rights\n"
    )
    folder = write(tmp_path / "c", Dockerfile=text)
    assert "granting entitlement network.host is not allowed" in build("--no-cache", folder, check=False)
    said = build("--no-cache", "--allow", "network.host", folder, check=False)
    assert "granting entitlement security.insecure is not allowed" in said
    build("--allow", "network.host", "--allow", "security.insecure", "-t", "far:rights", folder)
    nets = docker("run", "--rm", "far:rights", "sh", "-c", "cat /none; echo; cat /host").out
    assert nets.partition("\n\n")[0] == "lo"
    assert len(nets.partition("\n\n")[2].split()) > 1
    more, plain = docker("run", "--rm", "far:rights", "cat", "/rights").out.split()[1::2]
    assert int(plain, 16) & int(more, 16) == int(plain, 16) != int(more, 16)


def test_a_terminal_is_drawn_on(client: Cli, tmp_path: Path) -> None:
    folder = write(tmp_path / "c", Dockerfile="FROM busybox\nRUN echo drawn\n")
    words = ("build",) if client.name == "tiffin" else ("buildx", "build")
    ours, theirs = pty.openpty()
    environment = {**os.environ, **client.environment, "TERM": "xterm"}
    command = client.argv(*words, "--progress", "tty", "--no-cache", str(folder))
    process = subprocess.Popen(command, stdin=theirs, stdout=theirs, stderr=theirs, env=environment)
    os.close(theirs)
    shown = b"".join(_read(ours))
    os.close(ours)
    assert process.wait(60) == 0, shown
    assert b"FINISHED" in shown
    assert b"\x1b[" in shown
    assert b"RUN echo drawn" in shown


def _read(terminal: int) -> Iterator[bytes]:
    while True:
        try:
            data = os.read(terminal, 1 << 16)
        except OSError:  # the other end is closed
            return
        if not data:
            return
        yield data


COMPOSE = """
services:
  one:
    image: far:compose
    build:
      context: .
      dockerfile_inline: |
        FROM busybox AS wanted
        ARG WHO
        RUN --mount=type=secret,id=key sha1sum < /run/secrets/key > /sum; echo $$WHO > /who
        COPY --from=beside note /
        RUN grep mine /etc/hosts | cut -f 1 > /mine; df /dev/shm | tail -1 | tr -s ' ' | cut -d ' ' -f 2 > /shm
        CMD cat /sum /who /note /mine /shm
        FROM wanted AS unwanted
        RUN false
      args: {WHO: somebody}
      target: wanted
      labels: {said: "yes"}
      tags: ["far:compose-too"]
      secrets: [key]
      additional_contexts: {beside: ./other}
      extra_hosts: ["mine:192.0.2.7"]
      shm_size: 128mb
      network: none
      no_cache: true
secrets: {key: {file: ./key}}
"""


@pytest.mark.parametrize("which", ["docker", "old_docker"])
def test_compose_hands_on_what_its_file_says(request: pytest.FixtureRequest, which: str, tmp_path: Path) -> None:
    docker: Cli = request.getfixturevalue(which)
    folder = write(tmp_path / "c", compose_yaml=COMPOSE, key="open sesame")
    write(folder / "other", note="from beside\n")
    docker("compose", "-f", str(folder / "compose.yaml"), "build", timeout=300)
    secret = hashlib.sha1(b"open sesame").hexdigest()
    printed = docker("run", "--rm", "far:compose-too").out.splitlines()
    assert printed[:4] == [f"{secret}  -", "somebody", "from beside", "192.0.2.7"]
    if which == "docker":  # Compose 2.26 does not hand on shm_size
        assert printed[4] == str(128 << 10)
    assert docker("inspect", "-f", "{{.Config.Labels.said}}", "far:compose").line == "yes"
    docker("rmi", "-f", "far:compose", "far:compose-too")
