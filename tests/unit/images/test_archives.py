"""What `load` takes, what it refuses, and what `save` gives back."""

import bz2
import gzip
import io
import json
import os
import subprocess
import sys
import tarfile
from pathlib import Path
from typing import Any

import pytest
import zstandard

from tiffin.errors import Forbidden, Invalid, NotFound, TiffinError, Unavailable
from tiffin.images import Images, Message, Progress
from tiffin.model.platform import parse_platform

from .conftest import (
    Members,
    Store,
    config,
    described,
    docker_archive,
    oci_archive,
    oci_manifest,
    open_store,
    sha256,
    tar,
)

pytestmark = pytest.mark.root
LAYER = tar({"etc/a": b"a"})
ABOVE = tar({"etc/b": b"b"})
MANIFEST_TYPE = "application/vnd.oci.image.manifest.v1+json"


def load(images: Images, members: Members, **options: Any) -> list[str]:
    lines: list[str] = []

    def report(message: Progress | Message) -> None:
        if isinstance(message, Message):
            lines.append(message.text)

    images.load(io.BytesIO(tar(members)), report=report, **options)
    return lines


def test_a_docker_archive_is_loaded_under_its_names(store: Store) -> None:
    lines = load(store.images, docker_archive(["x:1", "y:2"], LAYER, ABOVE, Cmd=["sh"]))
    assert lines == ["Loaded image: x:1\n", "Loaded image: y:2\n"]
    image = store.images.get("x:1")
    assert image.id == sha256(config(LAYER, ABOVE, Cmd=["sh"]))
    assert image.repo_tags == ("x:1", "y:2")
    assert image.size == 2
    assert store.events == [("load", image.id, {"name": "x:1"})]


def test_an_image_without_names_is_told_by_its_id(store: Store) -> None:
    lines = load(store.images, docker_archive(None, LAYER))
    assert lines == [f"Loaded image ID: {sha256(config(LAYER))}\n"]


@pytest.mark.parametrize("pack", [gzip.compress, zstandard.compress, bytes], ids=["gzip", "zstd", "plain"])
@pytest.mark.parametrize(
    "wrap", [gzip.compress, zstandard.compress, bz2.compress, bytes], ids=["gzip", "zstd", "bz2", "plain"]
)
def test_layers_and_archives_may_be_compressed(store: Store, pack: Any, wrap: Any) -> None:
    packed = pack(LAYER)
    store.images.load(io.BytesIO(wrap(tar(docker_archive(["x:1"], LAYER, stored=(packed,))))))
    assert store.images.get("x:1").manifest.layers[0].digest == sha256(packed)


def test_links_between_members_are_followed(store: Store) -> None:
    members = docker_archive(["x:1"], LAYER)
    real = members.pop("0/layer.tar")
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        link = tarfile.TarInfo("0/layer.tar")
        link.type, link.linkname = tarfile.SYMTYPE, "../real/layer.tar"
        archive.addfile(link)
        for name, data in {**members, "real/layer.tar": real}.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
    buffer.seek(0)
    store.images.load(buffer)
    assert store.images.get("x:1").size == 1


def test_an_oci_layout_keeps_its_manifest_to_the_byte(store: Store) -> None:
    document, packed = config(LAYER), gzip.compress(LAYER)
    manifest = oci_manifest(document, packed, suffix="+gzip")
    names = {"annotations": {"org.opencontainers.image.ref.name": "example.com/x:1"}}
    load(store.images, oci_archive([described(manifest, MANIFEST_TYPE, **names)], document, packed, manifest))
    assert store.images.get("example.com/x:1").manifest.raw == manifest


def test_of_several_platforms_the_fitting_one_is_loaded(store: Store) -> None:
    documents = [config(LAYER), config(ABOVE)]
    manifests = [oci_manifest(documents[0], LAYER), oci_manifest(documents[1], ABOVE)]
    platforms = [{"os": "linux", "architecture": "amd64"}, {"os": "linux", "architecture": "arm64"}]
    items = [described(m, MANIFEST_TYPE, platform=p) for m, p in zip(manifests, platforms, strict=True)]
    index = json.dumps({"schemaVersion": 2, "manifests": items}).encode()
    top = described(
        index,
        "application/vnd.oci.image.index.v1+json",
        annotations={"io.containerd.image.name": "docker.io/library/x:1"},
    )
    archive = oci_archive([top], index, *manifests, *documents, LAYER, ABOVE)
    load(store.images, archive, platform=parse_platform("linux/arm64"))
    assert store.images.get("x:1").id == sha256(documents[1])
    with pytest.raises(NotFound, match="no image for linux/s390x"):
        load(store.images, archive, platform=parse_platform("linux/s390x"))


def test_an_archive_from_before_docker_1_10_is_loaded(store: Store) -> None:
    below = {"id": "b" * 64, "created": "2015-01-01T00:00:00Z", "container_config": {"Cmd": ["one"]}}
    top = {"id": "a" * 64, "parent": "b" * 64, "config": {"Cmd": ["sh"]}, "os": "linux", "architecture": "amd64"}
    load(
        store.images,
        {
            f"{'a' * 64}/json": json.dumps(top).encode(),
            f"{'a' * 64}/layer.tar": ABOVE,
            f"{'b' * 64}/json": json.dumps(below).encode(),
            f"{'b' * 64}/layer.tar": LAYER,
            "repositories": json.dumps({"old": {"1": "a" * 64}}).encode(),
        },
    )
    image = store.images.get("old:1")
    assert image.config.texts("Cmd") == ("sh",)
    assert image.config.diff_ids == (sha256(LAYER), sha256(ABOVE))


def test_loading_a_taken_name_tells_about_the_old_image(store: Store) -> None:
    load(store.images, docker_archive(["x:1"], LAYER))
    old = store.images.get("x:1").id
    lines = load(store.images, docker_archive(["x:1"], ABOVE))
    assert lines[0] == f"The image x:1 already exists, renaming the old one with ID {old} to empty string\n"
    assert store.images.get(old).repo_tags == ()


def wrong_layer() -> Members:
    return docker_archive(["x:1"], LAYER, stored=(ABOVE,))


def missing_layer() -> Members:
    members = docker_archive(["x:1"], LAYER)
    del members["0/layer.tar"]
    return members


def escaping_layer() -> Members:
    return docker_archive(["x:1"], LAYER, tar({"../../evil": b"x"}))


def too_few_layers() -> Members:
    members = docker_archive(["x:1"], LAYER, ABOVE)
    manifest = json.loads(members["manifest.json"])
    manifest[0]["Layers"].pop()
    return {**members, "manifest.json": json.dumps(manifest).encode()}


def wrong_blob_name() -> Members:
    document = config(LAYER)
    manifest = oci_manifest(document, LAYER)
    members = oci_archive([described(manifest, MANIFEST_TYPE)], document, LAYER, manifest)
    return {**members, f"blobs/sha256/{sha256(LAYER)[7:]}": ABOVE}


@pytest.mark.parametrize(
    ("members", "words"),
    [
        ({}, "none of manifest.json, index.json"),
        ({"etc/passwd": b"root"}, "use import"),
        ({"manifest.json": b"{"}, "not valid JSON"),
        ({"manifest.json": b"{}"}, "list of objects"),
        ({"manifest.json": b'[{"Config": "../../etc/passwd"}]'}, "the archive has no"),
        ({"manifest.json": b"[" + b" " * (5 << 20) + b"]"}, "larger than"),
        (docker_archive(["UPPER:1"], LAYER), "must be lowercase"),
        (docker_archive(["x"], LAYER), "invalid tag"),
        (wrong_layer(), "content has digest"),
        (missing_layer(), "the archive has no 0/layer.tar"),
        (escaping_layer(), "outside of the archive"),
        (too_few_layers(), "layers length mismatch: expected 2, got 1"),
        (wrong_blob_name(), "its content has digest"),
        (docker_archive(["x:1"], LAYER, stored=(gzip.compress(LAYER)[:-4],)), "unexpected EOF"),
    ],
)
def test_a_bad_archive_is_refused_and_leaves_nothing(store: Store, members: Members, words: str) -> None:
    with pytest.raises(Invalid, match=words):
        load(store.images, members)
    assert store.is_empty()


def test_an_archive_that_is_cut_off_leaves_nothing(store: Store) -> None:
    data = tar(docker_archive(["x:1"], LAYER, tar({"big": b"x" * 100_000})))
    for size in (0, 100, 512, 5000, len(data) // 2):
        with pytest.raises(TiffinError):
            store.images.load(io.BytesIO(data[:size]))
        assert store.is_empty()


def test_a_full_disk_is_told_and_leaves_nothing(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tiffin.content.blobs.require_free_space.__defaults__", (1 << 62,))
    with pytest.raises(Unavailable, match="no space left on device"):
        load(store.images, docker_archive(["x:1"], LAYER))
    assert store.is_empty()


def test_the_reserved_name_can_not_be_loaded(store: Store) -> None:
    with pytest.raises(Forbidden, match="reserved"):
        load(store.images, docker_archive(["host:latest"], LAYER))
    assert store.is_empty()


def test_what_is_saved_is_loaded_again_the_same(store: Store, tmp_path: Path) -> None:
    load(store.images, docker_archive(["x:1", "x:2"], LAYER, stored=(gzip.compress(LAYER),)))
    load(store.images, docker_archive(["y:1"], LAYER, ABOVE))
    data = b"".join(store.images.save(["x", "y:1"]))
    (tmp_path / "other").mkdir()
    other = open_store(tmp_path / "other")
    other.images.load(io.BytesIO(data))
    assert other.blobs() == store.blobs()
    assert [image.repo_tags for image in other.images.select()] == [image.repo_tags for image in store.images.select()]
    with tarfile.open(fileobj=io.BytesIO(data)) as archive:
        names = archive.getnames()
        assert {"oci-layout", "index.json", "manifest.json", "repositories"} <= set(names)
        assert len(names) == len(set(names))
        index = json.load(archive.extractfile("index.json"))  # type: ignore[arg-type]
        assert sorted(item["annotations"]["io.containerd.image.name"] for item in index["manifests"]) == [
            "docker.io/library/x:1",
            "docker.io/library/x:2",
            "docker.io/library/y:1",
        ]


def test_saving_an_unknown_image_fails_before_the_first_byte(store: Store) -> None:
    load(store.images, docker_archive(["x:1"], LAYER))
    with pytest.raises(NotFound, match="No such image: nothing:latest"):
        store.images.save(["x:1", "nothing"])


def test_an_image_may_be_removed_while_it_is_saved(store: Store) -> None:
    load(store.images, docker_archive(["x:1"], LAYER))
    pieces = store.images.save(["x:1"])
    first = next(pieces)
    store.images.remove("x:1")
    data = first + b"".join(pieces)
    assert store.is_empty() or store.blobs()
    store.images.load(io.BytesIO(data))
    assert store.images.get("x:1").size == 1


@pytest.mark.parametrize(
    "point", ["blob-written", "blob-renamed:2", "layer-synced", "layer-recorded:2", "layers-applied", "ledger-commit:4"]
)
def test_a_crash_while_loading_leaves_a_whole_image_or_none(tmp_path: Path, point: str) -> None:
    data = tar(docker_archive(["x:1"], LAYER, ABOVE))
    (tmp_path / "archive.tar").write_bytes(data)
    code = (
        f"import sys, pathlib\nsys.path[:0] = {sys.path!r}\nfrom unit.images.conftest import open_store\n"
        f"open_store(pathlib.Path({str(tmp_path)!r})).images.load(open({str(tmp_path / 'archive.tar')!r}, 'rb'))"
    )
    tests = Path(__file__).parents[2]
    environment = {**os.environ, "TIFFIN_CRASH_AT": point, "PYTHONPATH": str(tests)}
    assert subprocess.run([sys.executable, "-c", code], env=environment).returncode in (-9, 0)
    store = open_store(tmp_path)
    store.images.collect()
    for image in store.images.select():
        assert image.chain is not None
        store.images.snapshots.prepare("probe", image.chain)
        store.images.snapshots.remove("probe")
    store.images.load(io.BytesIO(data))
    store.images.remove("x:1")
    assert store.is_empty()
