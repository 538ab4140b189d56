"""Real clients: docker through tiffin and through dockerd, skopeo, podman, buildah. Digests stay equal."""

import json
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from rig import Cli, Engine, archives
from rig.machine import Machine
from rig.registries import made_image
from rig.served import Inside, Served, digest_of
from rig.waiting import eventually

PORT = 5055


@pytest.fixture
def machine() -> Iterator[Machine]:
    made = Machine()
    yield made
    made.close()


@pytest.fixture
def registry(machine: Machine, tmp_path: Path) -> Iterator[Served]:
    made = Served(Inside(machine), tmp_path / "registry", port=PORT)
    yield made
    made.close()


def pushed(output: str) -> str:
    """The digest that docker has printed."""
    [line] = [line for line in output.splitlines() if "digest: sha256:" in line]
    return "sha256:" + line.partition("sha256:")[2][:64]


def there_and_back(engine: Engine, docker: Cli, tmp_path: Path) -> None:
    registry = Served(Inside(engine.machine), tmp_path / "registry", port=PORT)
    try:
        reference = f"{registry.address}/team/app:1"
        made_image(engine, docker, reference, layers=3)
        image = json.loads(docker("image", "inspect", reference).out)[0]["Id"]
        digest = pushed(docker("push", reference).out)
        client = registry.client()
        held = client.get("/v2/team/app/manifests/1")
        assert digest_of(held.body) == digest
        # a second repository: mounted, not sent again
        again = f"{registry.address}/team/copy:1"
        docker("tag", reference, again)
        docker("push", again)

        def mounts() -> list[Any]:
            return [one for one in registry.requests("POST", "/team/copy/") if one["status"] == 201]

        # the log's lines come after the answers
        eventually(lambda: len(mounts()) >= 3, what="layers were mounted from team/app")
        docker("rmi", reference, again)
        assert digest in docker("pull", reference).out
        assert json.loads(docker("image", "inspect", reference).out)[0]["Id"] == image
        eventually(lambda: len(registry.requests("GET", "/blobs/")) >= 4, what="a configuration and three layers")
        seen = len(registry.requests("GET", "/blobs/"))
        docker("pull", reference)
        docker("pull", f"{registry.address}/team/app@{digest}")
        assert len(registry.requests("GET", "/blobs/")) == seen, "the second pull moves no blob"
        assert pushed(docker("push", reference).out) == digest
        assert client.get("/v2/team/app/manifests/1").body == held.body
        docker("rmi", "-f", image, check=False)
    finally:
        registry.close()


def test_docker_through_tiffin(engine: Engine, docker: Cli, tmp_path: Path) -> None:
    there_and_back(engine, docker, tmp_path)


@pytest.mark.slow
def test_docker_through_dockerd(start_engine: Callable[..., Engine], tmp_path: Path) -> None:
    peer = start_engine(kind="dockerd", images=())
    there_and_back(peer, peer.cli("docker"), tmp_path)


@pytest.mark.slow
def test_docker_with_a_password(start_engine: Callable[..., Engine], tmp_path: Path) -> None:
    from rig.served import passwords

    users = passwords(tmp_path / "users", ann="secret")
    for kind in ("tiffin", "dockerd"):
        engine = start_engine(kind=kind, images=())
        docker = engine.cli("docker")
        (tmp_path / kind).mkdir()
        registry = Served(Inside(engine.machine), tmp_path / kind / "registry", "--htpasswd", str(users), port=PORT)
        reference = f"{registry.address}/private:1"
        made_image(engine, docker, reference)
        assert docker("push", reference, check=False).rc != 0
        assert docker("login", registry.address, "-u", "ann", "-p", "wrong", check=False).rc != 0
        docker("login", registry.address, "-u", "ann", "--password-stdin", input="secret")
        digest = pushed(docker("push", reference).out)
        docker("rmi", reference)
        assert digest in docker("pull", reference).out
        docker("logout", registry.address)
        docker("rmi", reference)
        assert docker("pull", reference, check=False).rc != 0
        registry.close()


def skopeo(machine: Machine, *words: str) -> str:
    policy = ["--insecure-policy"]
    done = subprocess.run(machine.inside(["skopeo", *policy, *words]), capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    return done.stdout


def layout(path: Path) -> dict[str, Any]:
    """The only manifest's descriptor of an OCI layout."""
    [descriptor] = json.loads((path / "index.json").read_text())["manifests"]
    return dict(descriptor)


def test_skopeo(machine: Machine, registry: Served, tmp_path: Path) -> None:
    first, second = tmp_path / "first", tmp_path / "second"
    skopeo(machine, "copy", f"docker-archive:{archives.busybox()}", f"oci:{first}:1")
    remote = f"docker://{registry.address}/sk/busybox"
    skopeo(machine, "copy", "--dest-tls-verify=false", f"oci:{first}:1", f"{remote}:1")
    skopeo(machine, "copy", "--src-tls-verify=false", f"{remote}:1", f"oci:{second}:1")
    assert layout(first)["digest"] == layout(second)["digest"]
    seen = json.loads(skopeo(machine, "inspect", "--tls-verify=false", f"{remote}:1"))
    assert (seen["Digest"], seen["RepoTags"]) == (layout(first)["digest"], ["1"])
    both = ["--src-tls-verify=false", "--dest-tls-verify=false"]
    skopeo(machine, "copy", *both, f"{remote}:1", f"docker://{registry.address}/sk/other:2")
    assert json.loads(skopeo(machine, "list-tags", "--tls-verify=false", remote))["Tags"] == ["1"]
    skopeo(machine, "delete", "--tls-verify=false", f"{remote}:1")
    assert registry.client().get("/v2/sk/busybox/manifests/1").status == 404
    skopeo(machine, "inspect", "--tls-verify=false", f"docker://{registry.address}/sk/other:2")


def boxed(machine: Machine, tool: str, tmp_path: Path, *words: str, timeout: float = 120) -> str:
    """podman or buildah with a storage of its own."""
    roots = ["--root", str(tmp_path / "root"), "--runroot", str(tmp_path / "run"), "--storage-driver", "vfs"]
    policy = tmp_path / "policy.json"
    policy.write_text('{"default": [{"type": "insecureAcceptAnything"}]}')
    # a working directory of the machine's own mounts, which getcwd can name
    command = machine.inside(["sh", "-c", 'cd / && exec "$@"', "sh", tool, *roots, *words], mounts=True)
    done = subprocess.run(command, capture_output=True, text=True, timeout=timeout)
    assert done.returncode == 0, (words, done.stderr)
    return done.stdout.strip()


@pytest.mark.slow
def test_podman(machine: Machine, registry: Served, tmp_path: Path) -> None:
    def podman(*words: str) -> str:
        return boxed(machine, "podman", tmp_path, *words)

    reference = f"{registry.address}/pod/busybox:1"
    loaded = podman("load", "-i", str(archives.busybox())).rpartition("Loaded image: ")[2]
    podman("tag", loaded, reference)
    podman("push", "--tls-verify=false", "--digestfile", str(tmp_path / "digest"), reference)
    digest = (tmp_path / "digest").read_text().strip()
    assert registry.client().head("/v2/pod/busybox/manifests/1").headers["Docker-Content-Digest"] == digest
    image = podman("image", "inspect", "--format", "{{.Id}}", reference)
    podman("rmi", "--all", "--force")
    assert podman("pull", "-q", "--tls-verify=false", reference) == image
    assert podman("image", "inspect", "--format", "{{.Digest}}", reference) == digest
    podman("push", "--tls-verify=false", "--digestfile", str(tmp_path / "again"), reference)
    assert (tmp_path / "again").read_text().strip() == digest


@pytest.mark.slow
def test_buildah(machine: Machine, registry: Served, tmp_path: Path) -> None:
    def buildah(*words: str) -> str:
        return boxed(machine, "buildah", tmp_path, *words)

    (tmp_path / "file").write_text("made by buildah")
    container = buildah("from", "scratch")
    buildah("copy", container, str(tmp_path / "file"), "/file")
    reference = f"{registry.address}/built:1"
    buildah("commit", "--format", "oci", container, reference)
    buildah("push", "--tls-verify=false", "--digestfile", str(tmp_path / "digest"), reference)
    digest = (tmp_path / "digest").read_text().strip()
    image = buildah("images", "-q", "--no-trunc", reference)
    buildah("rm", container)
    buildah("rmi", "--all", "--force")
    buildah("pull", "-q", "--tls-verify=false", f"{registry.address}/built@{digest}")
    assert buildah("images", "-q", "--no-trunc") == image
    eventually(lambda: registry.requests("GET", "/blobs/"))


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["tiffin", "dockerd"])
def test_a_cache_as_the_mirror_of_docker_hub(start_engine: Callable[..., Engine], tmp_path: Path, kind: str) -> None:
    engine = start_engine("--registry-mirror", f"http://127.0.0.1:{PORT}", kind=kind, images=())
    docker = engine.cli("docker")
    upstream = Served(Inside(engine.machine), tmp_path / "upstream", port=PORT + 1)
    cache = Served(Inside(engine.machine), tmp_path / "cache", "--upstream", f"http://{upstream.address}", port=PORT)
    pushed_as = f"{upstream.address}/library/app:1"
    made_image(engine, docker, pushed_as, layers=2)
    digest = pushed(docker("push", pushed_as).out)
    docker("rmi", pushed_as)
    assert digest in docker("pull", "app:1").out
    assert json.loads(docker("image", "inspect", "app:1").out)[0]["RepoDigests"] == [f"app@{digest}"]
    eventually(lambda: len(upstream.requests("GET", "/blobs/")) == 3, what="a configuration and two layers")
    docker("rmi", "app:1")
    upstream.stop()
    assert digest in docker("pull", "app:1").out
    assert cache.figure("cache_requests_total", kind="manifest", result="stale") >= 1
    cache.close()
