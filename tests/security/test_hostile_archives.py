"""Archives that an attacker made, by all the ways in: load, import, and into a container. The host stays as it is."""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import os
import socket
import subprocess
import tarfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from rig import Cli, Engine, archives

pytestmark = pytest.mark.root
Layer = Callable[[tarfile.TarFile, Path], None]


@pytest.fixture
def host(tmp_path: Path) -> Iterator[Path]:
    """A directory that no archive may reach, on the same file system as nothing else."""
    path = tmp_path / "outside"
    path.mkdir()
    (path / "file").write_text("secret")
    before = os.stat(path / "file")
    yield path
    after = os.stat(path / "file")
    assert [item.name for item in path.iterdir()] == ["file"]
    assert (after.st_mode, after.st_uid, after.st_nlink) == (before.st_mode, before.st_uid, before.st_nlink)
    assert (path / "file").read_text() == "secret"


def link(tar: tarfile.TarFile, name: str, target: str, kind: bytes = tarfile.SYMTYPE) -> None:
    archives.add(tar, name, type=kind, linkname=target)


def through_a_link(tar: tarfile.TarFile, host: Path) -> None:
    link(tar, "way", str(host))
    archives.add(tar, "way/new", b"x")
    archives.add(tar, "way/file", b"overwritten")


def climbing_through_a_link(tar: tarfile.TarFile, host: Path) -> None:
    link(tar, "way", "../" * 20 + str(host).lstrip("/"))
    archives.add(tar, "way/new", b"x")


def links_to_links(tar: tarfile.TarFile, host: Path) -> None:
    for number in range(20):
        link(tar, f"l{number}", f"l{number + 1}")
    link(tar, "l20", str(host))
    archives.add(tar, "l0/new", b"x")


def mode_through_a_link(tar: tarfile.TarFile, host: Path) -> None:
    link(tar, "way", str(host / "file"))
    archives.add(tar, "way", type=tarfile.DIRTYPE, mode=0o777)


def climbing(tar: tarfile.TarFile, host: Path) -> None:
    archives.add(tar, "../" * 20 + str(host / "new").lstrip("/"), b"x")


def climbing_in_the_middle(tar: tarfile.TarFile, host: Path) -> None:
    archives.add(tar, "a/../../../../../../../../../../.." + str(host / "new"), b"x")


def absolute(tar: tarfile.TarFile, host: Path) -> None:
    archives.add(tar, str(host / "new"), b"x")


def hard_link_out(tar: tarfile.TarFile, host: Path) -> None:
    link(tar, "hard", str(host / "file"), tarfile.LNKTYPE)


def hard_link_climbing(tar: tarfile.TarFile, host: Path) -> None:
    link(tar, "hard", "../" * 20 + str(host / "file").lstrip("/"), tarfile.LNKTYPE)


def hard_link_through_a_link(tar: tarfile.TarFile, host: Path) -> None:
    link(tar, "way", str(host))
    link(tar, "hard", "way/file", tarfile.LNKTYPE)
    archives.add(tar, "hard", b"overwritten")


def whiteouts(tar: tarfile.TarFile, host: Path) -> None:
    link(tar, "way", str(host))
    archives.add(tar, "way/.wh.file")
    archives.add(tar, "way/.wh..wh..opq")


def whiteout_of_dots(tar: tarfile.TarFile, host: Path) -> None:
    archives.add(tar, "a/.wh...")


def pax_name(tar: tarfile.TarFile, host: Path) -> None:
    info = tarfile.TarInfo("innocent")
    info.pax_headers = {"path": "../" * 20 + str(host / "new").lstrip("/")}
    tar.addfile(info)


REFUSED: list[Layer] = [climbing, climbing_in_the_middle, hard_link_climbing, pax_name]
CONTAINED: list[Layer] = [
    through_a_link, climbing_through_a_link, links_to_links, mode_through_a_link, absolute, hard_link_out,
    hard_link_through_a_link, whiteouts, whiteout_of_dots,
]  # fmt: skip


def packed(layer: Layer, host: Path) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.PAX_FORMAT) as tar:
        archives.add(tar, "bin", type=tarfile.DIRTYPE, mode=0o755)
        layer(tar, host)
    return buffer.getvalue()


def put(engine: Engine, container: str, path: str, archive: bytes, method: str = "PUT") -> tuple[int, str]:
    head = f"{method} /containers/{container}/archive?path={path} HTTP/1.1\r\nHost: d\r\nConnection: close\r\n"
    return request(engine, head + "Content-Type: application/x-tar\r\n", archive)


def request(engine: Engine, head: str, body: bytes) -> tuple[int, str]:
    with socket.socket(socket.AF_UNIX) as client:
        client.settimeout(60)
        client.connect(str(engine.socket))
        answer = b""
        try:
            client.sendall(head.encode() + f"Content-Length: {len(body)}\r\n\r\n".encode() + body)
        except (BrokenPipeError, ConnectionResetError):
            pass  # it has answered before the end
        try:
            while piece := client.recv(65536):
                answer += piece
        except ConnectionResetError:
            pass
    return int(answer.split()[1]), answer.decode("utf-8", "replace")


@pytest.mark.parametrize("layer", [*REFUSED, *CONTAINED], ids=lambda layer: layer.__name__)
def test_an_archive_stays_inside(docker: Cli, engine: Engine, host: Path, tmp_path: Path, layer: Layer) -> None:
    archive = packed(layer, host)
    (tmp_path / "layer.tar").write_bytes(archive)
    refused = layer in REFUSED
    imported = docker("import", str(tmp_path / "layer.tar"), "hostile:imported", check=False)
    archives.write(tmp_path / "image.tar", [archives.Recipe(["hostile:loaded"], [tmp_path / "layer.tar"])])
    loaded = docker("load", "-i", str(tmp_path / "image.tar"), check=False)
    if refused:
        assert imported.rc == 1 and loaded.rc == 1
    docker("run", "-d", "--name", "target", "busybox", "sleep", "1000")
    docker("create", "--name", "stopped", "busybox")
    for name in ("target", "stopped"):
        status, said = put(engine, name, "/tmp", archive)
        assert status in ((400, 500) if refused else (200, 400, 409, 500)), said
    docker("rmi", "-f", "hostile:imported", "hostile:loaded", check=False)
    assert docker("version").rc == 0


def number(value: int) -> bytes:
    """A field of 12 bytes in base 256."""
    return b"\x80" + value.to_bytes(11, "big")


def header(name: bytes, *, size: bytes = b"0" * 11 + b"\0", kind: bytes = b"0") -> bytes:
    block = bytearray(tarfile.TarInfo(name.decode()).tobuf(tarfile.USTAR_FORMAT)[:512])
    block[124:136], block[156:157] = size, kind
    block[148:156] = b" " * 8
    block[148:156] = b"%06o\0 " % sum(block)
    return bytes(block)


END = bytes(1024)
DAMAGED = {
    "size-2^63": header(b"f", size=number(1 << 63)) + END,
    "size-2^80": header(b"f", size=number(1 << 80)) + END,
    "size-negative": header(b"f", size=b"\xff" * 12) + END,
    "size-beyond-the-end": header(b"f", size=number(1 << 40)) + END,
    "pax-huge": header(b"p", kind=b"x", size=number(1 << 40)) + END,
    "pax-length-lies": header(b"p", kind=b"x", size=b"00000000020\0") + b"999999999 path=x\n".ljust(512, b"\0") + END,
    "pax-size": header(b"p", kind=b"x", size=b"00000000034\0")
    + b"28 size=9223372036854775808\n".ljust(512, b"\0")
    + header(b"f")
    + END,
    "long-name-huge": header(b"p", kind=b"L", size=number(1 << 34)) + END,
    "garbage": os.urandom(4096),
    "half": header(b"f")[:300],
}


@pytest.mark.parametrize("name", DAMAGED)
def test_numbers_that_lie_are_refused_in_flat_memory(docker: Cli, engine: Engine, tmp_path: Path, name: str) -> None:
    docker("create", "--name", "stopped", "busybox")
    before = memory(engine)
    (tmp_path / "a.tar").write_bytes(DAMAGED[name])
    assert docker("import", str(tmp_path / "a.tar"), "hostile:lies", check=False).rc == 1
    assert docker("load", "-i", str(tmp_path / "a.tar"), check=False).rc == 1
    status, said = put(engine, "stopped", "/tmp", DAMAGED[name])
    assert status == 400 or (engine.kind != "tiffin" and status >= 400), said
    assert memory(engine) - before < 64 << 10


def memory(engine: Engine) -> int:
    """The daemon's peak of resident memory in KiB."""
    assert engine.daemon is not None
    text = Path(f"/proc/{engine.daemon.pid}/status").read_text()
    return int(next(line for line in text.splitlines() if line.startswith("VmHWM")).split()[1])


def test_a_sparse_file_takes_no_space(docker: Cli, engine: Engine) -> None:
    """It says 7 TiB and brings nothing: room for it is the container's own affair, the disk does not fill."""
    size = 7 << 40
    data = f"1\n{size}\n0\n".encode().ljust(512, b"\0")
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.PAX_FORMAT) as tar:
        info = tarfile.TarInfo("sparse")
        info.pax_headers = {"GNU.sparse.major": "1", "GNU.sparse.minor": "0", "GNU.sparse.name": "sparse"}
        info.pax_headers["GNU.sparse.realsize"] = str(size)
        info.size = len(data)
        tar.addfile(info, io.BytesIO(data))
    docker("create", "--name", "stopped", "busybox")
    before = taken(engine.data_root)
    status, _ = put(engine, "stopped", "/tmp", buffer.getvalue())
    assert status in (200, 400, 500)
    assert taken(engine.data_root) - before < 256 << 20


def taken(path: Path) -> int:
    """Bytes on the disk; what goes while it is counted counts or not."""
    return int(subprocess.run(["du", "-s", "-B1", path], stdout=subprocess.PIPE, check=False).stdout.split()[0])


def test_a_compressed_flood_is_read_in_flat_memory(docker: Cli, engine: Engine, tmp_path: Path) -> None:
    before = memory(engine)
    with gzip.open(tmp_path / "flood.gz", "wb", compresslevel=1) as file:
        for _ in range(128):
            file.write(bytes(1 << 20))
    docker("load", "-i", str(tmp_path / "flood.gz"), check=False)
    docker("import", str(tmp_path / "flood.gz"), "hostile:flood", check=False)
    docker("rmi", "-f", "hostile:flood", check=False)
    assert memory(engine) - before < 96 << 10


@pytest.mark.slow
def test_an_image_archive_of_too_many_members_is_refused(docker: Cli, tmp_path: Path) -> None:
    with gzip.open(tmp_path / "many.tar.gz", "wb", compresslevel=1) as file:
        for index in range(21_000):
            file.write(header(b"m%d" % index))
        file.write(END)
    done = docker("load", "-i", str(tmp_path / "many.tar.gz"), check=False)
    assert done.rc == 1
    assert "20000 entries" in done.err


def layout(path: Path, blobs: dict[str, bytes], index: object) -> None:
    with tarfile.open(path, "w") as tar:
        archives.add(tar, "oci-layout", b'{"imageLayoutVersion": "1.0.0"}')
        for name, data in blobs.items():
            archives.add(tar, name, data)
        archives.add(tar, "index.json", json.dumps(index).encode())


def blob(data: bytes) -> tuple[str, str]:
    digest = hashlib.sha256(data).hexdigest()
    return f"blobs/sha256/{digest}", f"sha256:{digest}"


@pytest.mark.parametrize(
    "stated", ["application/vnd.oci.image.index.v1+json", "application/vnd.oci.image.manifest.v1+json"]
)
def test_a_document_of_two_meanings_is_refused(docker: Cli, tmp_path: Path, stated: str) -> None:
    """CVE-2021-41190."""
    config = b"{}"
    both = {"schemaVersion": 2, "config": {"digest": blob(config)[1], "size": 2}, "layers": [], "manifests": []}
    raw = json.dumps(both).encode()
    index = {"schemaVersion": 2, "manifests": [{"mediaType": stated, "digest": blob(raw)[1], "size": len(raw)}]}
    layout(tmp_path / "a.tar", {blob(raw)[0]: raw, blob(config)[0]: config}, index)
    assert docker("load", "-i", str(tmp_path / "a.tar"), check=False).rc == 1


@pytest.mark.parametrize(
    "digest", ["sha256:../../../../etc/passwd", "sha256:" + "A" * 64, "sha512:" + "0" * 128, "../x", "", "sha256:"]
)
def test_a_digest_is_never_a_path(docker: Cli, tmp_path: Path, digest: str) -> None:
    kind = "application/vnd.oci.image.manifest.v1+json"
    index = {"schemaVersion": 2, "manifests": [{"mediaType": kind, "digest": digest, "size": 2}]}
    layout(tmp_path / "a.tar", {"blobs/sha256/" + "0" * 64: b"{}"}, index)
    assert docker("load", "-i", str(tmp_path / "a.tar"), check=False).rc == 1
    manifest = [{"Config": f"../../{digest}", "RepoTags": ["hostile:1"], "Layers": ["../../../etc/passwd"]}]
    with tarfile.open(tmp_path / "b.tar", "w") as tar:
        archives.add(tar, "manifest.json", json.dumps(manifest).encode())
    assert docker("load", "-i", str(tmp_path / "b.tar"), check=False).rc == 1


@pytest.mark.parametrize("name", ["a/../../../etc", "..", "../x:1", "x:..", "x@sha256:../../y", "x:" + "a" * 200])
def test_names_of_images_in_an_archive_are_references(docker: Cli, tmp_path: Path, name: str) -> None:
    layer = archives.cache() / "busybox-1.layer.tar"
    archives.busybox()
    archives.write(tmp_path / "image.tar", [archives.Recipe([name], [layer])])
    assert docker("load", "-i", str(tmp_path / "image.tar"), check=False).rc == 1
