"""Requests that no honest client sends: each is refused with little work, and the registry serves on."""

import hashlib
import os
import shlex
import socket
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from rig.machine import Machine
from rig.served import OCI_MANIFEST, Client, Inside, Served, digest_of, with_digest
from rig.waiting import eventually


@pytest.mark.parametrize(
    "path",
    [
        "/v2/../../../etc/passwd",
        "/v2/../../etc/manifests/passwd",
        "/v2/%2e%2e/%2e%2e/manifests/1",
        "/v2/a/../b/manifests/1",
        "/v2/a//b/manifests/1",
        "/v2/a/./b/manifests/1",
        "/v2/_tags/manifests/1",
        "/v2/a/_manifests/b/manifests/1",
        "/v2/a%00b/manifests/1",
        "/v2/a\\b/manifests/1",
        "/v2/" + "a" * 256 + "/manifests/1",
        "/v2/" + "a/" * 200 + "b/manifests/1",
        "/v2/a/manifests/../../../../oci-layout",
        "/v2/a/manifests/..%2f..%2foci-layout",
        "/v2/a/manifests/" + "x" * 129,
        "/v2/a/blobs/sha256:../../../../etc/passwd",
        "/v2/a/blobs/sha256%3A" + "A" * 64,
        "/v2/a/blobs/sha512:" + "0" * 64,
        "/v2/a/blobs/uploads/..%2f..%2flock",
        "/v2/a/blobs/uploads/" + "0" * 32,
        "/v2/a/referrers/..%2f",
        "/v2/%ff%fe/manifests/1",
        "/v2/\u00e9/manifests/1".encode().decode("latin-1"),
    ],
)
def test_names_that_lead_elsewhere_lead_nowhere(own: Client, shared: Served, path: str) -> None:
    with own.open() as sock:
        sock.sendall(b"GET " + path.encode("latin-1") + b" HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        answer = b"".join(iter(lambda: sock.recv(65536), b""))
    assert answer[9:12] in (b"400", b"404"), answer
    assert b"root:" not in answer
    assert b"imageLayoutVersion" not in answer


def test_mounts_and_digests_that_are_tricks(own: Client, name: str) -> None:
    digest = own.push_blob(name, b"secret of " + name.encode())
    other = f"{name}-other"
    for query in (f"mount={digest}&from=../{name}", f"mount={digest}&from=UPPER", f"mount=../x&from={name}"):
        assert own.request("POST", f"/v2/{other}/blobs/uploads/?{query}").status == 400
    for query in ("digest=sha256:..%2f", "digest-algorithm=md5", "digest-algorithm=..%2f"):
        assert own.request("POST", f"/v2/{other}/blobs/uploads/?{query}").code == "DIGEST_INVALID"


def test_an_endless_manifest_is_broken_off(own: Client, name: str) -> None:
    with own.open() as sock:
        head = f"PUT /v2/{name}/manifests/1 HTTP/1.1\r\nHost: x\r\nContent-Type: {OCI_MANIFEST}\r\n"
        sock.sendall(head.encode() + b"Transfer-Encoding: chunked\r\n\r\n")
        with pytest.raises(OSError):
            for _ in range(1 << 20):  # 64 GiB, should nobody stop it
                sock.sendall(b"10000\r\n" + bytes(0x10000) + b"\r\n")
    assert own.get("/v2/").status == 200


def test_announced_sizes_are_refused_before_they_come(own: Client, name: str) -> None:
    with own.open() as sock:
        head = f"PUT /v2/{name}/manifests/1 HTTP/1.1\r\nHost: x\r\nContent-Type: {OCI_MANIFEST}\r\n"
        sock.sendall(head.encode() + b"Content-Length: 999999999999\r\nExpect: 100-continue\r\n\r\n")
        answer = sock.recv(65536)
    assert answer.startswith(b"HTTP/1.1 413 ")


def test_a_blob_above_the_limit_is_refused_and_leaves_nothing(serve: Callable[..., Served]) -> None:
    served: Served = serve("--max-blob-size", "1m", "--max-uploads", "3")
    client = served.client()
    small = os.urandom(1 << 20)
    client.push_blob("a", small)
    refused = client.request("POST", f"/v2/a/blobs/uploads/?digest={digest_of(bytes(3 << 20))}", bytes(3 << 20))
    assert (refused.status, refused.code) == (413, "SIZE_INVALID")
    location = client.begin("a")
    assert client.request("PATCH", location, bytes(3 << 20)).status == 413
    assert client.request("PUT", with_digest(location, digest_of(bytes(3 << 20))), bytes(1 << 20)).status in (400, 413)
    for _ in range(2):
        client.begin("a")
    eventually(lambda: len(list((served.root / "uploads").iterdir())) <= 3)
    while len(list((served.root / "uploads").iterdir())) < 3:
        client.begin("a")
    full = client.request("POST", "/v2/a/blobs/uploads/")
    assert (full.status, full.code) == (429, "TOOMANYREQUESTS")
    assert int(full.headers["Retry-After"]) > 0


def test_memory_is_flat_while_large_blobs_pass(serve: Callable[..., Served]) -> None:
    served: Served = serve("--access-log", "none")
    size = 100 << 20
    chunk = os.urandom(1 << 20)

    def peak() -> int:
        assert served.process is not None
        text = open(f"/proc/{served.process.pid}/status").read()
        return int(text.partition("VmHWM:")[2].split()[0]) >> 10

    client = served.client()
    client.push_blob("a", chunk)
    before = peak()
    digests = []

    def push() -> None:
        mine = served.client()
        location = mine.begin("a")
        total = hashlib.sha256()

        def pieces() -> Iterator[bytes]:
            for _ in range(size >> 20):
                total.update(chunk)
                yield chunk

        mine.connection.request("PATCH", location, pieces(), {}, encode_chunked=True)
        mine.connection.getresponse().read()
        digest = f"sha256:{total.hexdigest()}"
        assert mine.request("PUT", with_digest(location, digest)).status == 201
        digests.append(digest)

    threads = [threading.Thread(target=push) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(digests) == 2
    with client.open() as sock:
        sock.sendall(f"GET /v2/a/blobs/{digests[0]} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n".encode())
        received = sum(len(data) for data in iter(lambda: sock.recv(1 << 20), b""))
    assert received > size
    assert peak() - before < 60, "MiB, of 200 that came and 100 that went"


def test_a_client_that_never_reads_holds_nobody_up(own: Client, name: str) -> None:
    digest = own.push_blob(name, os.urandom(20 << 20))
    stuck = [own.open() for _ in range(40)]
    for sock in stuck:
        sock.sendall(f"GET /v2/{name}/blobs/{digest} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
    for _ in range(5):
        assert own.head(f"/v2/{name}/blobs/{digest}").status == 200
    own.push_image(name, "1", b"layer")
    for sock in stuck:
        sock.close()


def test_clients_that_go_away_at_any_time_leave_no_trace(serve: Callable[..., Served]) -> None:
    served = serve()
    client = served.client()
    digest = client.push_blob("a", os.urandom(8 << 20))
    location = client.begin("a")
    heads = [
        f"PATCH {location} HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\nExpect: 100-continue\r\n\r\n",
        f"PATCH {location} HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\nsome",
        f"PATCH {location} HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nab",
        f"PUT {location}?digest={digest} HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\nsome",
        "PUT /v2/a/manifests/1 HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\n{",
        f"GET /v2/a/blobs/{digest} HTTP/1.1\r\nHost: x\r\n\r\n",
        "GET /v2/ HTTP/1.1\r\nHost:",
        "nonsense\r\n\r\n",
    ]
    for head in heads:
        for linger in (b"\1\0\0\0\0\0\0\0", b"\0\0\0\0\0\0\0\0"):  # a reset, and an orderly end
            sock = client.open()
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
            sock.sendall(head.encode())
            sock.close()
    eventually(lambda: len(os.listdir(f"/proc/{served.process.pid}/fd")) < 40 if served.process else False)
    assert client.get(f"/v2/a/blobs/{digest}").status == 200
    assert client.get(location).status == 204


@pytest.mark.slow
def test_a_full_disk_is_told_and_reading_goes_on(tmp_path: Path) -> None:
    machine = Machine()
    served = Served(Inside(machine), tmp_path / "registry", start=False)
    command = shlex.join(served.command())
    mounted = f"mount -t tmpfs -o size=100m none {served.root} && exec {command}"
    served.command = lambda: ["nsenter", f"--mount=/proc/{machine.pid}/ns/mnt", "sh", "-c", mounted]  # type: ignore[method-assign]
    served.start()
    try:
        client = served.client()
        digest = client.push_blob("a", b"small")
        data = os.urandom(1 << 20) * 90
        full = client.request("POST", f"/v2/a/blobs/uploads/?digest={digest_of(data)}", data)
        assert (full.status, full.code) == (507, "UNAVAILABLE")
        assert client.get(f"/v2/a/blobs/{digest}").body == b"small"
        client.push_image("a", "1", b"fits")
    finally:
        served.close()
        machine.close()


def test_a_later_writer_takes_over_from_one_that_hangs(own: Client, name: str) -> None:
    location = own.begin(name)
    hanging = own.open()
    hanging.sendall(f"PATCH {location} HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\nfirst".encode())
    eventually(lambda: own.get(location).status == 204)
    # whatever of the first has been taken, the client asks and goes on
    data = b"first and second"
    answer = own.request("PATCH", location, b"", Content_Length="0")
    assert answer.status == 202

    def goes_on() -> bool:
        there = own.get(location).headers["Range"].partition("-")[2]
        at = 0 if there == "0" else int(there) + 1
        return own.request("PATCH", location, data[at:], Content_Range=f"{at}-{len(data) - 1}").status == 202

    eventually(goes_on)
    assert own.request("PUT", with_digest(location, digest_of(data))).status == 201
    hanging.close()
