"""A registry whose storage is a bucket. (All tests of the specification run on one as well.)"""

import json
import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from rig.seaweed import ENDPOINT, SeaweedFS
from rig.served import described, digest_of
from rig.waiting import eventually

pytestmark = pytest.mark.slow


def test_what_is_in_the_bucket_outlives_the_machine(weed: SeaweedFS, tmp_path: Path) -> None:
    first = weed.registry(tmp_path / "one", prefix="outlives")
    layer = os.urandom(150 << 20)  # sent in several parts
    document = first.client().image("a/b", layer)
    first.client().push_manifest("a/b", "1", document)
    signature = first.client().image("a/b", subject=described(document))
    first.client().push_manifest("a/b", "s", signature)
    first.close()
    second = weed.registry(tmp_path / "two", prefix="outlives")
    client = second.client()
    assert client.get("/v2/a/b/manifests/1").json == document
    assert client.get("/v2/_catalog").json == {"repositories": ["a/b"]}
    assert len(client.get(f"/v2/a/b/referrers/{described(document)['digest']}").json["manifests"]) == 1
    assert digest_of(client.get(f"/v2/a/b/blobs/{digest_of(layer)}").body) == digest_of(layer)
    part = client.get(f"/v2/a/b/blobs/{digest_of(layer)}", Range="bytes=100000000-100000009")
    assert part.body == layer[100_000_000:100_000_010]
    left = [path for path in (tmp_path / "two").rglob("*") if path.is_file() and path.stat().st_size > 1000]
    assert left == [], "nothing of the content stays on this machine"
    second.close()


def test_the_sweep_in_a_bucket(weed: SeaweedFS, tmp_path: Path) -> None:
    served = weed.registry(tmp_path / "state", "--gc-grace", "0")
    client = served.client()
    kept = client.push_image("a", "1", b"kept")
    gone = client.push_image("a", "2", b"gone")
    client.request("DELETE", f"/v2/a/manifests/{gone}")
    served.stop()  # what the sweep goes by now is only what is in the bucket
    command = [sys.executable, "-m", "tiffin.daemon.registry", "gc", *served.flags]
    inside = ["nsenter", f"--net={weed.network.path}", *command]
    said = subprocess.check_output(inside, env={**os.environ, **weed.environment}, text=True, timeout=120)
    assert "removed 0 manifests, 2 links, 3 blobs" in said
    served.start()
    client = served.client()
    assert client.head("/v2/a/manifests/1").headers["Docker-Content-Digest"] == kept
    assert client.get(f"/v2/a/blobs/{digest_of(b'kept')}").body == b"kept"
    assert client.get(f"/v2/a/blobs/{digest_of(b'gone')}").status == 404
    served.close()


def test_many_push_at_once(weed: SeaweedFS, tmp_path: Path) -> None:
    served = weed.registry(tmp_path / "state")
    failures: list[str] = []

    def work(number: int) -> None:
        try:
            client = served.client()
            layers = [os.urandom(300_000) for _ in range(3)]
            client.push_image(f"many/{number}", "1", *layers, b"shared")
            for layer in layers:
                assert client.get(f"/v2/many/{number}/blobs/{digest_of(layer)}").body == layer
        except AssertionError as error:
            failures.append(f"{number}: {error}")

    threads = [threading.Thread(target=work, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    assert len(served.client().get("/v2/_catalog").json["repositories"]) == 8
    served.close()


def test_a_service_that_is_down_is_told(weed: SeaweedFS, tmp_path: Path) -> None:
    flags = ["--storage", "s3://nowhere", "--state", str(tmp_path), "--s3-endpoint", ENDPOINT]
    command = [sys.executable, "-m", "tiffin.daemon.registry", "serve", *flags]
    inside = ["nsenter", f"--net={weed.network.path}", *command]
    done = subprocess.run(inside, env={**os.environ, **weed.environment}, capture_output=True, text=True, timeout=60)
    assert done.returncode == 1
    assert "the bucket is not in s3://nowhere/" in done.stderr
    assert json.dumps(done.stderr).count("Traceback") == 0


def test_a_cache_in_a_bucket(weed: SeaweedFS, tmp_path: Path) -> None:
    upstream = weed.registry(tmp_path / "upstream")
    data = os.urandom(5 << 20)
    upstream.client().push_image("a", "1", data)
    cache = weed.registry(tmp_path / "cache", "--upstream", f"http://{upstream.address}")
    for _ in range(2):
        assert cache.client().get("/v2/a/manifests/1").status == 200
        assert cache.client().get(f"/v2/a/blobs/{digest_of(data)}").body == data
    eventually(lambda: upstream.requests("GET", f"blobs/{digest_of(data)}"), what="the line of what was sent")
    assert len(upstream.requests("GET", f"blobs/{digest_of(data)}")) == 1
    upstream.stop()
    assert cache.client().get(f"/v2/a/blobs/{digest_of(data)}").body == data
    cache.close()
