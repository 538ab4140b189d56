"""What nothing refers to is removed while the registry serves; nothing else is, whatever happens meanwhile."""

import os
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from rig.served import OCI_INDEX, Client, Served, described, digest_of

Serve = Callable[..., Served]


def collect(served: Served, *flags: str) -> str:
    """`tiffin registry gc`, with the running server's options; what it says."""
    command = [sys.executable, "-m", "tiffin.daemon.registry", "gc", "--storage", str(served.root), *flags]
    return subprocess.check_output(command, text=True, timeout=60)


def blobs(served: Served) -> set[str]:
    return {f"{path.parent.name}:{path.name}" for path in (served.root / "blobs").glob("*/*")}


def age(served: Served, seconds: int = 7200) -> None:
    """Make everything that is there older, as if time had passed."""
    for top in ("blobs", "repositories", "catalog"):
        for path in (served.root / top).rglob("*"):
            status = path.stat()
            os.utime(path, (status.st_atime - seconds, status.st_mtime - seconds))


def restarted(served: Served) -> Client:
    """A server that has touched nothing."""
    served.stop()
    served.start()
    return served.client()


def test_what_is_old_and_referred_to_by_nothing_goes(serve: Serve) -> None:
    served = serve("--gc-grace", "1h")
    client = served.client()
    kept = client.push_image("a", "1", b"kept", b"shared")
    gone = client.push_image("b", "1", b"gone", b"shared")
    client.request("DELETE", f"/v2/b/manifests/{gone}")
    orphan = client.push_blob("a", b"orphan")
    removed = client.push_blob("a", b"removed")
    client.request("DELETE", f"/v2/a/blobs/{removed}")
    assert "0 blobs" in collect(served), "everything is younger than the grace period"
    client = restarted(served)
    age(served)
    young = client.push_blob("a", b"young")
    print(collect(served))
    assert client.get("/v2/a/manifests/1").status == 200
    there = blobs(served)
    assert {kept, digest_of(b"kept"), digest_of(b"shared"), young} <= there
    assert not {gone, digest_of(b"gone"), orphan, removed} & there
    assert client.get("/v2/_catalog").json["repositories"] == ["a"], "b is empty"
    assert served.figure("gc_runs_total") == 1
    assert served.figure("gc_blobs_total") >= 4
    assert client.head(f"/v2/a/blobs/{orphan}").status == 404
    assert client.push_blob("a", b"orphan") == orphan


def test_what_a_client_was_told_is_here_stays(serve: Serve) -> None:
    served = serve("--gc-grace", "1h")
    document = served.client().image("a", b"told")
    client = restarted(served)
    age(served)
    for part in (document["config"], *document["layers"]):
        assert client.head(f"/v2/a/blobs/{part['digest']}").status == 200
    collect(served)
    assert client.push_manifest("a", "1", document).status == 201


def test_manifests_without_tags_go_when_asked_and_what_tags_lead_to_stays(serve: Serve) -> None:
    served = serve("--gc-grace", "1h", "--gc-untagged")
    client = served.client()
    child = client.image("a", b"child")
    client.push_manifest("a", described(child)["digest"], child)
    index = {"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": [described(child)]}
    client.push_manifest("a", "index", index)
    signature = client.image("a", b"signature", subject=described(child))
    client.push_manifest("a", described(signature)["digest"], signature)
    stray = client.push_image("a", "stray", b"stray")
    client.request("DELETE", "/v2/a/manifests/stray")
    lost = client.image("a", b"lost", subject={**described(child), "digest": stray})
    client.push_manifest("a", described(lost)["digest"], lost)
    client = restarted(served)
    age(served)
    assert "removed 2 manifests" in collect(served)
    for document in (child, index, signature):
        assert client.get(f"/v2/a/manifests/{described(document)['digest']}").status == 200
    assert client.get(f"/v2/a/manifests/{stray}").status == 404
    assert client.get(f"/v2/a/referrers/{stray}").json["manifests"] == []


def test_uploads_that_nobody_goes_on_with_end(serve: Serve) -> None:
    served = serve("--upload-expiry", "0")
    client = served.client()
    location = client.request("PATCH", client.begin("a"), b"some").location
    assert "1 uploads" in collect(served)
    assert client.get(location).code == "BLOB_UPLOAD_UNKNOWN"
    assert list((served.root / "uploads").iterdir()) == []


def test_it_collects_by_itself(serve: Serve) -> None:
    from rig.waiting import eventually

    served = serve("--gc-interval", "1s", "--gc-grace", "0")
    orphan = served.client().push_blob("a", b"orphan")
    eventually(lambda: orphan not in blobs(served), what="the orphan's end")
    eventually(lambda: served.figure("gc_runs_total") >= 2)


@pytest.mark.slow
def test_pushes_pulls_and_deletes_go_on_while_it_collects(serve: Serve) -> None:
    """With a grace of ten minutes nothing that is being pushed is old; what was made old before goes."""
    served = serve("--gc-grace", "10m", "--access-log", "none")
    first = served.client()
    for number in range(20):
        garbage = first.push_image("old", "x", b"garbage %d" % number)
        first.request("DELETE", f"/v2/old/manifests/{garbage}")
    restarted(served)
    age(served)
    done = threading.Event()
    failures: list[str] = []
    pushed: dict[str, tuple[str, bytes]] = {}

    def work(number: int) -> None:
        client = served.client()
        for turn in range(15):
            name, layer = f"load/{number}", os.urandom(20_000)
            try:
                digest = client.push_image(name, f"t{turn}", layer, b"shared by all")
                assert client.get(f"/v2/{name}/manifests/t{turn}").status == 200
                assert client.get(f"/v2/{name}/blobs/{digest_of(layer)}").body == layer
                if turn % 3 == 2:
                    assert client.request("DELETE", f"/v2/{name}/manifests/{digest}").status == 202
                else:
                    pushed[f"{name}/manifests/{digest}"] = (name, layer)
            except AssertionError as error:
                failures.append(f"{number} {turn}: {error}")

    def sweep() -> None:
        while not done.is_set():
            collect(served)

    workers = [threading.Thread(target=work, args=(number,)) for number in range(4)]
    sweeper = threading.Thread(target=sweep)
    for thread in (*workers, sweeper):
        thread.start()
    for thread in workers:
        thread.join()
    done.set()
    sweeper.join()
    assert failures == []
    client = served.client()
    for path, (name, layer) in pushed.items():
        assert client.get(f"/v2/{path}").status == 200
        assert client.get(f"/v2/{name}/blobs/{digest_of(layer)}").body == layer
    assert not {digest_of(b"garbage %d" % number) for number in range(20)} & blobs(served)


def test_the_directory_is_an_image_layout(serve: Serve, tmp_path: Path) -> None:
    served = serve()
    digest = served.client().push_image("a/b", "1", os.urandom(100_000))
    served.stop()
    for one in blobs(served):
        algorithm, _, encoded = one.partition(":")
        assert digest_of((served.root / "blobs" / algorithm / encoded).read_bytes(), algorithm) == one
    source = f"oci:{served.root}:a/b:1"
    command = ["skopeo", "--insecure-policy", "copy", source, f"dir:{tmp_path / 'copy'}"]
    subprocess.run(command, check=True, capture_output=True, timeout=60)
    assert digest_of((tmp_path / "copy" / "manifest.json").read_bytes()) == digest
