"""Downloads that break, are shared, are given up; a daemon killed under one. A registry of our own plays along."""

import gzip
import io
import json
import os
import tarfile
import threading
from collections.abc import Callable, Iterator

import pytest

from rig import Cli, Engine, eventually
from rig.archives import architecture
from rig.registries import Exchange, Fake, digest_of, fake


@pytest.fixture(autouse=True)
def own_promises(engine: Engine) -> None:
    if engine.kind != "tiffin":
        pytest.skip("dockerd starts broken downloads over: going on is this engine's own promise")


@pytest.fixture
def registry(engine: Engine) -> Iterator[Fake]:
    with fake(engine) as made:
        yield made


def layer(content: bytes) -> bytes:
    """The tar of one file."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        member = tarfile.TarInfo("file")
        member.size = len(content)
        tar.addfile(member, io.BytesIO(content))
    return buffer.getvalue()


def serve(registry: Fake, *tars: bytes, tag: str = "1", pack: Callable[[bytes], bytes] = gzip.compress) -> list[str]:
    """Put an image of these layers under `tag`; the digests of its blobs of layers."""
    packed = [pack(tar) for tar in tars]
    config = {
        "architecture": architecture(),
        "os": "linux",
        "config": {},
        "rootfs": {"type": "layers", "diff_ids": [digest_of(tar) for tar in tars]},
    }
    kind = "application/vnd.docker.image.rootfs.diff.tar.gzip"
    described = registry.add_blob(json.dumps(config).encode())
    document = {
        "schemaVersion": 2,
        "mediaType": "application/vnd.docker.distribution.manifest.v2+json",
        "config": {**described, "mediaType": "application/vnd.docker.container.image.v1+json"},
        "layers": [{**registry.add_blob(data), "mediaType": kind} for data in packed],
    }
    registry.add_manifest(document, tag)
    return [digest_of(data) for data in packed]


def random_layer(size: int = 3 << 20) -> bytes:
    return layer(os.urandom(size))


def breaking(digest: str, after: int, times: int) -> Callable[[Exchange], bool | None]:
    """Send `after` bytes of a blob, then hang up; `times` times."""
    left = [times]

    def hook(exchange: Exchange) -> bool | None:
        if digest not in exchange.path or exchange.method != "GET" or not left[0]:
            return False
        left[0] -= 1
        data = registry_of[0].blobs[digest]
        first = int((exchange.headers.get("Range") or "bytes=0-").removeprefix("bytes=").partition("-")[0])
        headers = {"Content_Length": str(len(data) - first)}
        if first:
            headers["Content_Range"] = f"bytes {first}-{len(data) - 1}/{len(data)}"
        exchange.begin(206 if first else 200, **headers)
        exchange.write(data[first : first + after])
        exchange.hang_up()
        return True

    return hook


registry_of: list[Fake] = []


@pytest.fixture(autouse=True)
def current(registry: Fake) -> Iterator[None]:
    registry_of[:] = [registry]
    yield


def ranges(registry: Fake, digest: str) -> list[str]:
    return [exchange.headers.get("Range") or "" for exchange in registry.requests("GET", digest)]


def test_a_broken_download_goes_on_where_it_broke(engine: Engine, docker: Cli, registry: Fake) -> None:
    [digest] = serve(registry, random_layer())
    registry.hooks.append(breaking(digest, 1 << 20, 2))
    name = f"{registry.address}/broken:1"
    docker("pull", name, timeout=100)
    first, *others = ranges(registry, digest)
    assert first == ""
    assert others and all(other.startswith("bytes=") and other != "bytes=0-" for other in others)
    docker("rmi", name)


def test_a_server_without_ranges_is_read_from_the_beginning(docker: Cli, registry: Fake) -> None:
    [digest] = serve(registry, random_layer())

    def whole(exchange: Exchange) -> bool | None:
        if digest not in exchange.path:
            return False
        data = registry.blobs[digest]
        exchange.begin(200, Content_Length=str(len(data)))
        if len(registry.requests("GET", digest)) == 1:
            exchange.write(data[: 1 << 20])
            exchange.hang_up()
        else:
            exchange.write(data)
        return True

    registry.hooks.append(whole)
    name = f"{registry.address}/rangeless:1"
    docker("pull", name, timeout=100)
    docker("rmi", name)


def test_a_download_goes_on_after_the_daemon_was_killed(start_engine: Callable[..., Engine]) -> None:
    engine = start_engine(kind="tiffin", images=())
    docker = engine.cli("docker")
    with fake(engine) as registry:
        first, second = random_layer(), random_layer()
        one, two = serve(registry, first, second)
        stop = threading.Event()

        def stuck(exchange: Exchange) -> bool | None:
            if two not in exchange.path or stop.is_set():
                return False
            data = registry.blobs[two]
            exchange.begin(200, Content_Length=str(len(data)))
            exchange.write(data[: 1 << 20])
            stop.wait(60)
            exchange.hang_up()
            return True

        registry.hooks.append(stuck)
        name = f"{registry.address}/killed:1"
        pulling = docker.start("pull", name)
        partial = engine.data_root / "content/partial" / two[7:]
        eventually(lambda: partial.exists() and partial.stat().st_size >= 1 << 20, what="a part has come")
        blob = engine.data_root / "content/blobs/sha256" / one[7:]
        eventually(blob.exists, what="the first layer is there")
        engine.kill()
        pulling.wait(60)
        stop.set()
        registry.seen.clear()
        engine.start()
        docker("pull", name, timeout=100)
        assert ranges(registry, one) == []
        assert ranges(registry, two) == [f"bytes={1 << 20}-"]
        assert not partial.exists()


def test_prune_removes_what_a_broken_pull_has_left(start_engine: Callable[..., Engine]) -> None:
    engine = start_engine("--max-download-attempts", "1", kind="tiffin", images=())
    docker = engine.cli("docker")
    partial = engine.data_root / "content/partial"
    with fake(engine) as registry:
        registry_of[:] = [registry]
        [digest] = serve(registry, random_layer())
        registry.hooks.append(breaking(digest, 1 << 20, 100))
        assert docker("pull", f"{registry.address}/pruned:1", check=False).rc == 1
        assert [path.name for path in partial.iterdir()] == [digest[7:]]
        docker("image", "prune", "-f")
        assert list(partial.iterdir()) == []


def test_two_pulls_share_one_download(docker: Cli, registry: Fake) -> None:
    tar = random_layer()
    [digest] = serve(registry, tar)
    both = threading.Event()

    def slow(exchange: Exchange) -> bool | None:
        if digest not in exchange.path:
            return False
        data = registry.blobs[digest]
        exchange.begin(200, Content_Length=str(len(data)))
        exchange.write(data[: 1 << 20])
        both.wait(60)
        exchange.write(data[1 << 20 :])
        return True

    registry.hooks.append(slow)
    names = [f"{registry.address}/shared{number}:1" for number in range(2)]
    pulls = [docker.start("pull", name) for name in names]
    eventually(lambda: len(registry.requests("GET", "/manifests/")) >= 2, what="both have begun")
    eventually(lambda: len(registry.requests("GET", digest)) >= 1, what="the layer is asked for")
    both.set()
    for pull in pulls:
        assert pull.wait(60) == 0, pull.stderr and pull.stderr.read()
    assert len(registry.requests("GET", digest)) == 1
    docker("rmi", *names)


def test_a_pull_that_its_client_gives_up_is_broken_off(engine: Engine, docker: Cli, registry: Fake) -> None:
    [digest] = serve(registry, random_layer())
    gone, given_up = threading.Event(), threading.Event()

    def endless(exchange: Exchange) -> bool | None:
        if digest not in exchange.path or given_up.is_set():
            return False
        data = registry.blobs[digest]
        exchange.begin(200, Content_Length=str(len(data)))
        exchange.write(data[: 1 << 20])
        exchange.handler.connection.settimeout(60)
        try:
            exchange.handler.connection.recv(1)
        except OSError:
            pass
        gone.set()
        exchange.hang_up()
        return True

    registry.hooks.append(endless)
    pulling = docker.start("pull", f"{registry.address}/left:1")
    eventually(lambda: len(registry.requests("GET", digest)) == 1, what="the layer is asked for")
    pulling.terminate()
    pulling.wait(60)
    eventually(gone.is_set, what="the daemon has hung up")
    given_up.set()
    docker("pull", f"{registry.address}/left:1")
    docker("rmi", f"{registry.address}/left:1")


@pytest.mark.parametrize("status", [429, 503])
def test_a_busy_registry_is_asked_again(docker: Cli, registry: Fake, status: int) -> None:
    serve(registry, layer(b"busy"))
    left = [2]

    def busy(exchange: Exchange) -> bool | None:
        if exchange.path == "/v2/" or not left[0]:
            return False
        left[0] -= 1
        exchange.answer(status, b"", Retry_After="0")
        return True

    registry.hooks.append(busy)
    docker("pull", f"{registry.address}/busy:1")
    docker("rmi", f"{registry.address}/busy:1")


def test_a_registry_is_left_alone_for_as_long_as_it_asks(docker: Cli, registry: Fake) -> None:
    [digest] = serve(registry, layer(b"later"))
    waits = [("2", 429), ("", 503)]

    def busy(exchange: Exchange) -> bool | None:
        if digest not in exchange.path or not waits:
            return False
        wait, status = waits.pop(0)
        exchange.answer(status, b"", **({"Retry_After": wait} if wait else {}))
        return True

    registry.hooks.append(busy)
    told = docker("pull", f"{registry.address}/later:1").out.splitlines()
    pauses = [line.removeprefix(f"{digest[7:19]}: Retrying in ") for line in told if ": Retrying in " in line]
    assert pauses[:2] == ["2 seconds", "1 second"], "what it has asked for"
    assert pauses.count("1 second") == 2, "then a pause of our own"
    docker("rmi", f"{registry.address}/later:1")


def test_an_index_gives_the_platform_that_is_asked_for(docker: Cli, registry: Fake) -> None:
    made = []
    for machine in ("amd64", "arm64"):
        tar = layer(machine.encode())
        config = {
            "architecture": machine,
            "os": "linux",
            "config": {},
            "rootfs": {"type": "layers", "diff_ids": [digest_of(tar)]},
        }
        document = {
            "schemaVersion": 2,
            "mediaType": "application/vnd.oci.image.manifest.v1+json",
            "config": {
                **registry.add_blob(json.dumps(config).encode()),
                "mediaType": "application/vnd.oci.image.config.v1+json",
            },
            "layers": [{**registry.add_blob(tar), "mediaType": "application/vnd.oci.image.layer.v1.tar"}],
        }
        made.append({**registry.add_manifest(document), "platform": {"architecture": machine, "os": "linux"}})
    index = {"schemaVersion": 2, "mediaType": "application/vnd.oci.image.index.v1+json", "manifests": made}
    top = registry.add_manifest(index, "1")
    name = f"{registry.address}/index:1"
    for machine in ("arm64", "amd64"):
        assert f"Digest: {top['digest']}" in docker("pull", "--platform", f"linux/{machine}", name).out
        assert docker("image", "inspect", "-f", "{{.Architecture}}", name).line == machine
    missing = docker("pull", "--platform", "linux/s390x", name, check=False)
    assert "no matching manifest for linux/s390x in the manifest list entries" in missing.err
    docker("rmi", "-f", name)
