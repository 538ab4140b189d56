"""What clients and archives do wrong: an error that says so, nothing left, the daemon alive."""

import gzip
import io
import json
import socket
import tarfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from rig import Cli, Engine, archives, eventually


def leftovers(engine: Engine) -> list[str]:
    """Files that an upload in progress has."""
    return [
        str(path)
        for name in ("content/ingest", "snapshots/overlay/staging")
        for path in (engine.data_root / name).glob("*")
    ]


@pytest.fixture(autouse=True)
def nothing_left(engine: Engine, docker: Cli) -> Iterator[None]:
    before = sorted(docker("images", "-aq").out.split())
    yield
    eventually(lambda: not leftovers(engine), within=60, what="what was uploaded is gone")
    assert sorted(docker("images", "-aq").out.split()) == before


def request(engine: Engine, head: str, body: bytes) -> socket.socket:
    client = socket.socket(socket.AF_UNIX)
    client.settimeout(60)
    client.connect(str(engine.socket))
    client.sendall(head.encode() + b"\r\n\r\n" + body)
    return client


def answer(client: socket.socket) -> bytes:
    with client:
        parts = []
        while part := client.recv(65536):
            parts.append(part)
    return b"".join(parts)


@pytest.mark.parametrize("path", ["/images/load", "/images/create?fromSrc=-&repo=cut"])
@pytest.mark.parametrize("size", [0, 100, 700_000])
def test_an_upload_that_is_cut_off_leaves_nothing(engine: Engine, path: str, size: int) -> None:
    body = archives.busybox().read_bytes()
    head = f"POST {path} HTTP/1.1\r\nHost: d\r\nContent-Type: application/x-tar\r\nContent-Length: {len(body)}"
    for _ in range(3):
        request(engine, head, body[:size]).close()


def test_an_error_before_the_end_of_the_body_is_told_at_once(engine: Engine) -> None:
    head = "POST /images/load HTTP/1.1\r\nHost: d\r\nConnection: close\r\nTransfer-Encoding: chunked"
    said = answer(request(engine, head, b"1000\r\n" + b"j" * 4096 + b"\r\n0\r\n\r\n"))
    assert b"error" in said


def layer_archive(path: Path, layer: bytes, digest: str) -> Path:
    config = {"architecture": "amd64", "os": "linux", "rootfs": {"type": "layers", "diff_ids": [digest]}, "config": {}}
    manifest = [{"Config": "config.json", "RepoTags": ["hostile:1"], "Layers": ["layer.tar"]}]
    with tarfile.open(path, "w") as archive:
        for name, data in (
            ("config.json", json.dumps(config).encode()),
            ("layer.tar", layer),
            ("manifest.json", json.dumps(manifest).encode()),
        ):
            info = tarfile.TarInfo(name)
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
    return path


def test_a_layer_with_another_digest_is_refused(docker: Cli, tmp_path: Path) -> None:
    path = layer_archive(tmp_path / "a.tar", archives.busybox_layer(), "sha256:" + "0" * 64)
    assert docker("load", "-i", str(path), check=False).rc == 1


def test_a_digest_that_is_a_path_is_refused(docker: Cli, tmp_path: Path) -> None:
    path = layer_archive(tmp_path / "a.tar", archives.busybox_layer(), "sha256:../../../../etc/passwd")
    assert docker("load", "-i", str(path), check=False).rc == 1


def test_a_compressed_bomb_that_is_no_archive_is_refused(docker: Cli, tmp_path: Path) -> None:
    (tmp_path / "bomb").write_bytes(gzip.compress(b"\1" * (200 << 20), 9))
    assert docker("load", "-i", str(tmp_path / "bomb"), check=False).rc == 1


@pytest.mark.parametrize("name", ["UPPER", "a//b", "..", "a:b:c", "x@sha256:1", "%00", "-"])
@pytest.mark.parametrize("method", ["GET /images/{}/json", "DELETE /images/{}", "POST /images/{}/tag?repo=x"])
def test_a_malformed_name_is_a_client_s_error(engine: Engine, name: str, method: str) -> None:
    said = answer(request(engine, f"{method.format(name)} HTTP/1.1\r\nHost: d\r\nConnection: close", b""))
    assert said.startswith((b"HTTP/1.1 400", b"HTTP/1.1 404", b"HTTP/1.1 301")), said[:300]


def test_an_unknown_filter_is_a_client_s_error(engine: Engine) -> None:
    head = "GET /images/json?filters=%7B%22nonsense%22%3A%5B%22x%22%5D%7D HTTP/1.1\r\nHost: d\r\nConnection: close"
    said = answer(request(engine, head, b""))
    assert said.startswith(b"HTTP/1.1 400") and b"nvalid filter" in said
