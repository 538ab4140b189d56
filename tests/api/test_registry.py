"""Pull, push and login through the stock docker command line, with Debian's docker-registry. dockerd passes too."""

import json
import subprocess
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from rig import Cli, Engine, eventually
from rig.registries import Registry, made_image

OPEN, CLOSED = 5000, 5001


@pytest.fixture(scope="module")
def registry(engine: Engine, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Registry]:
    """One that lets everyone in."""
    made = Registry(engine, tmp_path_factory.mktemp("registry") / "open", OPEN)
    yield made
    made.close()


@pytest.fixture(scope="module")
def guarded(engine: Engine, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Registry]:
    """One that knows user:secret."""
    made = Registry(engine, tmp_path_factory.mktemp("registry") / "guarded", CLOSED, users={"user": "secret"})
    yield made
    made.close()


@pytest.fixture
def name(docker: Cli, path: str) -> Iterator[str]:
    """A repository path of the test's own, in another."""
    yield f"lib/{path}"
    for address in (f"127.0.0.1:{OPEN}", f"127.0.0.1:{CLOSED}"):
        docker("logout", address, check=False)


def lines(engine: Engine, method: str, path: str, *headers: str) -> list[dict[str, Any]]:
    """The documents of a progress stream; each must end with CR LF."""
    command = ["curl", "-s", "--unix-socket", str(engine.socket), "-X", method, f"http://docker/v1.41{path}"]
    raw = subprocess.run([*command, *headers], check=True, capture_output=True).stdout
    assert raw.endswith(b"\r\n")
    return [json.loads(line) for line in raw.decode().split("\r\n") if line]


def inspect(docker: Cli, name: str) -> dict[str, Any]:
    [document] = json.loads(docker("image", "inspect", name).out)
    return dict(document)


def digest_in(text: str) -> str:
    [line] = [line for line in text.splitlines() if "digest: sha256:" in line.lower()]
    return "sha256:" + line.lower().partition("sha256:")[2][:64]


def test_what_is_pushed_is_pulled_with_the_same_id_and_digest(
    engine: Engine, docker: Cli, registry: Registry, name: str
) -> None:
    reference = f"{registry.address}/{name}:1"
    made_image(engine, docker, reference, layers=3)
    image = inspect(docker, reference)["Id"]
    digest = digest_in(docker("push", reference).out)
    docker("rmi", reference)
    pulled = docker("pull", reference).out
    assert digest_in(pulled) == digest
    assert f"Status: Downloaded newer image for {reference}\n{reference}\n" in pulled
    found = inspect(docker, reference)
    assert found["Id"] == image
    assert found["RepoDigests"] == [f"{registry.address}/{name}@{digest}"]
    # and what was pulled goes back as it came
    assert digest_in(docker("push", reference).out) == digest


def test_pull_tells_what_docker_tells_in_its_order(engine: Engine, docker: Cli, registry: Registry, name: str) -> None:
    reference = f"{registry.address}/{name}:1"
    made_image(engine, docker, reference)
    digest = digest_in(docker("push", reference).out)
    docker("rmi", reference)
    told = lines(engine, "POST", f"/images/create?fromImage={registry.address}/{name}&tag=1")
    assert told[0] == {"status": f"Pulling from {name}", "id": "1"}
    layer = told[1]["id"]
    assert told[1] == {"status": "Pulling fs layer", "progressDetail": {}, "id": layer}
    states = [line["status"] for line in told if line.get("id") == layer]
    assert list(dict.fromkeys(states)) == [
        "Pulling fs layer",
        "Downloading",
        "Verifying Checksum",
        "Download complete",
        "Extracting",
        "Pull complete",
    ]
    [*_, extracted] = [line for line in told if line["status"] == "Extracting"]
    assert extracted["progressDetail"]["current"] == extracted["progressDetail"]["total"]
    assert extracted["progress"].startswith("[==================================================>]")
    assert told[-2:] == [
        {"status": f"Digest: {digest}"},
        {"status": f"Status: Downloaded newer image for {reference}"},
    ]
    again = lines(engine, "POST", f"/images/create?fromImage={registry.address}/{name}&tag=1")
    assert again == [
        {"status": f"Pulling from {name}", "id": "1"},
        {"status": f"Digest: {digest}"},
        {"status": f"Status: Image is up to date for {reference}"},
    ]


def test_push_tells_what_docker_tells(engine: Engine, docker: Cli, registry: Registry, name: str) -> None:
    reference = f"{registry.address}/{name}:1"
    made_image(engine, docker, reference)
    path = f"/images/{registry.address}/{name}/push?tag=1"
    told = lines(engine, "POST", path, "-H", "X-Registry-Auth: e30=")
    assert told[0] == {"status": f"The push refers to repository [{registry.address}/{name}]"}
    assert told[1] == {"status": "Preparing", "progressDetail": {}, "id": told[1]["id"]}
    assert told[-3]["status"] == "Pushed"
    aux = told[-1]["aux"]
    assert told[-1] == {"progressDetail": {}, "aux": aux}
    assert aux["Tag"] == "1"
    assert told[-2] == {"status": f"1: digest: {aux['Digest']} size: {aux['Size']}"}
    again = lines(engine, "POST", path, "-H", "X-Registry-Auth: e30=")
    assert [line["status"] for line in again[1:3]] == ["Preparing", "Layer already exists"]
    assert again[-1] == told[-1]


def test_a_layer_that_the_registry_has_elsewhere_is_mounted(
    engine: Engine, docker: Cli, registry: Registry, name: str
) -> None:
    reference = f"{registry.address}/{name}"
    made_image(engine, docker, f"{reference}:1")
    docker("push", f"{reference}:1")
    docker("tag", f"{reference}:1", f"{reference}/copy:1")
    assert f": Mounted from {name}\n" in docker("push", f"{reference}/copy:1").out


def test_the_second_pull_moves_no_blob(engine: Engine, docker: Cli, registry: Registry, name: str) -> None:
    reference = f"{registry.address}/{name}"
    made_image(engine, docker, f"{reference}:1", layers=2)
    docker("push", f"{reference}:1")
    docker("tag", f"{reference}:1", f"{reference}:2")
    docker("push", f"{reference}:2")
    docker("rmi", f"{reference}:1", f"{reference}:2")
    registry.forget()
    docker("pull", f"{reference}:1")
    # a line is written when the last byte of the answer is on its way, and may come after whoever waits for that
    eventually(lambda: len(registry.requests("GET", "/blobs/")) >= 3, what="the registry's log tells of every blob")
    assert len(registry.requests("GET", "/blobs/")) == 3
    registry.forget()
    docker("pull", f"{reference}:1")
    docker("pull", f"{reference}:2")
    assert registry.requests("GET", "/blobs/") == []


def test_every_tag_is_pulled_and_pushed(engine: Engine, docker: Cli, registry: Registry, name: str) -> None:
    reference = f"{registry.address}/{name}"
    for tag in ("1", "2"):
        made_image(engine, docker, f"{reference}:{tag}")
    pushed = docker("push", "-a", reference).out
    assert "1: digest: sha256:" in pushed and "2: digest: sha256:" in pushed
    docker("rmi", f"{reference}:1", f"{reference}:2")
    pulled = docker("pull", "-a", reference).out
    assert f"1: Pulling from {name}\n" in pulled and f"2: Pulling from {name}\n" in pulled
    assert pulled.endswith(f"Status: Downloaded newer image for {reference}\n{reference}\n")
    assert sorted(docker("images", "--format", "{{.Tag}}", reference).out.split()) == ["1", "2"]


def test_an_image_is_pulled_by_digest(engine: Engine, docker: Cli, registry: Registry, name: str) -> None:
    reference = f"{registry.address}/{name}"
    made_image(engine, docker, f"{reference}:1")
    digest = digest_in(docker("push", f"{reference}:1").out)
    docker("rmi", f"{reference}:1")
    pulled = docker("pull", f"{reference}@{digest}").out
    assert pulled.startswith(f"{reference}@{digest}: Pulling from {name}\n") or f"Pulling from {name}" in pulled
    assert inspect(docker, f"{reference}@{digest}")["RepoTags"] == []
    docker("rmi", f"{reference}@{digest}")


def test_quiet_says_the_name_only(engine: Engine, docker: Cli, registry: Registry, name: str) -> None:
    reference = f"{registry.address}/{name}:1"
    made_image(engine, docker, reference)
    docker("push", "-q", reference)
    assert docker("pull", "-q", reference).out == f"{reference}\n"


@pytest.mark.parametrize(
    ("command", "words"),
    [
        (
            "pull 127.0.0.1:5000/nosuch:1",
            "manifest for 127.0.0.1:5000/nosuch:1 not found: manifest unknown: manifest unknown",
        ),
        (
            "pull 127.0.0.1:5009/nosuch:1",
            'Get "http://127.0.0.1:5009/v2/": dial tcp 127.0.0.1:5009: connect: connection refused',
        ),
        (
            "pull 127.0.0.1:5001/nosuch:1",
            'Head "http://127.0.0.1:5001/v2/nosuch/manifests/1": no basic auth credentials',
        ),
        ("push 127.0.0.1:5000/none/x:1", "An image does not exist locally with the tag: 127.0.0.1:5000/none/x"),
        (
            "login -u user -p wrong 127.0.0.1:5001",
            "login attempt to http://127.0.0.1:5001/v2/ failed with status: 401 Unauthorized",
        ),
    ],
)
def test_refusals_are_told_in_dockers_words(
    docker: Cli, registry: Registry, guarded: Registry, command: str, words: str
) -> None:
    done = docker(*command.split(), check=False)
    assert done.rc == 1
    assert done.err.rstrip("\n").endswith(words)


def test_a_name_that_nobody_resolves_fails_a_run_with_125(cli: Cli) -> None:
    done = cli("run", "nosuch", check=False)
    assert done.rc == 125
    begins = f"Unable to find image 'nosuch:latest' locally\n{cli.name}: Error response from daemon: "
    assert done.err.startswith(begins)
    assert 'Get "https://registry-1.docker.io/v2/": dial tcp: lookup registry-1.docker.io' in done.err


def test_login_gives_access_and_logout_takes_it(engine: Engine, docker: Cli, guarded: Registry, name: str) -> None:
    reference = f"{guarded.address}/{name}:1"
    made_image(engine, docker, reference)
    assert docker("push", reference, check=False).err == "no basic auth credentials\n"
    assert docker("login", "-u", "user", "-p", "secret", guarded.address).out.startswith("Login Succeeded")
    docker("push", reference)
    docker("rmi", reference)
    docker("pull", reference)
    docker("rmi", reference)
    docker("logout", guarded.address)
    assert "no basic auth credentials" in docker("pull", reference, check=False).err


def test_a_build_has_its_base_from_where_one_is_logged_in(
    engine: Engine, docker: Cli, guarded: Registry, name: str, tmp_path: Path
) -> None:
    base, built = f"{guarded.address}/{name}:1", f"built/{name}:1"
    made_image(engine, docker, base)
    docker("login", "-u", "user", "-p", "secret", guarded.address)
    docker("push", base)
    docker("rmi", base)
    (tmp_path / "Dockerfile").write_text(f"FROM {base}\nLABEL built=yes\n")
    # the classic builder's clients send what they know of all registries: X-Registry-Config
    build = partial(docker, "build", "-t", built, str(tmp_path), env={"DOCKER_BUILDKIT": "0"}, timeout=120)
    build()
    assert inspect(docker, built)["Config"]["Labels"]["built"] == "yes"
    docker("rmi", built, base)
    docker("logout", guarded.address)
    assert "no basic auth credentials" in build(check=False).err


def test_distribution_tells_what_a_registry_holds(engine: Engine, docker: Cli, registry: Registry, name: str) -> None:
    reference = f"{registry.address}/{name}"
    made_image(engine, docker, f"{reference}:1")
    digest = digest_in(docker("push", f"{reference}:1").out)
    url = f"http://docker/v1.41/distribution/{reference}"
    command = ["curl", "-s", "-w", "\n%{http_code}", "--unix-socket", str(engine.socket)]
    body, status = subprocess.check_output([*command, f"{url}:1/json"], text=True).strip().rsplit("\n", 1)
    found = json.loads(body)
    assert status == "200"
    assert found["Descriptor"]["digest"] == digest
    assert found["Platforms"][0]["os"] == "linux"
    body, status = subprocess.check_output([*command, f"{url}:9/json"], text=True).strip().rsplit("\n", 1)
    assert (status, json.loads(body)) == ("404", {"message": "manifest unknown: manifest unknown"})


def test_what_skopeo_pushes_compressed_in_any_way_runs(
    engine: Engine, docker: Cli, registry: Registry, name: str, tmp_path: Path
) -> None:
    archive = tmp_path / "busybox.tar"
    docker("save", "-o", str(archive), "busybox")
    for compression in ("gzip", "zstd"):
        reference = f"{registry.address}/{name}:{compression}"
        options = ["--dest-tls-verify=false", "--dest-compress-format", compression, "--format", "oci"]
        engine.machine.run(
            ["skopeo", "copy", "-q", *options, f"docker-archive:{archive}", f"docker://{reference}"], timeout=120
        )
        if engine.kind == "dockerd" and compression == "zstd":
            continue  # 20.10 knows no zstd
        docker("pull", reference)
        assert docker("run", "--rm", "--network", "none", reference, "echo", "hi").out == "hi\n"
