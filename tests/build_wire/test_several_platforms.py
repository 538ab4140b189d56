"""Builds for several platforms: one index, whose images are each built with arguments of their own."""

from __future__ import annotations

import json
import re
import subprocess
import tarfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from build_wire.test_buildx import write
from rig import Cli, Engine
from rig.served import OCI_INDEX, Inside, Served

pytestmark = pytest.mark.timeout(600)

BOTH = "linux/amd64,linux/arm64"
CROSS = """
FROM --platform=$BUILDPLATFORM busybox AS cross
ARG TARGETPLATFORM
ARG TARGETARCH
ARG BUILDPLATFORM
RUN echo "$TARGETPLATFORM from $BUILDPLATFORM" > /made
COPY $TARGETARCH /given
FROM scratch
COPY --from=cross /made /given /
"""
Build = Callable[..., str]


@pytest.fixture(params=["tiffin", *(pytest.param(name, marks=pytest.mark.slow) for name in ("docker", "old_docker"))])
def build(request: pytest.FixtureRequest) -> Build:
    """`build` of tiffin's own client, and of two stock buildx with docker's driver."""
    client: Cli = request.getfixturevalue(request.param)
    words = ("build",) if request.param == "tiffin" else ("buildx", "build")

    def run(*more: str | Path, check: bool = True, **options: Any) -> str:
        done = client(*words, "--progress", "plain", *map(str, more), check=check, timeout=300, **options)
        return done.out + done.err

    return run


@pytest.fixture
def cross(tmp_path: Path) -> Path:
    return write(tmp_path / "c", Dockerfile=CROSS, amd64="for amd64\n", arm64="for arm64\n")


@pytest.fixture(scope="module")
def registry(builder: Engine, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    made = Served(Inside(builder.machine), tmp_path_factory.mktemp("registry") / "state", port=5031)
    yield made
    made.close()


def inspected(builder: Engine, name: str) -> dict[str, Any]:
    target = f"http://docker/v1.51/images/{name}/json?manifests=1"
    command = ["curl", "-s", "--unix-socket", str(builder.socket), target]
    return dict(json.loads(subprocess.run(command, check=True, capture_output=True).stdout))


def platforms(builder: Engine, name: str) -> list[str]:
    found = [one["ImageData"]["Platform"] for one in inspected(builder, name)["Manifests"] if one["Kind"] == "image"]
    return sorted("/".join(filter(None, (one["os"], one["architecture"], one.get("variant")))) for one in found)


def archived(path: Path) -> tuple[dict[str, Any], Callable[[dict[str, Any]], Any]]:
    """The layout's index, and what a descriptor leads to."""
    with tarfile.open(path) as archive:
        blobs = {entry.name: archive.extractfile(entry).read() for entry in archive if entry.isfile()}  # type: ignore[union-attr]

    def follow(descriptor: dict[str, Any]) -> Any:
        return json.loads(blobs[f"blobs/sha256/{descriptor['digest'][7:]}"])

    return json.loads(blobs["index.json"]), follow


def test_each_platform_is_built_with_its_own_arguments(
    build: Build, tiffin: Cli, builder: Engine, cross: Path, tmp_path: Path
) -> None:
    build("--platform", BOTH, "-t", "several:1", cross)
    assert platforms(builder, "several:1") == ["linux/amd64", "linux/arm64"]
    for platform in BOTH.split(","):
        container = tiffin("create", "--platform", platform, "several:1", "x").line
        tiffin("cp", f"{container}:/made", str(tmp_path / platform[6:]))
        assert (tmp_path / platform[6:]).read_text() == f"{platform} from linux/amd64\n"
        tiffin("rm", container)
    tiffin("rmi", "several:1")


def test_files_go_to_a_folder_for_each_platform(build: Build, cross: Path, tmp_path: Path) -> None:
    build("--platform", BOTH, "-o", tmp_path / "out", cross)
    assert (tmp_path / "out" / "linux_amd64" / "made").read_text() == "linux/amd64 from linux/amd64\n"
    assert (tmp_path / "out" / "linux_arm64" / "given").read_text() == "for arm64\n"
    build("--platform", BOTH, "-o", f"type=tar,dest={tmp_path / 'o.tar'}", cross)
    with tarfile.open(tmp_path / "o.tar") as archive:
        assert {"linux_amd64", "linux_amd64/made", "linux_arm64/given"} <= set(archive.getnames())
    one = ("--platform", "linux/arm64", "-o", f"type=local,dest={tmp_path / 'one'}")
    build(*one, cross)
    assert (tmp_path / "one" / "given").read_text() == "for arm64\n"


def test_an_archive_holds_the_index_and_is_loaded_with_it(
    build: Build, tiffin: Cli, builder: Engine, cross: Path, tmp_path: Path
) -> None:
    build("--platform", BOTH, "-t", "several:archived", "-o", f"type=oci,dest={tmp_path / 'o.tar'}", cross)
    layout, follow = archived(tmp_path / "o.tar")
    index = follow(layout["manifests"][0])
    assert index["mediaType"] == "application/vnd.oci.image.index.v1+json"
    assert [one["platform"]["architecture"] for one in index["manifests"]] == ["amd64", "arm64"]
    assert tiffin("images", "-q", "several:archived").out == ""  # an archive is stored nowhere
    tiffin("load", "-i", str(tmp_path / "o.tar"))
    assert platforms(builder, "several:archived") == ["linux/amd64", "linux/arm64"]
    tiffin("rmi", "several:archived")


def test_an_index_is_pushed_whole_and_built_upon(
    build: Build, tiffin: Cli, builder: Engine, registry: Served, cross: Path, tmp_path: Path
) -> None:
    name = f"{registry.address}/several:pushed"
    build("--platform", BOTH, "--push", "-t", name, "--metadata-file", tmp_path / "m", cross)
    told = json.loads((tmp_path / "m").read_text())
    answer = registry.client(Accept=OCI_INDEX).get("/v2/several/manifests/pushed")
    assert answer.headers["docker-content-digest"] == told["containerimage.digest"]
    # buildx before 0.20 sets it to the index's digest itself
    assert told.get("containerimage.config.digest", told["containerimage.digest"]) == told["containerimage.digest"]
    kinds = [one["platform"]["architecture"] for one in json.loads(answer.body)["manifests"]]
    assert kinds[:2] == ["amd64", "arm64"]
    tiffin("rmi", name)
    above = write(tmp_path / "d", Dockerfile=f"FROM {name}\nARG TARGETARCH\nCOPY x /$TARGETARCH\n", x="x")
    build("--platform", "linux/arm64,linux/amd64", "-o", tmp_path / "out", above)
    assert (tmp_path / "out" / "linux_arm64" / "given").read_text() == "for arm64\n"
    assert (tmp_path / "out" / "linux_amd64" / "given").read_text() == "for amd64\n"
    assert (tmp_path / "out" / "linux_amd64" / "amd64").exists()


def test_variants_are_told_apart(build: Build, builder: Engine, tiffin: Cli, tmp_path: Path) -> None:
    text = "FROM scratch\nARG TARGETARCH TARGETVARIANT\nCOPY f /$TARGETARCH-$TARGETVARIANT\n"
    folder = write(tmp_path / "c", Dockerfile=text, f="x")
    build("--platform", "linux/arm/v6,linux/arm/v7", "-o", tmp_path / "out", folder)
    assert (tmp_path / "out" / "linux_arm_v6" / "arm-v6").exists()
    assert (tmp_path / "out" / "linux_arm_v7" / "arm-v7").exists()


def test_a_tag_that_is_built_for_one_platform_again_means_that_image_alone(
    build: Build, builder: Engine, tiffin: Cli, cross: Path
) -> None:
    build("--platform", BOTH, "-t", "several:again", cross)
    build("--provenance", "false", "-t", "several:again", cross)
    found = inspected(builder, "several:again")
    assert found["Descriptor"]["mediaType"] == "application/vnd.oci.image.manifest.v1+json"
    assert platforms(builder, "several:again") == ["linux/amd64"]
    tiffin("rmi", "several:again")


def test_a_foreign_platform_that_cannot_be_run_is_named(build: Build, tiffin: Cli, tmp_path: Path) -> None:
    elf = bytearray(64)
    elf[:20] = b"\x7fELF\x02\x01\x01" + bytes(9) + b"\x02\x00\xb7\x00"  # an executable for aarch64
    folder = write(tmp_path / "c", Dockerfile='FROM scratch\nCOPY --chmod=755 sh /\nRUN ["/sh"]\n')
    (folder / "sh").write_bytes(bytes(elf))
    said = build("--platform", "linux/arm64", folder, check=False)
    assert "exec format error" in said
    assert "linux/arm64" in said
    assert "qemu-user-static" in said


def test_one_failing_platform_ends_the_others(build: Build, tmp_path: Path) -> None:
    text = "FROM --platform=$BUILDPLATFORM busybox\nARG TARGETARCH\nRUN [ $TARGETARCH = amd64 ]\n"
    said = build("--platform", BOTH, write(tmp_path / "c", Dockerfile=text), check=False)
    assert "did not complete successfully: exit code: 1" in said


def test_what_is_loaded_is_an_index_with_what_was_attested(
    build: Build, builder: Engine, tiffin: Cli, cross: Path
) -> None:
    build("--load", "--provenance=true", "--sbom=true", "--platform", BOTH, "-t", "several:loaded", cross)
    assert platforms(builder, "several:loaded") == ["linux/amd64", "linux/arm64"]
    kinds = [one["Kind"] for one in inspected(builder, "several:loaded")["Manifests"]]
    assert kinds.count("attestation") == 2
    tiffin("rmi", "several:loaded")


def test_without_a_name_the_image_keeps_the_index(
    build: Build, builder: Engine, tiffin: Cli, cross: Path, tmp_path: Path
) -> None:
    (cross / "amd64").write_text(tmp_path.name)  # an image that no other test has made
    before = set(tiffin("images", "-q", "--no-trunc").out.split())
    build("--platform", BOTH, "--metadata-file", tmp_path / "m", cross)
    (id,) = set(tiffin("images", "-q", "--no-trunc").out.split()) - before  # the other one is part of it
    index = json.loads((tmp_path / "m").read_text())["containerimage.digest"]
    assert platforms(builder, id) == platforms(builder, index) == ["linux/amd64", "linux/arm64"]
    for name in (id, id[7:19], index):
        arm = tiffin("image", "inspect", "--platform", "linux/arm64", "-f", "{{.Architecture}}", name).line
        assert arm == "arm64"
    tiffin("save", "-o", str(tmp_path / "s.tar"), id)
    layout, follow = archived(tmp_path / "s.tar")
    assert layout["manifests"][0]["digest"] == index
    assert len(follow(layout["manifests"][0])["manifests"]) == 2
    tiffin("tag", id, "several:later")
    assert platforms(builder, "several:later") == ["linux/amd64", "linux/arm64"]
    tiffin("rmi", "several:later")
    build("--platform", BOTH, cross)
    assert platforms(builder, id) == ["linux/amd64", "linux/arm64"]
    tiffin("image", "prune", "-f")
    assert set(tiffin("images", "-aq", "--no-trunc").out.split()) <= before
    tiffin("system", "check")


@pytest.mark.slow
def test_bake_builds_targets_of_several_platforms_on_each_other(
    docker: Cli, tiffin: Cli, builder: Engine, tmp_path: Path
) -> None:
    bake = """
    group "default" { targets = ["below", "above"] }
    target "below" {
      platforms = ["linux/amd64", "linux/arm64"]
      dockerfile-inline = "FROM scratch\\nARG TARGETARCH\\nCOPY $TARGETARCH /below\\nENV FROM_BELOW=yes"
    }
    target "above" {
      platforms = ["linux/amd64", "linux/arm64"]
      contexts = { lower = "target:below" }
      dockerfile-inline = "FROM lower\\nCOPY amd64 /beside"
      tags = ["several:bake"]
      output = ["type=image"]
    }
    """
    folder = write(tmp_path / "c", amd64="for amd64\n", arm64="for arm64\n")
    (folder / "docker-bake.hcl").write_text(bake)
    words = ("--set", f"*.context={folder}", "--allow", f"fs.read={folder}", "--progress", "plain")
    docker("buildx", "bake", "-f", str(folder / "docker-bake.hcl"), *words, timeout=300)
    assert platforms(builder, "several:bake") == ["linux/amd64", "linux/arm64"]
    container = tiffin("create", "--platform", "linux/arm64", "several:bake", "x").line
    tiffin("cp", f"{container}:/below", str(tmp_path / "below"))
    assert (tmp_path / "below").read_text() == "for arm64\n"
    tiffin("rm", container)
    tiffin("rmi", "several:bake")


def test_what_platforms_have_in_common_is_told_once(build: Build, tmp_path: Path) -> None:
    text = (
        "FROM --platform=$BUILDPLATFORM busybox AS common\nRUN echo said; echo for-$(id -u) > /all\n"
        "FROM scratch\nARG TARGETARCH\nCOPY --from=common /all /$TARGETARCH\n"
    )
    folder = write(tmp_path / "c", Dockerfile=text)
    said = build("--no-cache", "--platform", BOTH, folder)
    assert len(re.findall(r"^#\d+ [\d.]+ said$", said, re.MULTILINE)) == 1
    assert not re.search(r"^#\d+ \.\.\.$", said.rpartition("exporting")[2], re.MULTILINE)
