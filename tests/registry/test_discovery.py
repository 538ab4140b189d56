"""Distribution specification, category "Content Discovery": tags, repositories, referrers."""

from typing import Any

import pytest

from rig.served import OCI_CONFIG, OCI_INDEX, Client, Served, described, digest_of

TAGS = ["0.1", "A", "B.b", "Z", "_", "a", "latest", "v1.0", "v1.1-rc_1", "z"]


def following(answer: Any) -> str:
    """The path of the next page, empty for none."""
    link = answer.headers["Link"] or ""
    assert not link or link.endswith('>; rel="next"')
    return link.partition("<")[2].partition(">")[0]


def test_every_tag_is_listed(client: Client, name: str) -> None:
    document = client.image(name, b"layer")
    for tag in reversed(TAGS):
        assert client.push_manifest(name, tag, document).status == 201
    answer = client.get(f"/v2/{name}/tags/list")
    assert (answer.json["name"], sorted(answer.json["tags"])) == (name, TAGS)


def test_tags_come_sorted(own: Client, name: str) -> None:
    document = own.image(name, b"layer")
    for tag in reversed(TAGS):
        own.push_manifest(name, tag, document)
    answer = own.get(f"/v2/{name}/tags/list")
    assert answer.status == 200
    assert answer.json == {"name": name, "tags": TAGS}


@pytest.mark.parametrize("count", [1, 3, 5, 10, 11])
def test_tags_come_page_by_page(own: Client, name: str, count: int) -> None:
    document = own.image(name, b"layer")
    for tag in TAGS:
        own.push_manifest(name, tag, document)
    path, found = f"/v2/{name}/tags/list?n={count}", []
    while path:
        answer = own.get(path)
        assert len(answer.json["tags"]) == count or not following(answer)
        found += answer.json["tags"]
        path = following(answer)
    assert found == TAGS


def test_tags_behind_one(own: Client, name: str) -> None:
    document = own.image(name, b"layer")
    for tag in TAGS:
        own.push_manifest(name, tag, document)
    base = f"/v2/{name}/tags/list"
    assert own.get(f"{base}?last=Z").json["tags"] == TAGS[4:]
    assert own.get(f"{base}?last=b").json["tags"] == TAGS[6:]  # which needs not be there
    assert own.get(f"{base}?last=Z&n=2").json["tags"] == TAGS[4:6]
    assert own.get(f"{base}?last=zz").json["tags"] == []
    none = own.get(f"{base}?n=0")
    assert (none.json["tags"], none.headers["Link"]) == ([], None)
    assert own.get(f"{base}?n=x").code == "PAGINATION_NUMBER_INVALID"
    assert own.get(f"{base}?n=-1").status == 400


def test_repositories_come_page_by_page(serve: Any) -> None:
    client = serve().client()
    names = ["a", "a-b", "a/b", "a/b/c", "b", "z9/x"]
    for name in names:
        client.push_image(name, "1", b"layer")
    path, found = "/v2/_catalog?n=2", []
    while path:
        answer = client.get(path)
        found += answer.json["repositories"]
        path = following(answer)
    assert sorted(found) == names
    assert len(client.get("/v2/_catalog").json["repositories"]) == len(names)


def referrers(client: Client, name: str, digest: str, query: str = "") -> tuple[Any, list[dict[str, Any]]]:
    answer = client.get(f"/v2/{name}/referrers/{digest}{query}")
    assert answer.status == 200
    assert answer.headers["Content-Type"] == OCI_INDEX
    assert answer.json["schemaVersion"] == 2
    assert answer.json["mediaType"] == OCI_INDEX
    return answer, answer.json["manifests"]


def test_referrers_before_and_after_their_subject(own: Client, name: str) -> None:
    subject = own.image(name, b"layer")
    digest = described(subject)["digest"]
    assert referrers(own, name, digest)[1] == []
    expected = []
    for kind, notes in (("application/sbom", {"a": "b"}), ("application/signature", {})):
        more = {"annotations": notes} if notes else {}
        document = own.image(name, artifactType=kind, subject=described(subject), **more)
        assert own.push_manifest(name, described(document)["digest"], document).headers["OCI-Subject"] == digest
        expected.append({**described(document), "artifactType": kind, **more})
        assert own.push_manifest(name, "subject", subject).status == 201
    # an image without a type of its own has its configuration's, an index none
    plain = own.image(name, subject=described(subject))
    own.push_manifest(name, "plain", plain)
    expected.append({**described(plain), "artifactType": OCI_CONFIG})
    index = {"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": [described(plain)], "subject": described(subject)}
    own.push_manifest(name, "index", index)
    expected.append(described(index))
    found = referrers(own, name, digest)[1]
    assert sorted(found, key=str) == sorted(expected, key=str)


def test_referrers_by_type(own: Client, name: str) -> None:
    subject = described(own.image(name, b"layer"))
    for kind in ("application/a", "application/b", "application/b"):
        document = own.image(name, artifactType=kind, subject=subject)
        own.push_manifest(name, described(document)["digest"], document)
    answer, found = referrers(own, name, subject["digest"], "?artifactType=application/b")
    assert answer.headers["OCI-Filters-Applied"] == "artifactType"
    assert [one["artifactType"] for one in found] == ["application/b"] * 2
    answer, found = referrers(own, name, subject["digest"])
    assert (answer.headers["OCI-Filters-Applied"], len(found)) == (None, 3)
    assert referrers(own, name, subject["digest"], "?artifactType=application%2Fnone")[1] == []


@pytest.mark.parametrize("kind", ["", "application/x"])
def test_referrers_come_page_by_page(own: Client, name: str, kind: str) -> None:
    subject = described(own.image(name, b"layer"))
    pushed = set()
    for number in range(7):
        document = own.image(name, artifactType="application/x" if number % 2 else "application/y", subject=subject)
        digest = described(document)["digest"]
        own.push_manifest(name, digest, document)
        if not kind or number % 2:
            pushed.add(digest)
    found: list[str] = []
    path = f"/v2/{name}/referrers/{subject['digest']}?n=2" + (f"&artifactType={kind}" if kind else "")
    while path:
        answer = own.get(path)
        assert len(answer.json["manifests"]) <= 2
        found += [one["digest"] for one in answer.json["manifests"]]
        path = following(answer)
    assert (len(found), set(found)) == (len(pushed), pushed)


def test_a_list_of_referrers_is_never_larger_than_a_manifest_may_be(own: Client, name: str) -> None:
    subject = described(own.image(name, b"layer"))
    for number in range(3):
        document = own.image(name, subject=subject, annotations={"x": str(number) * 1_900_000})
        assert own.push_manifest(name, described(document)["digest"], document).status == 201
    path, found = f"/v2/{name}/referrers/{subject['digest']}", 0
    while path:
        answer = own.get(path)
        assert len(answer.body) <= 4 << 20
        found += len(answer.json["manifests"])
        path = following(answer)
    assert found == 3


def test_referrers_of_nothing_are_none_and_of_nonsense_an_error(own: Client, shared: Served) -> None:
    assert referrers(own, "never/seen", digest_of(b"x"))[1] == []
    assert referrers(own, "never/seen", digest_of(b"x", "sha512"))[1] == []
    assert own.get("/v2/never/seen/referrers/nonsense").status == 400
    assert own.get("/v2/never/seen/referrers/sha256:short").code == "DIGEST_INVALID"
    assert own.request("HEAD", f"/v2/never/seen/referrers/{digest_of(b'x')}").status == 200
