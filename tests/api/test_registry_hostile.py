"""A registry that lies, begs, and never ends: refused with clear errors, in bounded memory and time."""

import gzip
import io
import json
import os
import re
import tarfile
import threading
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from rig import Cli, Engine, eventually
from rig.archives import architecture
from rig.registries import Exchange, Fake, digest_of, fake

MANIFEST = "application/vnd.oci.image.manifest.v1+json"
INDEX = "application/vnd.oci.image.index.v1+json"
CONFIG = "application/vnd.oci.image.config.v1+json"
SCHEMA_1 = "application/vnd.docker.distribution.manifest.v1+prettyjws"
LAYER = "application/vnd.oci.image.layer.v1.tar+gzip"


@pytest.fixture(autouse=True)
def own_promises(engine: Engine) -> None:
    if engine.kind != "tiffin":
        pytest.skip("how much of a liar's answer is taken, and in which words it is refused, is this engine's own")


@pytest.fixture
def registry(engine: Engine) -> Iterator[Fake]:
    with fake(engine) as made:
        yield made


@pytest.fixture
def nothing_kept(engine: Engine, docker: Cli) -> Iterator[None]:
    """Neither image nor blob nor part of one remains of what was refused."""
    blobs = [engine.data_root / "content/blobs/sha256", engine.data_root / "content/partial"]

    def found() -> set[Path]:
        return {path for directory in blobs if directory.exists() for path in directory.iterdir()}

    before, images = found(), docker("images", "-aq").out
    yield
    assert docker("images", "-aq").out == images
    eventually(lambda: found() <= before, what="what was fetched of it is gone")


def image(registry: Fake, layer: bytes, diff: str = "", **changes: Any) -> dict[str, Any]:
    """A manifest of one layer, its blobs in the registry."""
    config = {
        "architecture": architecture(),
        "os": "linux",
        "config": {},
        "rootfs": {"type": "layers", "diff_ids": [diff or digest_of(gzip.decompress(layer))]},
    }
    return {
        "schemaVersion": 2,
        "mediaType": MANIFEST,
        "config": {**registry.add_blob(json.dumps(config).encode()), "mediaType": CONFIG},
        "layers": [{**registry.add_blob(layer), "mediaType": LAYER}],
        **changes,
    }


def refused(docker: Cli, registry: Fake, name: str = "x:1") -> str:
    done = docker("pull", f"{registry.address}/{name}", check=False, timeout=100)
    assert done.rc == 1
    return done.err


EMPTY = gzip.compress(bytes(10240))


def test_a_layer_with_another_digest_is_refused(docker: Cli, registry: Fake, nothing_kept: None) -> None:
    document = image(registry, EMPTY)
    digest = document["layers"][0]["digest"]
    registry.blobs[digest] = EMPTY[:-9] + b"x" + EMPTY[-8:]
    registry.add_manifest(document, "1")
    assert f"filesystem layer verification failed for digest {digest}" in refused(docker, registry)


def test_a_layer_with_another_size_is_refused(docker: Cli, registry: Fake, nothing_kept: None) -> None:
    document = image(registry, EMPTY)
    document["layers"][0]["size"] += 10
    registry.add_manifest(document, "1")
    assert "bytes, " in refused(docker, registry)


def test_a_layer_without_an_end_is_refused(docker: Cli, registry: Fake, nothing_kept: None) -> None:
    document = image(registry, EMPTY)
    digest = document["layers"][0]["digest"]
    stopped = threading.Event()

    def endless(exchange: Exchange) -> bool | None:
        if digest not in exchange.path:
            return False
        exchange.begin(200, Connection="close")
        try:
            while True:
                exchange.write(bytes(1 << 16))
        except OSError:
            stopped.set()
        return True

    registry.hooks.append(endless)
    registry.add_manifest(document, "1")
    assert "bytes that were promised" in refused(docker, registry)
    assert stopped.wait(60)


def test_a_layer_that_is_not_what_the_configuration_says_is_refused(
    docker: Cli, registry: Fake, nothing_kept: None
) -> None:
    registry.add_manifest(image(registry, EMPTY, diff="sha256:" + "1" * 64), "1")
    assert "layers from manifest don't match image configuration" in refused(docker, registry)


def test_what_is_no_gzip_is_refused(docker: Cli, registry: Fake, nothing_kept: None) -> None:
    damaged = EMPTY[:12] + os.urandom(40)
    registry.add_manifest(image(registry, damaged, diff=digest_of(b"")), "1")
    assert "failed to register layer" in refused(docker, registry)


@pytest.mark.parametrize(
    ("document", "kind", "words"),
    [
        (b"{" * 100_000, MANIFEST, "not valid JSON"),
        (b"[1]", MANIFEST, "not a JSON object"),
        (b'{"mediaType": "application/x-evil", "config": {}}', "application/x-evil", "unsupported manifest media type"),
        (
            b'{"schemaVersion": 1, "fsLayers": []}',
            "application/vnd.docker.distribution.manifest.v1+prettyjws",
            "DEPREC",
        ),
        (json.dumps({"mediaType": INDEX, "manifests": [], "layers": [], "config": {}}).encode(), INDEX, "at once"),
        (json.dumps({"mediaType": MANIFEST, "config": {}, "layers": []}).encode(), INDEX, "is not the Content-Type"),
        (json.dumps({"mediaType": MANIFEST, "config": 7, "layers": []}).encode(), MANIFEST, "must be a JSON object"),
        (b'{"pad": "' + b"x" * (5 << 20) + b'"}', MANIFEST, "larger than 4194304 bytes"),
    ],
)
def test_documents_that_are_no_manifests_are_refused(
    docker: Cli, registry: Fake, nothing_kept: None, document: bytes, kind: str, words: str
) -> None:
    registry.add_manifest(document, "1", media_type=kind)
    assert words in refused(docker, registry)


@pytest.mark.parametrize("digest", ["sha256:../../../../etc/passwd", "sha256:ABC", "md5:" + "0" * 32, ""])
def test_digests_that_name_no_blob_are_refused(docker: Cli, registry: Fake, nothing_kept: None, digest: str) -> None:
    document = image(registry, EMPTY)
    document["layers"][0]["digest"] = digest
    registry.add_manifest(document, "1")
    assert "invalid checksum digest format" in refused(docker, registry)


def test_a_manifest_that_is_not_its_digest_is_refused(docker: Cli, registry: Fake, nothing_kept: None) -> None:
    wanted = "sha256:" + "2" * 64
    registry.add_manifest(image(registry, EMPTY), claimed=wanted)
    assert "manifest verification failed" in refused(docker, registry, f"x@{wanted}")


def test_artifacts_that_are_no_images_are_refused(docker: Cli, registry: Fake, nothing_kept: None) -> None:
    document = image(registry, EMPTY)
    document["config"]["mediaType"] = "application/vnd.cncf.helm.config.v1+json"
    registry.add_manifest(document, "1")
    assert 'encountered remote "application/vnd.cncf.helm.config.v1+json" when fetching' in refused(docker, registry)


def test_an_index_that_holds_itself_ends(docker: Cli, registry: Fake, nothing_kept: None) -> None:
    below: dict[str, Any] = registry.add_manifest(image(registry, EMPTY))
    for depth in range(8):
        platform = {"architecture": architecture(), "os": "linux"}
        index = {"schemaVersion": 2, "mediaType": INDEX, "manifests": [{**below, "platform": platform}], "x": depth}
        below = registry.add_manifest(index)
    registry.manifests["1"] = registry.manifests[below["digest"]]
    assert "nested more than 4 deep" in refused(docker, registry)


def test_credentials_stay_with_the_registry_they_are_for(
    engine: Engine, docker: Cli, registry: Fake, nothing_kept: None
) -> None:
    """The blob is behind a redirect whose target asks for them in every way there is."""
    document = image(registry, EMPTY)
    digest = document["layers"][0]["digest"]
    registry.add_manifest(document, "1")
    with fake(engine) as thief:

        def beg(exchange: Exchange) -> bool:
            realm = f"http://{thief.address}/token"
            exchange.answer(401, b"{}", WWW_Authenticate=f'Bearer realm="{realm}",service="x",Basic realm="x"')
            return True

        def guard(exchange: Exchange) -> bool | None:
            if "Authorization" not in exchange.headers:
                exchange.answer(401, b"{}", WWW_Authenticate='Basic realm="test"')
            elif digest in exchange.path:
                exchange.answer(307, b"", Location=f"http://{thief.address}/blob")
            else:
                return False
            return True

        thief.hooks.append(beg)
        registry.hooks.append(guard)
        docker("login", "-u", "user", "-p", "secret", registry.address)
        try:
            refused(docker, registry)
        finally:
            docker("logout", registry.address)
        assert thief.requests("GET")
        assert not any("Authorization" in one.headers for one in thief.seen)
        assert not thief.requests("GET", "/token")


def test_a_redirect_to_storage_is_followed_without_credentials(engine: Engine, docker: Cli, registry: Fake) -> None:
    document = image(registry, EMPTY)
    digest = document["layers"][0]["digest"]
    registry.add_manifest(document, "1")
    with fake(engine) as storage:
        storage.hooks.append(lambda exchange: exchange.answer(200, registry.blobs[digest]))  # type: ignore[func-returns-value]

        def redirect(exchange: Exchange) -> bool | None:
            if digest not in exchange.path:
                return False
            exchange.answer(307, b"", Location=f"http://{storage.address}/x?signature=y")
            return True

        registry.hooks.append(redirect)
        docker("pull", f"{registry.address}/x:1")
        docker("rmi", f"{registry.address}/x:1")
        assert [one.path for one in storage.seen] == ["/x?signature=y"]


def test_redirects_in_a_circle_end(docker: Cli, registry: Fake, nothing_kept: None) -> None:
    def around(exchange: Exchange) -> bool | None:
        if exchange.path == "/v2/":
            return False
        exchange.answer(302, b"", Location=exchange.path)
        return True

    registry.hooks.append(around)
    assert "stopped after 10 redirects" in refused(docker, registry)


def peak(engine: Engine) -> int:
    """The most memory that the daemon has had, in KiB."""
    assert engine.daemon is not None
    match = re.search(r"VmHWM:\s+(\d+) kB", Path(f"/proc/{engine.daemon.pid}/status").read_text())
    assert match
    return int(match[1])


def test_zeros_by_the_gigabyte_take_no_memory(start_engine: Callable[..., Engine]) -> None:
    """A gigabyte behind the end of the archive, in a megabyte of gzip."""
    engine = start_engine(kind="tiffin", images=())
    docker = engine.cli("docker")
    with fake(engine) as registry:
        zeros = gzip.compress(bytes(64 << 20), 9) * 16
        registry.add_manifest(image(registry, zeros, diff="sha256:" + "3" * 64), "1")
        before = peak(engine)
        assert "failed to register layer" in refused(docker, registry)
        assert peak(engine) - before < 64 << 10


def tar_of(*entries: tuple[str, bytes, str]) -> bytes:
    """(name, type, link) of each entry, as they stand."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        for name, kind, link in entries:
            entry = tarfile.TarInfo(name)
            entry.type, entry.linkname = kind, link
            entry.size = 2 if kind == tarfile.REGTYPE else 0
            tar.addfile(entry, io.BytesIO(b"x\n"))
    return buffer.getvalue()


@pytest.mark.parametrize(
    "entries",
    [
        [("../../../../escaped", tarfile.REGTYPE, "")],
        [("a/../../escaped", tarfile.REGTYPE, "")],
        [("link", tarfile.SYMTYPE, "/tmp"), ("link/escaped", tarfile.REGTYPE, "")],
        [("link", tarfile.SYMTYPE, "../../../.."), ("link/escaped", tarfile.REGTYPE, "")],
        [("escaped", tarfile.LNKTYPE, "../../../../../../../etc/passwd")],
    ],
)
def test_names_in_a_layer_lead_nowhere_else(
    engine: Engine, docker: Cli, registry: Fake, entries: list[tuple[str, bytes, str]]
) -> None:
    """The image is refused, or has the file inside its own root: nothing is outside."""
    registry.add_manifest(image(registry, gzip.compress(tar_of(*entries))), "1")
    pulled = docker("pull", f"{registry.address}/x:1", check=False)
    if pulled.rc == 0:
        docker("rmi", f"{registry.address}/x:1")
    else:
        assert "failed to register layer" in pulled.err
    for place in (Path("/"), Path("/tmp"), engine.root, engine.data_root, engine.data_root / "snapshots"):
        assert not (place / "escaped").exists()


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_a_million_entries_take_bounded_memory(start_engine: Callable[..., Engine]) -> None:
    engine = start_engine(kind="tiffin", images=())
    docker = engine.cli("docker")
    with fake(engine) as registry:
        registry.add_manifest(image(registry, many_entries(1_000_000)), "1")
        before = peak(engine)
        docker("pull", f"{registry.address}/x:1", check=False, timeout=900)
        assert peak(engine) - before < 300 << 10


def many_entries(count: int) -> bytes:
    """A gzip archive of empty files."""
    header = bytearray(tarfile.TarInfo("0" * 12).tobuf(tarfile.USTAR_FORMAT))
    fixed = sum(header[:148]) + sum(header[156:]) - 12 * ord("0") + 8 * ord(" ")
    packed = zlib.compressobj(1, wbits=31)
    parts = []
    for number in range(count):
        name = b"%012d" % number
        header[:12] = name
        header[148:156] = b"%06o\0 " % (fixed + sum(name))
        parts.append(packed.compress(bytes(header)))
    return b"".join((*parts, packed.compress(bytes(1024)), packed.flush()))
