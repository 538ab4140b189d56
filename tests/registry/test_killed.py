"""kill -9 at any moment: what is served afterwards is whole, and the same push succeeds."""

import os
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from rig.served import Served, described, digest_of, with_digest

Serve = Callable[..., Served]


def whole(served: Served) -> None:
    """Every blob is what its name says, every document names what is there."""
    for path in (served.root / "blobs").glob("*/*"):
        assert digest_of(path.read_bytes(), path.parent.name) == f"{path.parent.name}:{path.name}"
    for tag in served.root.glob("repositories/**/_tags/*"):
        digest = tag.read_text()
        assert (tag.parent.parent / "_manifests" / digest).exists()
    for link in [*served.root.glob("repositories/**/_manifests/*"), *served.root.glob("repositories/**/_blobs/*")]:
        assert (served.root / "blobs" / link.name.replace(":", "/")).exists(), link
    assert list((served.root / "ingest").iterdir()) == []


def test_an_upload_goes_on_after_kill(serve: Serve) -> None:
    served = serve()
    client = served.client()
    data = os.urandom(6 << 20)
    location = client.begin("a")
    assert client.request("PATCH", location, data[: 2 << 20]).status == 202
    with client.open() as sock:  # and one that is under way
        sock.sendall(f"PATCH {location} HTTP/1.1\r\nHost: x\r\nContent-Length: {4 << 20}\r\n\r\n".encode())
        sock.sendall(data[2 << 20 : 5 << 20])
        served.kill()
    served.start()
    whole(served)
    client = served.client()
    there = int(client.get(location).headers["Range"].partition("-")[2]) + 1
    assert there >= 2 << 20
    rest = f"{there}-{len(data) - 1}"
    assert client.request("PATCH", location, data[there:], Content_Range=rest).status == 202
    assert client.request("PUT", with_digest(location, digest_of(data))).status == 201
    assert client.get(f"/v2/a/blobs/{digest_of(data)}").body == data


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_killed_at_each_step_of_a_push_and_a_sweep(serve: Serve, tmp_path: Path) -> None:
    served = serve("--gc-grace", "0", start=False)
    number, seen = tmp_path / "number", tmp_path / "number.seen"
    number.write_text("0")
    passed = 0
    for step in range(1, 200):
        seen.unlink(missing_ok=True)
        number.write_text(str(step))
        served.start(TIFFIN_CRASH_AT=f"@{number}")
        died = False
        try:
            _push_and_sweep(served, step)
        except OSError:
            died = True
        if not died:
            served.stop()
            break
        assert served.process is not None
        assert served.process.wait(60) == -9
        passed += 1
        served.start()
        whole(served)
        _push_and_sweep(served, step)
        whole(served)
        served.stop()
    assert passed > 15, seen.read_text()


def _push_and_sweep(served: Served, step: int) -> None:
    client = served.client()
    name = "killed/image"
    document = client.image(name, b"layer %d" % step, b"shared")
    document["config"]["digest"] = client.push_blob(name, b"{}")
    document["config"]["size"] = 2
    if client.push_manifest(name, "1", document).status != 201:
        raise ConnectionResetError
    signature = {**document, "subject": described(document)}
    if client.push_manifest(name, "signed", signature).status != 201:
        raise ConnectionResetError
    digest = described(signature)["digest"]
    assert client.request("DELETE", f"/v2/{name}/manifests/{digest}").status == 202
    orphan = client.push_blob(name, b"orphan %d" % step)
    time.sleep(0.01)  # files get the time of the kernel's tick: older than now
    import socket
    from http.client import HTTPConnection

    connection = HTTPConnection("registry")
    connection.sock = socket.socket(socket.AF_UNIX)
    connection.sock.settimeout(60)
    connection.sock.connect(str(served.root / "control.sock"))
    connection.request("POST", "/gc", headers={"Content-Length": "0"})
    assert connection.getresponse().read().startswith(b"removed")
    assert client.get(f"/v2/{name}/blobs/{orphan}").status == 404
    assert client.get(f"/v2/{name}/manifests/1").json == document
    for layer in document["layers"]:
        assert client.head(f"/v2/{name}/blobs/{layer['digest']}").status == 200
