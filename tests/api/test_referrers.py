"""Signatures and attestations that refer to an image: pulled with it when asked, kept with it, sent and saved along."""

import json
import os
import tarfile
from pathlib import Path
from typing import Any

import pytest

from rig import Cli, Engine
from rig.peers import tiffins_own
from rig.platforms import image, index
from rig.served import EMPTY, OCI_INDEX, OCI_MANIFEST, Client, Served, described, digest_of

HERE, OTHER = "linux/amd64", "linux/arm64"
SIGNATURE, NOTE = "application/vnd.test.signature", "application/vnd.test.note"


@pytest.fixture(autouse=True, scope="module")
def kept(engine: Engine) -> None:
    tiffins_own(engine, "it keeps no referrers")


def refer(client: Client, path: str, subject: dict[str, Any], kind: str, content: bytes = b"") -> dict[str, Any]:
    """Put an artifact that refers to a subject, as `oras attach` does; its descriptor."""
    document = {
        "schemaVersion": 2,
        "mediaType": OCI_MANIFEST,
        "artifactType": kind,
        "config": client.descriptor(path, EMPTY, b"{}"),
        "layers": [client.descriptor(path, kind, content or os.urandom(500))],
        "subject": {key: subject[key] for key in ("mediaType", "digest", "size")},
    }
    answer = client.push_manifest(path, described(document)["digest"], document)
    assert answer.status == 201, answer.body
    made = {**described(document), "artifactType": kind}
    if "OCI-Subject" not in answer.headers:
        tag = subject["digest"].replace(":", "-")
        held = client.get(f"/v2/{path}/manifests/{tag}", Accept=OCI_INDEX)
        entries = held.json["manifests"] if held.status == 200 else []
        listed = {"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": [*entries, made]}
        assert client.push_manifest(path, tag, listed).status == 201
    return made


def referring(client: Client, path: str, digest: str) -> set[str]:
    """Digests of what the registry says refers to a manifest; each is there."""
    answer = client.get(f"/v2/{path}/referrers/{digest}")
    if answer.status != 200:
        answer = client.get(f"/v2/{path}/manifests/{digest.replace(':', '-')}", Accept=OCI_INDEX)
    found = {one["digest"]: one for one in answer.json.get("manifests", ())}
    for one in found.values():
        manifest = client.get(f"/v2/{path}/manifests/{one['digest']}", Accept=OCI_MANIFEST)
        assert manifest.status == 200
        assert one["artifactType"] == manifest.json["artifactType"]
        assert all(
            client.head(f"/v2/{path}/blobs/{layer['digest']}").status == 200 for layer in manifest.json["layers"]
        )
    return set(found)


def blobs(engine: Engine) -> set[str]:
    return set(os.listdir(engine.data_root / "content" / "blobs" / "sha256"))


def test_a_plain_pull_asks_for_no_referrers(engine: Engine, docker: Cli, registry: Served, path: str) -> None:
    subject = image(registry.client(), path, "1", HERE)
    made = refer(registry.client(), path, subject, SIGNATURE)
    docker("pull", f"{registry.address}/{path}:1")
    assert made["digest"][7:] not in blobs(engine)
    assert not registry.requests(part="/referrers/sha256:" + subject["digest"][7:])


def test_referrers_are_pulled_kept_and_pushed(engine: Engine, registry: Served, path: str) -> None:
    tiffin, client = engine.cli("tiffin"), registry.client()
    digest, found = index(client, path, "1", [HERE, OTHER])
    top = {
        "mediaType": OCI_INDEX,
        "digest": digest,
        "size": len(client.get(f"/v2/{path}/manifests/1", Accept=OCI_INDEX).body),
    }
    signature = refer(client, path, top, SIGNATURE)
    countersigned = refer(client, path, signature, SIGNATURE)
    note = refer(client, path, found[HERE], NOTE)
    elsewhere = refer(client, path, found[OTHER], NOTE)
    reference, copy = f"{registry.address}/{path}:1", f"{registry.address}/{path}/copy"
    before = blobs(engine)
    assert "Referrers: 3" in tiffin("pull", "--referrers", reference).out
    kept = {one["digest"][7:] for one in (signature, countersigned, note)}
    assert kept <= blobs(engine)
    assert elsewhere["digest"][7:] not in blobs(engine)
    tiffin("pull", "--referrers", "--platform", OTHER, reference)
    assert elsewhere["digest"][7:] in blobs(engine)
    tiffin("image", "prune", "-f")
    assert kept <= blobs(engine), "no sweep takes what a name needs"
    tiffin("tag", reference, f"{copy}:2")
    for _ in range(2):  # nothing is listed twice
        tiffin("push", f"{copy}:2")
        assert referring(client, f"{path}/copy", digest) == {signature["digest"]}
        assert referring(client, f"{path}/copy", signature["digest"]) == {countersigned["digest"]}
        assert referring(client, f"{path}/copy", found[HERE]["digest"]) == {note["digest"]}
    tiffin("rmi", reference, f"{copy}:2")
    assert blobs(engine) <= before


def test_referrers_that_come_later_are_had_by_pulling_again(engine: Engine, registry: Served, path: str) -> None:
    tiffin, client = engine.cli("tiffin"), registry.client()
    subject = image(client, path, "1", HERE)
    reference = f"{registry.address}/{path}:1"
    assert "Referrers: 0" in tiffin("pull", "--referrers", reference).out
    made = refer(client, path, subject, SIGNATURE)
    again = tiffin("pull", "--referrers", reference).out
    assert "Referrers: 1" in again
    assert "Downloaded newer image" in again
    assert "Image is up to date" in tiffin("pull", "--referrers", reference).out
    assert made["digest"][7:] in blobs(engine)


def test_archives_have_referrers(engine: Engine, docker: Cli, registry: Served, path: str, tmp_path: Path) -> None:
    tiffin, client = engine.cli("tiffin"), registry.client()
    subject = image(client, path, "1", HERE)
    signature = refer(client, path, subject, SIGNATURE, b"signed")
    over = refer(client, path, signature, NOTE)
    reference, archive = f"{registry.address}/{path}:1", tmp_path / "saved.tar"
    tiffin("pull", "--referrers", reference)
    docker("save", "-o", str(archive), reference)
    with tarfile.open(archive) as tar:
        file = tar.extractfile("index.json")
        assert file is not None
        listed = [one["digest"] for one in json.load(file)["manifests"]]
        assert listed == [subject["digest"], signature["digest"], over["digest"]]
        assert f"blobs/sha256/{digest_of(b'signed')[7:]}" in tar.getnames()
    docker("rmi", reference)
    assert signature["digest"][7:] not in blobs(engine)
    assert docker("load", "-i", str(archive)).out.splitlines() == [f"Loaded image: {reference}"]
    assert {one["digest"][7:] for one in (signature, over)} <= blobs(engine)
    # the same without docker's part, as other tools write layouts
    docker("rmi", reference)
    plain = tmp_path / "plain.tar"
    with tarfile.open(archive) as source, tarfile.open(plain, "w") as target:
        for member in source:
            if member.name not in ("manifest.json", "repositories"):
                target.addfile(member, source.extractfile(member) if member.isfile() else None)
    assert docker("load", "-i", str(plain)).out.splitlines() == [f"Loaded image: {reference}"]
    assert {one["digest"][7:] for one in (signature, over)} <= blobs(engine)
    copy = f"{registry.address}/{path}/loaded:1"
    docker("tag", reference, copy)
    docker("push", copy)
    assert referring(client, f"{path}/loaded", subject["digest"]) == {signature["digest"]}


def test_what_is_listed_and_does_not_refer_is_not_kept(engine: Engine, registry: Served, path: str) -> None:
    if registry.kind == "tiffin":
        pytest.skip("a list can't lie here: the registry makes it")
    tiffin, client = engine.cli("tiffin"), registry.client()
    subject, other = image(client, path, "1", HERE), image(client, path, "2", HERE)
    stray = refer(client, path, other, SIGNATURE)
    lying = {"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": [stray]}
    assert client.push_manifest(path, subject["digest"].replace(":", "-"), lying).status == 201
    told = tiffin("pull", "--referrers", f"{registry.address}/{path}:1").out
    assert "is listed, and does not refer to it" in told
    assert stray["digest"][7:] not in blobs(engine)


@pytest.mark.slow
def test_a_damaged_signature_is_told_and_pulled_again(engine: Engine, registry: Served, path: str) -> None:
    tiffin, client = engine.cli("tiffin"), registry.client()
    digest, found = index(client, path, "1", [HERE])
    signature = refer(client, path, found[HERE], SIGNATURE, b"signed")
    reference = f"{registry.address}/{path}:1"
    store = engine.data_root / "content" / "blobs" / "sha256"
    pull = ("pull", "--referrers", reference)
    tiffin(*pull)
    for harmed in (digest_of(b"signed"), signature["digest"], digest):
        blob = store / harmed[7:]
        content = blob.read_bytes()
        blob.write_bytes(bytes([content[0] ^ 1]) + content[1:])
        told = tiffin("system", "check", "--format", "json", "--settle", "1", check=False)
        findings = [one for one in json.loads(told.out)["Findings"] if one["Subject"] == harmed]
        assert [one["Kind"] for one in findings] == ["blob-damaged"]
        tiffin("system", "check", "--repair", "--settle", "1", check=False)
        assert not blob.exists()
        tiffin(*pull)
        assert blob.read_bytes() == content
    told = tiffin("system", "check", "--format", "json", "--settle", "1", check=False)
    assert not any(one["Kind"].startswith("blob-") for one in json.loads(told.out)["Findings"])
