"""What goes along with an image: provenance and packages as attestations in its index, annotations on its documents."""

from __future__ import annotations

import json
import sqlite3
import struct
import tarfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from build_wire.test_buildx import write
from build_wire.test_several_platforms import BOTH, CROSS, Build, archived, build, inspected
from rig import Cli, Engine
from rig.served import OCI_INDEX, OCI_MANIFEST, Inside, Served

__all__ = ["build"]

pytestmark = pytest.mark.timeout(600)

SLSA, SPDX = "https://slsa.dev/provenance/v0.2", "https://spdx.dev/Document"
SIMPLE = "FROM busybox\nARG TOKEN\nCOPY f /\n"


@pytest.fixture(scope="module")
def registry(builder: Engine, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    made = Served(Inside(builder.machine), tmp_path_factory.mktemp("registry") / "state", port=5032)
    yield made
    made.close()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return write(tmp_path / "c", Dockerfile=SIMPLE, f="attested\n")


def statements(index: dict[str, Any], follow: Callable[[dict[str, Any]], Any]) -> dict[str, dict[str, Any]]:
    """By the image's digest and the predicate's type."""
    found: dict[str, dict[str, Any]] = {}
    for one in index["manifests"]:
        annotations = one.get("annotations", {})
        if annotations.get("vnd.docker.reference.type") != "attestation-manifest":
            continue
        assert one["platform"] == {"architecture": "unknown", "os": "unknown"}
        said = found.setdefault(annotations["vnd.docker.reference.digest"], {})
        for layer in follow(one)["layers"]:
            statement = follow(layer)
            assert statement["predicateType"] == layer["annotations"]["in-toto.io/predicate-type"]
            said[statement["predicateType"]] = statement
    return found


def saved(tiffin: Cli, name: str, path: Path) -> tuple[dict[str, Any], Callable[[dict[str, Any]], Any]]:
    """What a name's index is in the archive that `save` makes."""
    tiffin("save", "-o", str(path), name)
    layout, follow = archived(path)
    return follow(layout["manifests"][0]), follow


def kinds(builder: Engine, name: str) -> list[str]:
    return [one["Kind"] for one in inspected(builder, name)["Manifests"]]


def test_an_image_with_a_name_tells_where_it_is_from(
    build: Build, tiffin: Cli, builder: Engine, folder: Path, tmp_path: Path
) -> None:
    build("-t", "attested:1", "--build-arg", "TOKEN=hidden", "--iidfile", tmp_path / "iid", folder)
    assert kinds(builder, "attested:1") == ["image", "attestation"]
    index, follow = saved(tiffin, "attested:1", tmp_path / "s.tar")
    (said,) = statements(index, follow).values()
    assert list(said) == [SLSA]
    (subject,) = said[SLSA]["subject"]
    assert subject["digest"]["sha256"] == index["manifests"][0]["digest"][7:]
    assert subject["name"].startswith("pkg:docker/attested@1?platform=linux%2F")
    assert "hidden" not in json.dumps(said)
    # it is one image still, and runs
    assert tiffin("run", "--rm", "attested:1", "cat", "/f").out == "attested\n"
    image = (tmp_path / "iid").read_text()
    assert tiffin("images", "-q", "--no-trunc", "attested").out.split() == [image]
    # newer clients know what they have built by its index alone
    assert json.loads(tiffin("inspect", inspected(builder, "attested:1")["Descriptor"]["digest"]).out)[0]["Id"] == image
    tiffin("rmi", inspected(builder, "attested:1")["Descriptor"]["digest"])
    assert tiffin("images", "-q", "attested").out == ""


def test_what_is_built_again_from_the_cache_is_the_same_index(
    build: Build, tiffin: Cli, builder: Engine, folder: Path
) -> None:
    build("-t", "attested:same", folder)
    before = inspected(builder, "attested:same")["Descriptor"]
    build("-t", "attested:same", folder)
    assert inspected(builder, "attested:same")["Descriptor"] == before
    build("-t", "attested:same", "--provenance", "mode=max", folder)
    assert inspected(builder, "attested:same")["Descriptor"] != before
    tiffin("rmi", "attested:same")


@pytest.mark.slow
def test_without_provenance_a_name_means_the_image_alone(
    build: Build, tiffin: Cli, builder: Engine, folder: Path
) -> None:
    build("-t", "attested:none", "--provenance=false", folder)
    assert kinds(builder, "attested:none") == ["image"]
    assert inspected(builder, "attested:none")["Descriptor"]["mediaType"] == OCI_MANIFEST
    tiffin("rmi", "attested:none")


@pytest.mark.slow
def test_the_whole_provenance_has_the_dockerfile_and_the_arguments(
    build: Build, tiffin: Cli, folder: Path, tmp_path: Path
) -> None:
    build("-t", "attested:max", "--provenance=mode=max", "--build-arg", "TOKEN=shown", folder)
    (said,) = statements(*saved(tiffin, "attested:max", tmp_path / "s.tar")).values()
    predicate = said[SLSA]["predicate"]
    assert predicate["invocation"]["parameters"]["args"]["build-arg:TOKEN"] == "shown"
    assert predicate["metadata"]["https://mobyproject.org/buildkit@v1#metadata"]["source"]["infos"][0]["data"]
    tiffin("rmi", "attested:max")


def rpm_database(path: Path, **packages: str) -> None:
    """rpm's own, with these names and versions."""
    with sqlite3.connect(path) as db:
        db.execute("CREATE TABLE Packages (hnum INTEGER PRIMARY KEY AUTOINCREMENT, blob BLOB NOT NULL)")
        for name, version in packages.items():
            texts = [(1000, name), (1001, version), (1002, "1.el9"), (1022, "x86_64")]
            entries, data = b"", b""
            for tag, text in texts:
                entries += struct.pack(">IIiI", tag, 6, len(data), 1)
                data += text.encode() + b"\0"
            header = struct.pack(">II", len(texts), len(data)) + entries + data
            db.execute("INSERT INTO Packages(blob) VALUES (?)", (header,))
    db.close()


def test_packages_of_every_kind_are_listed_the_same_each_time(build: Build, tiffin: Cli, tmp_path: Path) -> None:
    text = (
        "FROM busybox\nCOPY dpkg /var/lib/dpkg/status\nCOPY apk /lib/apk/db/installed\n"
        "COPY rpm /usr/lib/sysimage/rpm/rpmdb.sqlite\n"
        "COPY METADATA /usr/lib/python3.14/site-packages/thing-1.dist-info/METADATA\n"
    )
    folder = write(
        tmp_path / "c",
        Dockerfile=text,
        dpkg="Package: deb\nStatus: install ok installed\nArchitecture: all\nVersion: 1.2-3\n\n",
        apk="P:alpine-thing\nV:3.4-r0\nA:x86_64\n\n",
        METADATA="Metadata-Version: 2.1\nName: python-thing\nVersion: 5.6\n\n",
    )
    rpm_database(folder / "rpm", bash="5.1.8", glibc="2.34")
    listed = []
    for number in ("1", "2"):
        build("-t", f"attested:sbom{number}", "--sbom=true", "--provenance=false", folder)
        (said,) = statements(*saved(tiffin, f"attested:sbom{number}", tmp_path / f"{number}.tar")).values()
        assert list(said) == [SPDX]
        listed.append(said[SPDX]["predicate"])
        tiffin("rmi", f"attested:sbom{number}")
    found = {(one["name"], one["versionInfo"]) for one in listed[0]["packages"]}
    assert found == {
        ("deb", "1.2-3"),
        ("alpine-thing", "3.4-r0"),
        ("python-thing", "5.6"),
        ("bash", "5.1.8-1.el9"),
        ("glibc", "2.34-1.el9"),
    }
    urls = [one["externalRefs"][0]["referenceLocator"] for one in listed[0]["packages"]]
    assert "pkg:rpm/redhat/bash@5.1.8-1.el9?arch=x86_64" in urls
    listed[1]["name"] = listed[0]["name"]  # the image's, which differs
    assert listed[0] == listed[1]


def test_each_platforms_image_is_attested_for_itself(
    build: Build, tiffin: Cli, builder: Engine, tmp_path: Path
) -> None:
    folder = write(tmp_path / "d", Dockerfile=CROSS, amd64="a", arm64="b")
    build("-t", "attested:both", "--platform", BOTH, "--sbom=true", "--provenance=true", folder)
    assert kinds(builder, "attested:both") == ["image", "image", "attestation", "attestation"]
    index, follow = saved(tiffin, "attested:both", tmp_path / "s.tar")
    said = statements(index, follow)
    assert list(said) == [one["digest"] for one in index["manifests"][:2]]
    assert all(set(one) == {SLSA, SPDX} for one in said.values())
    tiffin("rmi", "attested:both")
    tiffin("load", "-i", str(tmp_path / "s.tar"))
    assert kinds(builder, "attested:both") == ["image", "image", "attestation", "attestation"]
    tiffin("rmi", "attested:both")


def test_attestations_are_pushed_along_and_told_in_the_metadata(
    build: Build, tiffin: Cli, registry: Served, folder: Path, tmp_path: Path
) -> None:
    name = f"{registry.address}/attested:1"
    build("-t", name, "--push", "--metadata-file", tmp_path / "m", folder)
    told = json.loads((tmp_path / "m").read_text())
    answer = registry.client(Accept=OCI_INDEX).get("/v2/attested/manifests/1")
    index = json.loads(answer.body)
    assert answer.headers["docker-content-digest"] == told["containerimage.digest"]
    assert told["containerimage.descriptor"]["digest"] == told["containerimage.digest"]
    assert told["containerimage.descriptor"]["mediaType"] == OCI_INDEX
    assert told["containerimage.config.digest"] == json.loads(tiffin("inspect", name).out)[0]["Id"]
    assert told["image.name"] == name
    assert told["buildx.build.provenance"]["materials"][0]["uri"].startswith("pkg:docker/busybox@latest")
    assert [one.get("annotations", {}).get("vnd.docker.reference.type") for one in index["manifests"]] == [
        None,
        "attestation-manifest",
    ]
    tiffin("rmi", name)


@pytest.mark.slow
def test_imagetools_shows_what_was_attested(docker: Cli, tiffin: Cli, registry: Served, tmp_path: Path) -> None:
    status = "Package: shown\nStatus: install ok installed\nArchitecture: all\nVersion: 1\n\n"
    folder = write(tmp_path / "d", Dockerfile="FROM busybox\nCOPY status /var/lib/dpkg/status\n", status=status)
    name = f"{registry.address}/attested:tools"
    docker("buildx", "build", "--sbom=true", "--push", "-t", name, str(folder), timeout=300)
    shown = json.loads(docker("buildx", "imagetools", "inspect", "--format", "{{json .Provenance}}", name).out)
    assert shown["SLSA"]["buildType"] == "https://mobyproject.org/buildkit@v1"
    shown = json.loads(docker("buildx", "imagetools", "inspect", "--format", "{{json .SBOM}}", name).out)
    assert shown["SPDX"]["packages"][0]["name"] == "shown"
    tiffin("rmi", name)


@pytest.mark.slow
def test_files_come_with_what_was_asked_for_beside_them(build: Build, folder: Path, tmp_path: Path) -> None:
    (folder / "Dockerfile").write_text("FROM scratch\nCOPY f /d/f\n")
    build("-o", tmp_path / "plain", folder)
    assert sorted(one.name for one in (tmp_path / "plain").iterdir()) == ["d"]
    build("-o", tmp_path / "out", "--sbom=true", "--provenance=true", folder)
    assert sorted(one.name for one in (tmp_path / "out").iterdir()) == ["d", "provenance.json", "sbom.spdx.json"]
    statement = json.loads((tmp_path / "out" / "provenance.json").read_text())
    assert [one["name"] for one in statement["subject"]] == ["d/f"]
    output = f"type=tar,dest={tmp_path / 'o.tar'},platform-split=false"
    build("-o", output, "--provenance=true", "--platform", BOTH, folder)
    with tarfile.open(tmp_path / "o.tar") as archive:
        assert {"provenance.linux_amd64.json", "provenance.linux_arm64.json"} <= set(archive.getnames())


def test_annotations_go_to_the_document_that_is_named(build: Build, folder: Path, tmp_path: Path) -> None:
    (folder / "Dockerfile").write_text("FROM scratch\nCOPY f /\n")
    words = [
        "index:which=index",
        "manifest:all=manifests",
        "manifest[linux/arm64]:one=arm",
        "manifest-descriptor[linux/amd64]:which=descriptor",
        "index-descriptor:which=top",
    ]
    given = [word for text in words for word in ("--annotation", text)]
    build("--platform", BOTH, *given, "-o", f"type=oci,dest={tmp_path / 'o.tar'}", "-t", "attested:noted", folder)
    layout, follow = archived(tmp_path / "o.tar")
    index = follow(layout["manifests"][0])
    assert layout["manifests"][0]["annotations"]["which"] == "top"
    assert index["annotations"] == {"which": "index"}
    amd64, arm64 = index["manifests"]
    assert amd64["annotations"] == {"which": "descriptor"}
    assert follow(amd64)["annotations"] == {"all": "manifests"}
    assert follow(arm64)["annotations"] == {"all": "manifests", "one": "arm"}
    assert "annotations" not in arm64


def test_annotations_of_what_is_not_there_are_refused(build: Build, folder: Path) -> None:
    alone = ("--provenance=false", "--load", "-t", "attested:wrong", folder)
    said = build("--annotation", "index:a=b", *alone, check=False)
    assert "index annotations not supported for single platform export" in said
    said = build("--annotation", "manifest[linux/s390x]:a=b", "--load", "-t", "attested:wrong", folder, check=False)
    assert "invalid annotation: no platform linux/s390x found in source" in said


def test_options_that_would_make_another_image_are_refused(tiffin: Cli, folder: Path) -> None:
    for option in ("compression=zstd", "oci-mediatypes=false", "push-by-digest=true"):
        done = tiffin("build", "-o", f"type=image,name=attested:not,{option}", str(folder), check=False)
        assert done.rc == 1
        assert option.partition("=")[0] in done.err


@pytest.mark.slow
def test_an_annotation_describes_an_image_that_is_here_anew(
    build: Build, tiffin: Cli, builder: Engine, folder: Path
) -> None:
    build("-t", "attested:anew", "--provenance=false", folder)
    before = inspected(builder, "attested:anew")
    build("-t", "attested:anew", "--provenance=false", "--load", "--annotation", "a=b", folder)
    after = inspected(builder, "attested:anew")
    assert after["Id"] == before["Id"]
    assert after["Manifests"][0]["Descriptor"]["digest"] != before["Manifests"][0]["Descriptor"]["digest"]
    tiffin("system", "check")
    tiffin("rmi", "attested:anew")
