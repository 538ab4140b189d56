"""A registry as the cache of another: what is fetched, how often, as whom, and what is left when that one is down."""

import base64
import json
import os
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from rig.netns import Namespace
from rig.served import OCI_INDEX, OCI_MANIFEST, Served, basic, described, digest_of, passwords
from rig.waiting import eventually

Serve = Callable[..., Served]


def start_pair(serve: Serve) -> tuple[Served, Served]:
    upstream = serve()
    return upstream, serve("--upstream", f"http://{upstream.address}")


@pytest.fixture(scope="module")
def pair(namespace: Namespace, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Served, Served]]:
    """An upstream and its cache."""
    directory = tmp_path_factory.mktemp("pair")
    upstream = Served(namespace, directory / "upstream", port=5020)
    cache = Served(namespace, directory / "cache", "--upstream", f"http://{upstream.address}", port=5021)
    yield upstream, cache
    cache.close()
    upstream.close()


def figures(cache: Served) -> dict[str, float]:
    kinds = [(kind, result) for kind in ("manifest", "blob") for result in ("hit", "miss", "shared", "stale")]
    found = {
        f"{kind} {result}": cache.figure("cache_requests_total", kind=kind, result=result) for kind, result in kinds
    }
    return found | {"bytes": cache.figure("upstream_bytes_total")}


def test_the_second_pull_asks_upstream_for_one_digest(pair: tuple[Served, Served], name: str) -> None:
    upstream, cache = pair
    digest = upstream.client().push_image(name, "1", layer := os.urandom(3 << 20))
    before = figures(cache)

    def asked() -> list[tuple[str, str]]:
        """Sorted; the log's lines come after the answers."""
        return sorted(
            (line["method"], line["path"].rpartition("/")[2])
            for line in upstream.requests(part=name)
            if line["method"] in ("GET", "HEAD")
        )

    expected: list[tuple[str, str]] = []
    for turn in (1, 2):
        client = cache.client()
        answer = client.get(f"/v2/{name}/manifests/1", Accept=OCI_MANIFEST)
        assert answer.headers["Docker-Content-Digest"] == digest_of(answer.body) == digest
        assert client.get(f"/v2/{name}/manifests/{digest}").body == answer.body
        blobs = [part["digest"] for part in (answer.json["config"], *answer.json["layers"])]
        for blob in blobs:
            assert digest_of(client.get(f"/v2/{name}/blobs/{blob}").body) == blob
        if turn == 1:
            expected += [("GET", "1"), *((method, blob) for blob in blobs for method in ("HEAD", "GET"))]
        else:
            expected += [("HEAD", "1")]
        count = len(expected)
        eventually(lambda: len(asked()) >= count)  # noqa: B023 (called at once)
        assert asked() == sorted(expected)
    now = figures(cache)
    assert [now[key] - before[key] for key in ("blob miss", "blob hit", "manifest miss")] == [2, 2, 1]
    assert len(layer) < now["bytes"] - before["bytes"] < len(layer) + 10_000


def test_many_who_want_the_same_share_one_download(pair: tuple[Served, Served], name: str) -> None:
    upstream, cache = pair
    data = os.urandom(20 << 20)
    upstream.client().push_image(name, "1", data)
    digest = digest_of(data)
    found: list[bytes] = []
    ready = threading.Barrier(8)

    def pull(number: int) -> None:
        client = cache.client()
        ready.wait(60)
        assert client.get(f"/v2/{name}/manifests/1").status == 200
        asked = {"Range": f"bytes={number}-"} if number % 2 else {}
        found.append(bytes(data[: number if asked else 0]) + client.get(f"/v2/{name}/blobs/{digest}", **asked).body)

    threads = [threading.Thread(target=pull, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == [data] * 8
    eventually(lambda: upstream.requests("GET", f"blobs/{digest}"), what="the log's line, which comes after the answer")
    assert len(upstream.requests("GET", f"blobs/{digest}")) == 1


def test_a_moved_tag_is_noticed(pair: tuple[Served, Served], name: str) -> None:
    upstream, cache = pair
    for _ in range(2):
        digest = upstream.client().push_image(name, "latest", os.urandom(100))
        assert cache.client().head(f"/v2/{name}/manifests/latest").headers["Docker-Content-Digest"] == digest
    upstream.client().request("DELETE", f"/v2/{name}/manifests/latest")
    assert cache.client().get(f"/v2/{name}/manifests/latest").code == "MANIFEST_UNKNOWN"
    assert cache.client().get("/v2/never/manifests/x").status == 404
    assert cache.client().get(f"/v2/{name}/blobs/{digest_of(b'never')}").code == "BLOB_UNKNOWN"


def test_without_upstream_what_is_here_is_served(serve: Serve) -> None:
    upstream, cache = start_pair(serve)
    digest = upstream.client().push_image("a", "1", b"layer")
    other = upstream.client().push_image("a", "2", b"not fetched")
    client = cache.client()
    client.get("/v2/a/manifests/1")
    client.get(f"/v2/a/blobs/{digest_of(b'layer')}")
    upstream.stop()
    answer = client.get("/v2/a/manifests/1")
    assert (answer.status, answer.headers["Docker-Content-Digest"]) == (200, digest)
    assert answer.headers["Warning"].startswith("299 - ")
    assert client.get(f"/v2/a/manifests/{digest}").headers["Warning"] is None
    assert client.get(f"/v2/a/blobs/{digest_of(b'layer')}").body == b"layer"
    assert client.get("/v2/a/tags/list").json["tags"] == ["1"]
    for path in ("manifests/2", f"manifests/{other}", f"blobs/{digest_of(b'not fetched')}"):
        refused = client.get(f"/v2/a/{path}")
        assert (refused.status, refused.code) == (503, "UNAVAILABLE")
    assert cache.figure("cache_requests_total", result="stale") == 1
    cache.stop()
    cache.start()
    assert cache.client().get("/v2/a/manifests/1").status == 200


def test_credentials_are_the_caches_own(serve: Serve, tmp_path: Path) -> None:
    users = passwords(tmp_path / "upstream-users", cache="for upstream")
    upstream = serve("--htpasswd", str(users))
    authorized = upstream.client(Authorization=basic("cache", "for upstream"))
    authorized.push_image("a", "1", b"layer")
    secret = tmp_path / "password"
    secret.write_text("for upstream\n")
    mine = passwords(tmp_path / "cache-users", ann="for the cache")
    flags = ["--upstream", f"http://{upstream.address}", "--upstream-user", "cache", "--htpasswd", str(mine)]
    cache = serve(*flags, "--upstream-password-file", str(secret))
    assert cache.client().get("/v2/a/manifests/1").status == 401
    assert cache.client(Authorization=basic("cache", "for upstream")).get("/v2/a/manifests/1").status == 401
    ann = cache.client(Authorization=basic("ann", "for the cache"))
    assert ann.get("/v2/a/manifests/1").status == 200
    assert ann.get(f"/v2/a/blobs/{digest_of(b'layer')}").body == b"layer"
    assert {line["user"] for line in upstream.requests() if line["status"] < 400} == {"cache"}
    text = upstream.log.read_text() + cache.log.read_text()
    assert "for upstream" not in text
    assert base64.b64encode(b"cache:for upstream").decode() not in text
    anonymous = serve("--upstream", f"http://{upstream.address}")
    assert anonymous.client().get("/v2/a/manifests/1").status in (403, 503)


def test_a_cache_takes_nothing(pair: tuple[Served, Served], name: str) -> None:
    upstream, cache = pair
    upstream.client().push_image(name, "1", b"layer")
    client = cache.client()
    for method, path in (("POST", "blobs/uploads/"), ("PUT", "manifests/1"), ("DELETE", "manifests/1")):
        assert client.request(method, f"/v2/{name}/{path}").status == 405


def test_lists_are_upstreams(pair: tuple[Served, Served], name: str) -> None:
    upstream, cache = pair
    client = upstream.client()
    subject = client.image(name, b"layer")
    for tag in ("x", "y", "z"):
        client.push_manifest(name, tag, subject)
    client.push_manifest(name, "signature", signature := client.image(name, subject=described(subject)))
    assert cache.client().get(f"/v2/{name}/tags/list").json == {"name": name, "tags": ["signature", "x", "y", "z"]}
    page = cache.client().get(f"/v2/{name}/tags/list?n=2&last=signature")
    assert (page.json["tags"], 'rel="next"' in page.headers["Link"]) == (["x", "y"], True)
    found = cache.client().get(f"/v2/{name}/referrers/{described(subject)['digest']}").json["manifests"]
    assert [one["digest"] for one in found] == [described(signature)["digest"]]


def test_every_page_of_upstreams_referrers_is_listed(pair: tuple[Served, Served], name: str) -> None:
    upstream, cache = pair
    client = upstream.client()
    subject = described(client.image(name, b"layer"))
    pushed = set()
    for number in range(3):  # too much for one page
        document = client.image(name, subject=subject, annotations={"x": str(number) * 1_900_000})
        assert client.push_manifest(name, described(document)["digest"], document).status == 201
        pushed.add(described(document)["digest"])
    path, found = f"/v2/{name}/referrers/{subject['digest']}", list[str]()
    first = cache.client().get(f"{path}?n=1")
    while path:
        answer = cache.client().get(path)
        assert len(answer.body) <= 4 << 20
        found += [one["digest"] for one in answer.json["manifests"]]
        path = answer.headers.get("Link", "").partition("<")[2].partition(">")[0]
    assert (len(found), set(found)) == (3, pushed)
    assert [one["digest"] for one in first.json["manifests"]] == sorted(pushed)[:1]
    filtered = cache.client().get(f"/v2/{name}/referrers/{subject['digest']}?artifactType=none")
    assert (filtered.json["manifests"], filtered.headers["OCI-Filters-Applied"]) == ([], "artifactType")


def test_an_index_is_cached_without_what_nobody_asked_for(pair: tuple[Served, Served], name: str) -> None:
    upstream, cache = pair
    client = upstream.client()
    children = [client.image(name, b"one"), client.image(name, b"two")]
    for child in children:
        client.push_manifest(name, described(child)["digest"], child)
    index = {"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": [described(child) for child in children]}
    client.push_manifest(name, "multi", index)
    assert cache.client().get(f"/v2/{name}/manifests/multi", Accept=OCI_INDEX).json == index
    wanted = described(children[0])["digest"]
    assert cache.client().get(f"/v2/{name}/manifests/{wanted}").json == children[0]
    assert upstream.requests("GET", described(children[1])["digest"]) == []


@pytest.mark.parametrize("lie", ["content", "length"])
def test_a_blob_that_is_not_its_digest_is_never_whole(pair: tuple[Served, Served], name: str, lie: str) -> None:
    upstream, cache = pair
    data = os.urandom(3 << 20)
    digest = upstream.client().push_blob(name, data)
    path = upstream.root / "blobs" / digest.replace(":", "/")
    path.write_bytes(b"X" + data[1:] if lie == "content" else data[: 1 << 20])
    with cache.client().open() as sock:
        sock.sendall(f"GET /v2/{name}/blobs/{digest} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n".encode())
        received = b"".join(iter(lambda: sock.recv(1 << 20), b""))
    body = received.partition(b"\r\n\r\n")[2]
    assert len(body) < len(data), "the last byte is kept back until the digest is right"
    assert not (cache.root / "blobs" / digest.replace(":", "/")).exists()
    path.write_bytes(data)
    assert cache.client().get(f"/v2/{name}/blobs/{digest}").body == data


def test_a_download_goes_on_after_kill(serve: Serve) -> None:
    """What had come before the cache was killed is not fetched again."""
    upstream, cache = start_pair(serve)
    data = os.urandom(4 << 20)
    digest = upstream.client().push_blob("a", data)
    partial = cache.root / "partial"
    cache.kill()
    partial.mkdir(exist_ok=True)
    (partial / digest.partition(":")[2]).write_bytes(data[: 3 << 20])
    cache.start()
    assert cache.client().get(f"/v2/a/blobs/{digest}").body == data
    [line] = eventually(lambda: upstream.requests("GET", digest))
    assert (line["status"], line["sent"]) == (206, 1 << 20)
    assert json.loads((cache.root / "oci-layout").read_text())
