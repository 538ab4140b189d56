"""Distribution specification, category "Push": blobs whole, in chunks, as streams, mounted; manifests."""

import json
import os

import pytest

from rig.served import EMPTY, OCI_INDEX, OCI_MANIFEST, Client, described, digest_of, with_digest

OCTETS = "application/octet-stream"
MISSING = "sha256:" + "0" * 64
algorithms = pytest.mark.parametrize("algorithm", ["sha256", "sha512"])


def same(client: Client, name: str, digest: str, data: bytes, location: str) -> None:
    assert location.endswith(f"/v2/{name}/blobs/{digest}")
    assert client.get(location).body == data


def test_a_blob_is_pushed_whole(client: Client, name: str) -> None:
    data = os.urandom(5000)
    put = client.request("PUT", with_digest(client.begin(name), digest_of(data)), data, Content_Type=OCTETS)
    assert (put.status, put.headers["Docker-Content-Digest"]) == (201, digest_of(data))
    same(client, name, digest_of(data), data, put.location)


@algorithms
def test_post_then_put(own: Client, name: str, algorithm: str) -> None:
    data = os.urandom(5000)
    digest = digest_of(data, algorithm)
    put = own.request("PUT", with_digest(own.begin(name), digest), data, Content_Type=OCTETS)
    assert put.status == 201
    assert put.headers["Docker-Content-Digest"] == digest
    same(own, name, digest, data, put.location)


@algorithms
def test_a_single_post(own: Client, name: str, algorithm: str) -> None:
    data = os.urandom(5000)
    digest = digest_of(data, algorithm)
    post = own.request("POST", f"/v2/{name}/blobs/uploads/?digest={digest}", data, Content_Type=OCTETS)
    assert post.status == 201
    same(own, name, digest, data, post.location)


@algorithms
@pytest.mark.parametrize("last_by_put", [False, True])
def test_chunks(own: Client, name: str, algorithm: str, last_by_put: bool) -> None:
    chunks = [os.urandom(size) for size in (1000, 70_000, 3)]
    digest = digest_of(b"".join(chunks), algorithm)
    location, at = own.begin(name, f"?digest-algorithm={algorithm}"), 0
    final = chunks.pop() if last_by_put else b""
    for chunk in chunks:
        rest = f"{at}-{at + len(chunk) - 1}"
        patch = own.request("PATCH", location, chunk, Content_Type=OCTETS, Content_Range=rest)
        at += len(chunk)
        assert patch.status == 202
        assert patch.headers["Range"] == f"0-{at - 1}"
        location = patch.location
    headers = {"Content_Range": f"{at}-{at + len(final) - 1}"} if final else {}
    put = own.request("PUT", with_digest(location, digest), final, Content_Type=OCTETS, **headers)
    assert put.status == 201
    same(own, name, digest, b"".join(chunks) + final, put.location)


@algorithms
def test_a_stream_without_a_length(own: Client, name: str, algorithm: str) -> None:
    pieces = [os.urandom(100_000) for _ in range(5)]
    digest = digest_of(b"".join(pieces), algorithm)
    location = own.begin(name)
    own.connection.request("PATCH", location, iter(pieces), {"Content-Type": OCTETS}, encode_chunked=True)
    raw = own.connection.getresponse()
    raw.read()
    assert (raw.status, raw.headers["Range"]) == (202, "0-499999")
    location = "/" + raw.headers["Location"].removeprefix("http://").partition("/")[2]
    put = own.request("PUT", with_digest(location, digest))
    assert put.status == 201
    same(own, name, digest, b"".join(pieces), put.location)


def test_chunks_out_of_order_are_a_416_and_the_upload_goes_on(own: Client, name: str) -> None:
    data = os.urandom(3000)
    location = own.begin(name)
    patch = own.request("PATCH", location, data[:1000], Content_Range="0-999")
    for begin in (0, 2000):
        wrong = own.request("PATCH", patch.location, data[begin : begin + 1000], Content_Range=f"{begin}-{begin + 999}")
        assert (wrong.status, wrong.code) == (416, "BLOB_UPLOAD_INVALID")
        assert wrong.headers["Range"] == "0-999"
        put = own.request("PUT", with_digest(location, MISSING), data[:1], Content_Range=f"{begin}-{begin}")
        assert put.status == 416
    state = own.get(wrong.location)
    assert (state.status, state.headers["Range"]) == (204, "0-999")
    patch = own.request("PATCH", state.location, data[1000:], Content_Range="1000-2999")
    assert patch.status == 202
    assert own.request("PUT", with_digest(patch.location, digest_of(data))).status == 201


def test_the_first_chunk_begins_at_zero(own: Client, name: str) -> None:
    location = own.begin(name)
    assert own.request("PATCH", location, b"abc", Content_Range="5-7").status == 416
    assert own.get(location).headers["Range"] == "0-0"
    assert own.request("PATCH", location, b"abc", Content_Range="x-7").status == 416
    assert own.request("PATCH", location, b"abc", Content_Range="0-1").code == "SIZE_INVALID"
    assert own.request("PATCH", location, b"abc", Content_Range="0-2").status == 202
    assert own.request("PUT", with_digest(location, digest_of(b"abc"))).status == 201


@pytest.mark.parametrize("way", ["post", "put", "chunks"])
@algorithms
def test_a_digest_that_is_not_the_contents_is_refused(own: Client, name: str, way: str, algorithm: str) -> None:
    wrong = digest_of(b"something else", algorithm)
    if way == "post":
        answer = own.request("POST", f"/v2/{name}/blobs/uploads/?digest={wrong}", b"content")
    elif way == "put":
        answer = own.request("PUT", with_digest(own.begin(name), wrong), b"content")
    else:
        location = own.request("PATCH", own.begin(name), b"content").location
        answer = own.request("PUT", with_digest(location, wrong))
    assert (answer.status, answer.code) == (400, "DIGEST_INVALID")
    assert own.get(f"/v2/{name}/blobs/{wrong}").status == 404
    assert own.get(f"/v2/{name}/blobs/{digest_of(b'content')}").status == 404


def test_digests_that_are_none_are_refused(client: Client, name: str) -> None:
    for digest in ("sha256:short", "nonsense", "md5:d41d8cd98f00b204e9800998ecf8427e", ""):
        answer = client.request("PUT", with_digest(client.begin(name), digest), b"content")
        assert (answer.status, answer.code) == (400, "DIGEST_INVALID")


def test_an_upload_can_be_cancelled(client: Client, name: str) -> None:
    location = client.begin(name)
    location = client.request("PATCH", location, b"something").location
    assert client.get(location).status == 204
    assert client.request("DELETE", location).status == 204
    assert (gone := client.get(location)).status == 404
    assert gone.code == "BLOB_UPLOAD_UNKNOWN"
    assert client.request("PATCH", location, b"something").status == 404


def test_an_upload_is_of_its_repository_only(own: Client, name: str) -> None:
    location = own.begin(name)
    elsewhere = location.replace(name, f"{name}-other")
    assert own.request("PATCH", elsewhere, b"x").code == "BLOB_UPLOAD_UNKNOWN"
    assert own.request("DELETE", elsewhere).status == 404
    assert own.get(location).status == 204


def test_a_blob_is_mounted_from_another_repository(client: Client, name: str) -> None:
    digest = client.push_blob(f"{name}/from", b"shared" + name.encode())
    answer = client.request("POST", f"/v2/{name}/to/blobs/uploads/?mount={digest}&from={name}/from")
    assert answer.status == 201
    same(client, f"{name}/to", digest, b"shared" + name.encode(), answer.location)


def test_what_cannot_be_mounted_begins_an_upload(client: Client, name: str) -> None:
    digest = client.push_blob(f"{name}/from", b"shared" + name.encode())
    for query in (f"mount={MISSING}&from={name}/from", f"mount={digest}&from={name}/nowhere", f"mount={digest}"):
        location = client.begin(f"{name}/to", f"?{query}")
        assert client.get(location).status == 204
    assert client.head(f"/v2/{name}/to/blobs/{digest}").status == 404


def test_a_manifest_by_tag_and_by_digest(client: Client, name: str) -> None:
    document = client.image(name, b"one", b"two")
    digest = digest_of(json.dumps(document).encode())
    for reference in ("tag", digest):
        put = client.push_manifest(name, reference, document)
        assert put.status == 201
        assert put.headers["Docker-Content-Digest"] == digest
        assert client.get(put.location, Accept=OCI_MANIFEST).json == document


def test_a_manifest_with_a_digest_of_sha512(own: Client, name: str) -> None:
    document = own.image(name, b"one", algorithm="sha512")
    digest = digest_of(json.dumps(document).encode(), "sha512")
    put = own.push_manifest(name, f"{digest}?tag=a&tag=b", document)
    assert put.status == 201
    assert put.headers["Docker-Content-Digest"] == digest
    assert put.headers["OCI-Tag"] == "a, b"
    assert own.head(f"/v2/{name}/manifests/b").headers["Docker-Content-Digest"] == digest


def test_a_manifest_whose_digest_is_another_is_refused(own: Client, name: str) -> None:
    document = own.image(name, b"one")
    for digest in (MISSING, "sha256:baddigeststring"):
        answer = own.push_manifest(name, digest, document)
        assert (answer.status, answer.code) == (400, "DIGEST_INVALID")


def test_a_manifest_whose_parts_are_missing_is_refused(own: Client, name: str) -> None:
    document = own.image(name, b"one")
    document["layers"].append({"mediaType": OCTETS, "digest": MISSING, "size": 1})
    index = {"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": [described(document)]}
    for one in (document, index):
        answer = own.push_manifest(name, "1", one)
        assert (answer.status, answer.code) == (404, "MANIFEST_BLOB_UNKNOWN")
    assert own.get(f"/v2/{name}/manifests/1").status == 404


def test_layers_that_lie_elsewhere_need_not_be_here(own: Client, name: str) -> None:
    document = own.image(name)
    kind = "application/vnd.oci.image.layer.nondistributable.v1.tar+gzip"
    document["layers"].append({"mediaType": kind, "digest": MISSING, "size": 1, "urls": ["https://example.com/l"]})
    assert own.push_manifest(name, "1", document).status == 201


@pytest.mark.parametrize("more", [{}, {"org.example.custom": {"a": [1, 2]}, "annotations": {"a": "b"}}])
def test_images_without_layers_and_with_fields_of_ones_own(client: Client, name: str, more: dict[str, object]) -> None:
    document = client.image(name, **more)
    assert client.push_manifest(name, "1", document).status == 201
    assert client.get(f"/v2/{name}/manifests/1", Accept=OCI_MANIFEST).json == document


def test_artifacts_and_indexes_of_indexes(own: Client, name: str) -> None:
    empty = {**own.descriptor(name, EMPTY, b"{}"), "data": "e30="}
    artifact = {"schemaVersion": 2, "mediaType": OCI_MANIFEST, "artifactType": "application/x", "config": empty}
    artifact["layers"] = [empty]
    image = own.image(name, b"layer")
    for document in (artifact, image):
        assert own.push_manifest(name, described(document)["digest"], document).status == 201
    inner = {"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": [described(artifact), described(image)]}
    assert own.push_manifest(name, described(inner)["digest"], inner).status == 201
    outer = {"schemaVersion": 2, "mediaType": OCI_INDEX, "artifactType": "x", "manifests": [described(inner)]}
    assert own.push_manifest(name, "all", outer).status == 201
    assert own.get(f"/v2/{name}/manifests/all", Accept=OCI_INDEX).json == outer


def test_a_subject_is_acknowledged_though_it_is_not_here(own: Client, name: str) -> None:
    document = own.image(name, subject={"mediaType": OCI_MANIFEST, "digest": MISSING, "size": 5})
    answer = own.push_manifest(name, "1", document)
    assert answer.status == 201
    assert answer.headers["OCI-Subject"] == MISSING


@pytest.mark.parametrize(
    "document",
    [
        b"no JSON",
        b"[]",
        b'{"schemaVersion": 2}',
        b'{"schemaVersion": 1, "mediaType": "%s"}' % OCI_MANIFEST.encode(),
        b'{"mediaType": "application/other", "config": {}, "layers": []}',
        b'{"config": {"digest": "sha256:x"}, "layers": []}',
        b'{"config": {"digest": "%s"}, "layers": [], "manifests": []}' % MISSING.encode(),
        b'{"manifests": []}',
        b'{"layers": 5, "config": {"digest": "%s"}}' % MISSING.encode(),
        b"[" * 100_000,
    ],
)
def test_what_is_no_manifest_is_refused(own: Client, name: str, document: bytes) -> None:
    answer = own.request("PUT", f"/v2/{name}/manifests/1", document, Content_Type=OCI_MANIFEST)
    assert (answer.status, answer.code) == (400, "MANIFEST_INVALID")


def test_a_manifest_may_have_four_mebibytes_and_no_more(own: Client, name: str) -> None:
    document = own.image(name)
    document["annotations"] = {"x": ""}
    size = len(json.dumps(document).encode())
    document["annotations"]["x"] = "y" * ((4 << 20) - size)
    assert own.push_manifest(name, "1", document).status == 201
    document["annotations"]["x"] += "y"
    refused = own.push_manifest(name, "2", document)
    assert (refused.status, refused.code) == (413, "MANIFEST_INVALID")
