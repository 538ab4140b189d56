"""A cache of several registries: which one is meant, and where what comes from it is kept."""

import json
import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from rig import Engine
from rig.netns import Namespace
from rig.registries import made_image
from rig.served import OCI_MANIFEST, Inside, Served, basic, digest_of, passwords
from rig.waiting import eventually

Serve = Callable[..., Served]


@pytest.fixture(scope="module")
def several(namespace: Namespace, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Served, Served, Served]]:
    """Two upstreams, the second with a password; a cache that stands for docker.io and the second, and has its own."""
    directory = tmp_path_factory.mktemp("several")
    users = passwords(directory / "users", cache="of many")
    first = Served(namespace, directory / "first", port=5030)
    second = Served(namespace, directory / "second", "--htpasswd", str(users), port=5031)
    config = directory / "config.json"
    known = {second.address: {"auth": basic("cache", "of many").removeprefix("Basic ")}}
    config.write_text(json.dumps({"auths": known}))
    flags = [
        "--upstream",
        f"docker.io=http://{first.address}",
        "--upstream",
        f"{second.address}=http://{second.address}",
    ]
    cache = Served(namespace, directory / "cache", *flags, "--upstream-auth", str(config), port=5032)
    yield first, second, cache
    for one in (cache, second, first):
        one.close()


def test_the_namespace_says_which_upstream_is_meant(several: tuple[Served, Served, Served], name: str) -> None:
    first, second, cache = several
    shared = os.urandom(100_000)  # both have it
    one = first.client().push_image(name, "1", shared, b"of the first")
    two = second.client(Authorization=basic("cache", "of many")).push_image(name, "1", shared, b"of the second")
    client = cache.client()
    for namespace, digest in (
        ("docker.io", one),
        (second.address, two),
        ("registry-1.docker.io", one),
        ("index.docker.io", one),
    ):
        answer = client.get(f"/v2/{name}/manifests/1?ns={namespace}", Accept=OCI_MANIFEST)
        assert digest_of(answer.body) == digest
        for layer in answer.json["layers"]:
            blob = client.get(f"/v2/{name}/blobs/{layer['digest']}?ns={namespace}")
            assert digest_of(blob.body) == layer["digest"]
        assert client.get(f"/v2/{name}/tags/list?ns={namespace}").json["tags"] == ["1"]
    eventually(lambda: len(first.requests("GET", f"{name}/blobs/")) == 2, what="each blob is fetched once")
    # the same by path, as the catalog has it
    kept = {f"docker.io/{name}": one, f"{second.address.replace(':', '_')}/{name}": two}
    assert set(kept) <= set(client.get("/v2/_catalog").json["repositories"])
    for path, digest in kept.items():
        assert client.head(f"/v2/{path}/manifests/1").headers["Docker-Content-Digest"] == digest


def test_another_namespace_is_unknown_and_never_another_registrys(
    several: tuple[Served, Served, Served], name: str
) -> None:
    first, _, cache = several
    first.client().push_image(name, "1", b"layer")
    for namespace in ("quay.io", "docker.io.evil", "..", "docker.io/x", "%00"):
        refused = cache.client().get(f"/v2/{name}/manifests/1?ns={namespace}")
        assert (refused.status, refused.code) == (404, "NAME_UNKNOWN"), namespace
    assert cache.client().get(f"/v2/{name}/manifests/1").status == 404, "it is nobody's without a namespace"


def test_other_names_are_the_registrys_own(several: tuple[Served, Served, Served], name: str) -> None:
    _, _, cache = several
    client = cache.client()
    digest = client.push_image(name, "1", b"layer")
    assert client.head(f"/v2/{name}/manifests/1").headers["Docker-Content-Digest"] == digest
    assert client.request("POST", "/v2/docker.io/library/x/blobs/uploads/").status == 405
    assert client.request("POST", f"/v2/{name}/blobs/uploads/?ns=docker.io").status == 405


def test_one_upstream_is_asked_for_no_other_registry(serve: Serve) -> None:
    upstream = serve()
    digest = upstream.client().push_image("a", "1", b"layer")
    cache = serve("--upstream", f"http://{upstream.address}").client()
    for query in ("", f"?ns={upstream.address}"):
        assert cache.head(f"/v2/a/manifests/1{query}").headers["Docker-Content-Digest"] == digest
    assert cache.get("/v2/a/manifests/1?ns=quay.io").status == 404


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (["--upstream", "a/b=http://x"], "'a/b' is no registry's HOST"),
        (["--upstream", "quay.io=http://x", "--upstream", "QUAY.io=http://y"], "there is one for QUAY.io already"),
        (["--upstream", "http://x", "--upstream", "http://y"], "there is one for requests that name none already"),
        (
            ["--upstream", "a.io=http://x", "--upstream", "http://y", "--upstream-user", "z"],
            "--upstream-user is for one",
        ),
        (["--upstream", "http://x", "--upstream-auth", "/nowhere"], "cannot read --upstream-auth=/nowhere"),
    ],
)
def test_mistakes_are_told(serve: Serve, flags: list[str], words: str) -> None:
    with pytest.raises(RuntimeError, match=words):
        serve(*flags)


@pytest.mark.slow
def test_the_mirror_of_every_registry(start_engine: Callable[..., Engine], tmp_path: Path) -> None:
    config = tmp_path / "daemon.json"
    config.write_text(json.dumps({"mirrors": {"*": ["http://127.0.0.1:5059"]}}))
    engine = start_engine("--config-file", str(config), images=())
    docker = engine.cli("docker")
    hub = Served(Inside(engine.machine), tmp_path / "hub", port=5057)
    other = Served(Inside(engine.machine), tmp_path / "other", port=5058)
    flags = ["--upstream", f"docker.io=http://{hub.address}", "--upstream", f"other.example=http://{other.address}"]
    cache = Served(Inside(engine.machine), tmp_path / "cache", *flags, port=5059)
    for registry, path in ((hub, "library/app"), (other, "app")):
        made_image(engine, docker, f"{registry.address}/{path}:1", layers=1)
        docker("push", f"{registry.address}/{path}:1")
        docker("rmi", f"{registry.address}/{path}:1")
    docker("pull", "app:1")
    docker("pull", "other.example/app:1")
    repositories = cache.client().get("/v2/_catalog").json["repositories"]
    assert repositories == ["docker.io/library/app", "other.example/app"]
    images = [docker("image", "inspect", "-f", "{{.Id}}", name).line for name in ("app:1", "other.example/app:1")]
    assert len(set(images)) == 2
    for one in (cache, other, hub):
        one.close()
