"""Files that come over the network: ADD of URLs and repositories, contexts by URL."""

from __future__ import annotations

import functools
import hashlib
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from build import building
from build.building import post, tar
from rig import Engine, eventually

pytestmark = pytest.mark.root

_GIT = {
    **os.environ,
    "GIT_CONFIG_GLOBAL": "/dev/null",
    **{f"GIT_{who}_{what}": "tester@example.org" for who in ("AUTHOR", "COMMITTER") for what in ("NAME", "EMAIL")},
}


@pytest.fixture(scope="module")
def served(engine: Engine, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Path, Path]]:
    """A directory behind http://127.0.0.1:8099 in the engine's network, and the log of what was asked."""
    directory, log = tmp_path_factory.mktemp("served"), tmp_path_factory.mktemp("log") / "log"
    command = [sys.executable, "-m", "http.server", "--bind", "127.0.0.1", "--directory", str(directory), "8099"]
    with log.open("wb") as out:
        server = subprocess.Popen(engine.inside(command), stdout=out, stderr=out)
    try:
        eventually(lambda: engine.run("curl", "-s", "http://127.0.0.1:8099/", check=False) != "", within=60)
        yield directory, log
    finally:
        server.terminate()
        server.wait(60)


@pytest.fixture(scope="module")
def repository(engine: Engine, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """git://127.0.0.1/repo.git: a Dockerfile at the top, a branch `other`, a hook that must not run."""
    base = tmp_path_factory.mktemp("git")
    work = base / "repo.git"
    (work / "sub").mkdir(parents=True)
    git = functools.partial(subprocess.run, check=True, cwd=work, env=_GIT, capture_output=True)
    git(["git", "init", "-q", "-b", "main"])
    (work / "Dockerfile").write_text("FROM busybox\nCOPY . /all\n")
    (work / "sub" / "Dockerfile").write_text("FROM busybox\nCOPY . /sub\n")
    (work / "script").write_text("#!/bin/sh\n")
    (work / "script").chmod(0o755)
    for message in ("first", "second"):
        (work / "file").write_text(message)
        git(["git", "add", "."])
        git(["git", "commit", "-q", "-m", message])
    git(["git", "branch", "other", "HEAD~1"])
    command = ["git", "daemon", f"--base-path={base}", "--export-all", "--reuseaddr", "--listen=127.0.0.1"]
    daemon = subprocess.Popen(engine.inside(command), env=_GIT, stderr=subprocess.DEVNULL, start_new_session=True)
    url = "git://127.0.0.1/repo.git"
    try:
        eventually(lambda: "main" in engine.run("git", "ls-remote", url, check=False), within=60)
        yield url
    finally:
        os.killpg(daemon.pid, 15)
        daemon.wait(60)


def built(engine: Engine, dockerfile: str, query: str = "") -> str:
    """The image, or the error."""
    _, lines = post(engine, "q=1" + query, tar(Dockerfile=dockerfile))
    last = lines[-1]
    return str(last.get("error") or last.get("message") or last["stream"].strip())


def test_a_url_is_added_with_its_time_and_fetched_again_only_when_it_changed(
    engine: Engine, served: tuple[Path, Path]
) -> None:
    directory, log = served
    (directory / "file.bin").write_bytes(b"downloaded")
    os.utime(directory / "file.bin", (building.DATE, building.DATE))
    dockerfile = "FROM busybox\nADD http://127.0.0.1:8099/file.bin /to/\n"
    image = built(engine, dockerfile)
    name = "to/file.bin"
    assert building.tree(engine, image)[name][:4] == ("file", "0o600", 0, 0)
    assert building.times(engine, image)[name] == building.DATE
    assert built(engine, dockerfile) == image
    assert log.read_text().count("GET /file.bin") == 2
    assert '"GET /file.bin HTTP/1.1" 304' in log.read_text()
    (directory / "file.bin").write_bytes(b"another")
    assert built(engine, dockerfile) != image
    building.remove(engine, image)


def test_a_checksum_is_checked_and_spares_the_question(engine: Engine, served: tuple[Path, Path]) -> None:
    directory, log = served
    (directory / "sum.bin").write_bytes(b"summed")
    right = hashlib.sha256(b"summed").hexdigest()
    text = "FROM busybox\nADD --checksum=sha256:{} http://127.0.0.1:8099/sum.bin /\n"
    image = built(engine, text.format(right))
    assert image.startswith("sha256:")
    assert built(engine, text.format(right)) == image
    assert log.read_text().count("GET /sum.bin") == 1
    assert f"digest mismatch sha256:{right}" in built(engine, text.format("0" * 64))
    building.remove(engine, image)


def test_what_can_t_be_fetched_is_told(engine: Engine, served: tuple[Path, Path]) -> None:
    assert "invalid response status 404" in built(engine, "FROM busybox\nADD http://127.0.0.1:8099/nothing /\n")
    assert "failed to fetch" in built(engine, "FROM busybox\nADD http://127.0.0.1:1/nothing /\n")


def test_a_context_may_be_an_archive_or_a_dockerfile_on_the_web(engine: Engine, served: tuple[Path, Path]) -> None:
    directory, _ = served
    (directory / "context.tar").write_bytes(tar(Dockerfile="FROM busybox\nCOPY a /a\n", a="from the web"))
    (directory / "just.txt").write_text("FROM busybox\nRUN echo alone > /a\n")
    docker = engine.cli("docker")
    for name, content in (("context.tar", "from the web"), ("just.txt", "alone\n")):
        docker("build", "-t", "remote", f"http://127.0.0.1:8099/{name}", env={"DOCKER_BUILDKIT": "0"})
        assert docker("run", "--rm", "remote", "cat", "/a").out == content
    docker("rmi", "remote")


def test_repositories_are_added(engine: Engine, repository: str) -> None:
    for ref, content in (("", "second"), ("#other", "first"), ("#main", "second")):
        image = built(engine, f"FROM busybox\nADD {repository}{ref} /src\nRUN test $(cat /src/file) = {content}\n")
        assert image.startswith("sha256:"), image
        tree = building.tree(engine, image)
        assert (tree["src/script"][1], tree["src/file"][1]) == ("0o755", "0o644")
        assert "src/.git" not in tree
    kept = built(engine, f"FROM busybox\nADD --keep-git-dir=true {repository} /src\n")
    assert "src/.git" in building.tree(engine, kept)
    assert "git repository" in built(engine, f"FROM busybox\nADD {repository}#nowhere /src\n")


def test_a_repository_is_a_context(engine: Engine, repository: str) -> None:
    docker = engine.cli("docker")
    # the command line clones by itself, the API asks the daemon
    for query, path in ((repository, "/all/file"), (f"{repository}%23main:sub", "/sub/Dockerfile")):
        url = f"http://engine/build?t=remote&remote={query}"
        out = engine.run("curl", "-sS", "--unix-socket", str(engine.socket), "-X", "POST", url)
        assert "Successfully tagged" in out, out
        assert docker("run", "--rm", "remote", "ls", path).line == path
    docker("rmi", "remote")
