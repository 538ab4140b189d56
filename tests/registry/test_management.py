"""Distribution specification, category "Content Management": tags, manifests and blobs are removed."""

from rig.served import OCI_INDEX, OCI_MANIFEST, Client, described, digest_of

MISSING = "sha256:" + "0" * 64


def test_a_tag_is_removed_and_its_manifest_stays(own: Client, name: str) -> None:
    digest = own.push_image(name, "one", b"layer")
    own.push_manifest(name, "two", own.get(f"/v2/{name}/manifests/one").json)
    assert own.request("DELETE", f"/v2/{name}/manifests/one").status == 202
    assert own.get(f"/v2/{name}/manifests/one").code == "MANIFEST_UNKNOWN"
    assert own.get(f"/v2/{name}/tags/list").json["tags"] == ["two"]
    assert own.get(f"/v2/{name}/manifests/two").status == 200
    assert own.get(f"/v2/{name}/manifests/{digest}").status == 200


def test_a_manifest_is_removed_with_its_tags(client: Client, name: str) -> None:
    digest = client.push_image(name, "one", b"layer")
    other = client.push_image(name, "other", b"layer")
    assert client.request("DELETE", f"/v2/{name}/manifests/{digest}").status == 202
    assert client.get(f"/v2/{name}/manifests/{digest}").status == 404
    assert client.get(f"/v2/{name}/manifests/one").status == 404
    assert client.head(f"/v2/{name}/manifests/{other}").status in (200, 404)
    assert client.get(f"/v2/{name}/tags/list").json["tags"] == ["other"]


def test_a_blob_is_removed(client: Client, name: str) -> None:
    digest = client.push_blob(name, b"blob of " + name.encode())
    assert client.request("DELETE", f"/v2/{name}/blobs/{digest}").status == 202
    assert client.get(f"/v2/{name}/blobs/{digest}").status == 404
    assert client.head(f"/v2/{name}/blobs/{digest}").status == 404


def test_a_blob_is_removed_from_one_repository_only(own: Client, name: str) -> None:
    data = b"shared by " + name.encode()
    digest = own.push_blob(f"{name}/a", data)
    own.push_blob(f"{name}/b", data)
    own.request("DELETE", f"/v2/{name}/a/blobs/{digest}")
    assert own.get(f"/v2/{name}/b/blobs/{digest}").body == data


def test_what_is_not_there_cannot_be_removed(client: Client, name: str) -> None:
    client.push_image(name, "1", b"layer")
    assert client.request("DELETE", f"/v2/{name}/manifests/{MISSING}").code == "MANIFEST_UNKNOWN"
    assert client.request("DELETE", f"/v2/{name}/blobs/{MISSING}").code == "BLOB_UNKNOWN"


def test_what_was_removed_can_be_pushed_again(client: Client, name: str) -> None:
    digest = client.push_image(name, "1", b"layer of " + name.encode())
    document = client.get(f"/v2/{name}/manifests/{digest}", Accept=OCI_MANIFEST).json
    assert client.request("DELETE", f"/v2/{name}/manifests/{digest}").status == 202
    blob = digest_of(b"layer of " + name.encode())
    assert client.request("DELETE", f"/v2/{name}/blobs/{blob}").status == 202
    client.push_blob(name, b"layer of " + name.encode())
    assert client.push_manifest(name, "1", document).status == 201
    assert client.get(f"/v2/{name}/manifests/{digest}", Accept=OCI_MANIFEST).json == document


def test_a_removed_referrer_is_none_any_more(own: Client, name: str) -> None:
    subject = described(own.image(name, b"layer"))
    document = own.image(name, subject=subject)
    own.push_manifest(name, "1", document)
    path = f"/v2/{name}/referrers/{subject['digest']}"
    assert len(own.get(path).json["manifests"]) == 1
    own.request("DELETE", f"/v2/{name}/manifests/1")
    assert len(own.get(path).json["manifests"]) == 1, "the tag is gone, not the manifest"
    own.request("DELETE", f"/v2/{name}/manifests/{described(document)['digest']}")
    answer = own.get(path)
    assert (answer.json["manifests"], answer.headers["Content-Type"]) == ([], OCI_INDEX)
