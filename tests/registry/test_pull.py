"""Distribution specification, category "Pull": manifests and blobs are read."""

import json
import os

import pytest

from rig.served import OCI_INDEX, OCI_MANIFEST, Client, digest_of

MISSING = "sha256:" + "0" * 64


def test_the_base_says_that_the_specification_is_implemented(client: Client) -> None:
    answer = client.get("/v2/")
    assert answer.status == 200
    assert answer.headers["Docker-Distribution-Api-Version"] == "registry/2.0"


def test_a_manifest_comes_back_byte_for_byte_by_tag_and_by_digest(client: Client, name: str) -> None:
    document = client.image(name, b"layer")
    raw = json.dumps(document, indent=3).encode() + b"\n\n"
    assert client.request("PUT", f"/v2/{name}/manifests/1", raw, Content_Type=OCI_MANIFEST).status == 201
    for reference in ("1", digest_of(raw)):
        for method in ("GET", "HEAD"):
            answer = client.request(method, f"/v2/{name}/manifests/{reference}", Accept=OCI_MANIFEST)
            assert answer.status == 200
            assert answer.headers["Content-Type"] == OCI_MANIFEST
            assert answer.headers["Docker-Content-Digest"] == digest_of(raw)
            assert answer.headers["Content-Length"] == str(len(raw))
            assert answer.body == (raw if method == "GET" else b"")


@pytest.mark.parametrize("method", ["GET", "HEAD"])
def test_a_manifest_that_is_not_there_is_a_404(client: Client, name: str, method: str) -> None:
    client.push_image(name, "there", b"layer")
    for reference in ("not-there", MISSING):
        answer = client.request(method, f"/v2/{name}/manifests/{reference}")
        assert answer.status == 404
        assert method == "HEAD" or answer.code == "MANIFEST_UNKNOWN"


@pytest.mark.parametrize("method", ["GET", "HEAD"])
def test_a_blob_that_is_not_there_is_a_404(client: Client, name: str, method: str) -> None:
    client.push_image(name, "there", b"layer")
    answer = client.request(method, f"/v2/{name}/blobs/{MISSING}")
    assert answer.status == 404
    assert method == "HEAD" or answer.code == "BLOB_UNKNOWN"


def test_a_repository_that_is_not_there_is_a_404(client: Client, name: str) -> None:
    assert client.get(f"/v2/{name}/manifests/latest").status == 404
    assert client.get(f"/v2/{name}/tags/list").code == "NAME_UNKNOWN"


@pytest.mark.parametrize("size", [0, 1, 1000, 3 << 20])
def test_a_blob_comes_back_with_its_digest_and_length(client: Client, name: str, size: int) -> None:
    data = os.urandom(size)
    digest = client.push_blob(name, data)
    for method in ("GET", "HEAD"):
        answer = client.request(method, f"/v2/{name}/blobs/{digest}")
        assert answer.status == 200
        assert answer.headers["Docker-Content-Digest"] == digest
        assert answer.headers["Content-Length"] == str(size)
        assert answer.body == (data if method == "GET" else b"")


def test_a_blob_of_one_repository_is_not_one_of_another(client: Client, name: str) -> None:
    digest = client.push_blob(name, b"mine" + name.encode())
    client.push_image(f"{name}-other", "1", b"layer")
    assert client.get(f"/v2/{name}-other/blobs/{digest}").code == "BLOB_UNKNOWN"


@pytest.mark.parametrize(
    ("asked", "first", "last"),
    [("0-0", 0, 0), ("500-1499", 500, 1499), ("500-", 500, 2047), ("-500", 1548, 2047), ("2000-5000", 2000, 2047)],
)
def test_a_part_of_a_blob(client: Client, name: str, asked: str, first: int, last: int) -> None:
    data = os.urandom(2048)
    digest = client.push_blob(name, data)
    answer = client.get(f"/v2/{name}/blobs/{digest}", Range=f"bytes={asked}")
    assert answer.status == 206
    assert answer.headers["Content-Range"] == f"bytes {first}-{last}/2048"
    assert answer.headers["Content-Length"] == str(last - first + 1)
    assert answer.body == data[first : last + 1]


@pytest.mark.parametrize("asked", ["2048-", "5000-10000"])
def test_a_part_outside_of_a_blob_is_a_416(own: Client, name: str, asked: str) -> None:
    digest = own.push_blob(name, os.urandom(2048))
    answer = own.get(f"/v2/{name}/blobs/{digest}", Range=f"bytes={asked}")
    assert answer.status == 416
    assert answer.headers["Content-Range"] == "bytes */2048"


@pytest.mark.parametrize("asked", ["bytes=5-1", "bytes=x-", "bytes=-", "lines=1-2", "bytes=1-2,5-6", "bytes=1"])
def test_ranges_that_are_none_or_several_get_the_whole(own: Client, name: str, asked: str) -> None:
    data = os.urandom(100)
    digest = own.push_blob(name, data)
    answer = own.get(f"/v2/{name}/blobs/{digest}", Range=asked)
    assert (answer.status, answer.body) == (200, data)


def test_what_has_not_changed_is_not_sent_again(own: Client, name: str) -> None:
    digest = own.push_image(name, "1", b"layer")
    blob = digest_of(b"layer")
    for path in ("manifests/1", f"manifests/{digest}", f"blobs/{blob}"):
        first = own.get(f"/v2/{name}/{path}")
        again = own.get(f"/v2/{name}/{path}", If_None_Match=first.headers["ETag"])
        assert (again.status, again.body) == (304, b"")
    assert own.get(f"/v2/{name}/manifests/1", If_None_Match='"sha256:other"').status == 200


@pytest.mark.parametrize(
    ("accept", "status"),
    [
        (OCI_MANIFEST, 200),
        (f"{OCI_INDEX}, {OCI_MANIFEST};q=0.5", 200),
        ("*/*", 200),
        ("application/*", 200),
        (OCI_INDEX, 404),
        (f"{OCI_MANIFEST};q=0, text/html", 404),
    ],
)
def test_a_tag_whose_type_the_client_does_not_take_is_not_found(
    own: Client, name: str, accept: str, status: int
) -> None:
    own.push_image(name, "1", b"layer")
    assert own.get(f"/v2/{name}/manifests/1", Accept=accept).status == status


def test_what_is_malformed_is_refused_with_the_code_for_it(own: Client, name: str) -> None:
    own.push_image(name, "1", b"layer")
    assert own.get(f"/v2/{name}/blobs/sha256:baddigest").code == "DIGEST_INVALID"
    assert own.get(f"/v2/{name}/blobs/md5:0123456789abcdef").code == "DIGEST_INVALID"
    assert own.get(f"/v2/{name}/manifests/sha256:baddigest").status == 400
    assert own.get(f"/v2/{name}/manifests/.dots").status == 404
    assert own.get("/v2/UPPER/manifests/1").code == "NAME_INVALID"
    assert own.get("/v3/").status == 404
    refused = own.request("POST", f"/v2/{name}/manifests/1")
    assert (refused.status, refused.code, refused.headers["Allow"]) == (405, "UNSUPPORTED", "GET, PUT, DELETE")
