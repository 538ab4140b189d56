"""Images of several platforms: kept together, told apart by a platform, moved whole."""

import json
import os
import re
import subprocess
import tarfile
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest

from rig import Cli, Engine
from rig.peers import needs_api, needs_several_platforms, tiffins_own
from rig.platforms import index
from rig.served import OCI_INDEX, OCI_MANIFEST, Client, Served

HERE, OTHER, THIRD = "linux/amd64", "linux/arm64", "linux/arm/v7"
LACKING = "was found but does not provide the specified platform"
MISMATCH = "does not match the specified platform"


@pytest.fixture(autouse=True, scope="module")
def several(engine: Engine) -> None:
    needs_api(engine, "1.49", "several platforms under one name")
    needs_several_platforms(engine)


def api(engine: Engine, target: str) -> Any:
    command = ["curl", "-s", "--unix-socket", str(engine.socket), f"http://docker/v1.51{target}"]
    return json.loads(subprocess.run(command, check=True, capture_output=True).stdout)


def manifests(engine: Engine, reference: str) -> dict[str, dict[str, Any]]:
    """By what they are for."""
    found = api(engine, f"/images/{reference}/json?manifests=1")["Manifests"]
    return {
        one["AttestationData"]["For"]
        if one["Kind"] == "attestation"
        else "/".join(one["ImageData"]["Platform"][key] for key in ("os", "architecture")): one
        for one in found
    }


def everything(engine: Engine, docker: Cli) -> set[str]:
    """Every image, every blob of tiffin's."""
    images = docker("images", "-aq", "--no-trunc").out.split()
    return {
        *images,
        *(os.listdir(engine.data_root / "content" / "blobs" / "sha256") if engine.kind == "tiffin" else ()),
    }


def held(client: Client, path: str, reference: str) -> Any:
    answer = client.get(f"/v2/{path}/manifests/{reference}", Accept=f"{OCI_INDEX}, {OCI_MANIFEST}")
    return answer.json if answer.status == 200 else None


def test_a_second_platform_joins_the_first(engine: Engine, docker: Cli, registry: Served, path: str) -> None:
    digest, found = index(registry.client(), path, "1", [HERE, OTHER, THIRD])
    reference = f"{registry.address}/{path}:1"
    assert f"Digest: {digest}" in docker("pull", reference).out
    image = json.loads(docker("image", "inspect", reference).out)[0]
    assert image["Architecture"] == "amd64"
    assert image["RepoDigests"] == [f"{registry.address}/{path}@{digest}"]
    missing = docker("image", "inspect", "--platform", OTHER, reference, check=False)
    assert LACKING in missing.err
    assert f"({OTHER})" in missing.err
    # dockerd looks at the name's digest alone, which is the index's
    first = "Downloaded newer image" if engine.kind == "tiffin" else "Image is up to date"
    assert first in docker("pull", "--platform", OTHER, reference).out
    assert "Image is up to date" in docker("pull", "--platform", OTHER, reference).out
    # the name still means this machine's, the other is asked for by its platform
    assert json.loads(docker("image", "inspect", reference).out)[0]["Id"] == image["Id"]
    [other] = json.loads(docker("image", "inspect", "--platform", OTHER, reference).out)
    assert other["Architecture"] == "arm64"
    assert docker("run", "--rm", reference).out == HERE
    assert docker("run", "--rm", "--platform", OTHER, "--pull", "never", reference).out == OTHER
    assert f"platform {OTHER}" in docker("history", "--no-trunc", "--platform", OTHER, reference).out
    assert LACKING in docker("history", "--platform", THIRD, reference, check=False).err
    # one line in the list, three manifests behind it
    assert docker("images", "-q", f"{registry.address}/{path}").out.split() == [image["Id"][7:19]]
    shown = manifests(engine, reference)
    assert {key: one["Available"] for key, one in shown.items()} == {HERE: True, OTHER: True, "linux/arm": False}
    assert shown[OTHER]["ID"] == found[OTHER]["digest"]
    # a third is fetched when it is wanted
    assert docker("run", "--rm", "--platform", THIRD, reference).out == THIRD


def test_everything_of_a_name_goes_with_it(engine: Engine, docker: Cli, registry: Served, path: str) -> None:
    index(registry.client(), path, "1", [HERE, OTHER], attested=True)
    reference = f"{registry.address}/{path}:1"
    docker("image", "prune", "-f")
    before = everything(engine, docker)
    docker("pull", reference)
    docker("pull", "--platform", OTHER, reference)
    docker("tag", reference, f"{reference}-too")
    docker("image", "prune", "-f")
    other = json.loads(docker("image", "inspect", "--platform", OTHER, f"{reference}-too").out)[0]["Id"]
    docker("rmi", reference)
    assert docker("run", "--rm", "--platform", OTHER, "--pull", "never", f"{reference}-too").out == OTHER
    container = docker("create", "--platform", OTHER, f"{reference}-too").line
    assert docker("ps", "-a", "--filter", f"id={container}", "--format", "{{.Image}}").line == f"{reference}-too"
    assert "is using its referenced image" in docker("rmi", f"{reference}-too", check=False).err
    docker("rm", container)
    deleted = docker("rmi", f"{reference}-too").out
    assert f"Deleted: {other}" in deleted or engine.kind != "tiffin"  # dockerd names the index alone
    assert everything(engine, docker) <= before


def test_a_whole_index_is_pushed_with_its_attestations(
    engine: Engine, docker: Cli, registry: Served, path: str
) -> None:
    tiffins_own(engine, "dockerd pulls no attestations along with a platform")
    client = registry.client()
    digest, found = index(client, path, "1", [HERE, OTHER], attested=True)
    reference, copy = f"{registry.address}/{path}:1", f"{registry.address}/{path}/copy"
    docker("pull", reference)
    docker("tag", reference, f"{copy}:part")
    part = docker("push", f"{copy}:part").out
    assert "Not all multiplatform-content is present" in part
    assert (
        part.partition("Info")[2].replace("\x1b[31m", "").replace("\x1b[32m", "").replace("\x1b[0m", "")
        == (engine.cli("tiffin")("push", f"{copy}:part").out.partition("Info")[2])
    )
    assert held(client, f"{path}/copy", "part")["mediaType"] == OCI_MANIFEST
    assert manifests(engine, reference)[found[HERE]["digest"]]["Available"]
    docker("pull", "--platform", OTHER, reference)
    docker("tag", reference, f"{copy}:whole")
    assert f"whole: digest: {digest}" in docker("push", f"{copy}:whole").out
    assert [one["digest"] for one in held(client, f"{path}/copy", "whole")["manifests"]] == [
        one["digest"] for one in found.values()
    ]
    for one in found.values():
        assert held(client, f"{path}/copy", one["digest"])
    docker("push", "--platform", OTHER, f"{copy}:whole")
    assert held(client, f"{path}/copy", "whole")["config"]
    assert LACKING in docker("push", "--platform", THIRD, f"{copy}:whole", check=False).err


def test_archives_take_all_platforms_or_one(
    engine: Engine, docker: Cli, registry: Served, path: str, tmp_path: Path
) -> None:
    tiffins_own(engine, "dockerd pulls no attestations along with a platform")
    digest, found = index(registry.client(), path, "1", [HERE, OTHER], attested=True)
    reference = f"{registry.address}/{path}:1"
    docker("pull", reference)
    docker("pull", "--platform", OTHER, reference)
    whole, one = tmp_path / "whole.tar", tmp_path / "one.tar"
    docker("save", "-o", str(whole), reference)
    docker("save", "--platform", OTHER, "-o", str(one), reference)
    assert LACKING in docker("save", "--platform", THIRD, reference, check=False).err
    with tarfile.open(whole) as tar:
        names = tar.getnames()
        assert all(f"blobs/sha256/{item['digest'][7:]}" in names for item in found.values())
        entries = json.load(tar.extractfile("index.json") or pytest.fail())["manifests"]
        assert [entry["digest"] for entry in entries] == [digest]
    with tarfile.open(one) as tar:
        entries = json.load(tar.extractfile("index.json") or pytest.fail())["manifests"]
        assert [entry["digest"] for entry in entries] == [found[OTHER]["digest"]]
    docker("rmi", reference)
    docker("load", "-i", str(one))
    assert docker("run", "--rm", reference).out == OTHER
    docker("rmi", reference)
    docker("load", "--platform", OTHER, "-i", str(whole))
    assert docker("run", "--rm", reference).out == OTHER
    docker("rmi", reference)
    assert "linux/arm/v7" in docker("load", "--platform", THIRD, "-i", str(whole), check=False).err
    docker("load", "-i", str(whole))
    assert {one["Available"] for one in manifests(engine, reference).values()} == {True}
    assert docker("run", "--rm", "--platform", OTHER, "--pull", "never", reference).out == OTHER
    # what came by an archive goes back to the registry as it was
    assert digest in docker("push", reference).out


@pytest.mark.parametrize("first", [HERE, OTHER])
def test_builds_begin_from_the_platform_they_name(
    engine: Engine, docker: Cli, registry: Served, path: str, tmp_path: Path, first: str
) -> None:
    tiffins_own(engine, "dockerd's builder takes the platform that was built before")
    index(registry.client(), path, "1", [HERE, OTHER])
    reference = f"{registry.address}/{path}:1"
    docker("pull", "--platform", first, reference)
    for platform in (OTHER, HERE):
        (tmp_path / "Dockerfile").write_text(f"FROM --platform={platform} {reference}\nRUN cat /platform > /built\n")
        docker("build", "-q", "-t", f"{path}:built", str(tmp_path), timeout=300, env={"DOCKER_BUILDKIT": "0"})
        assert docker("run", "--rm", f"{path}:built", "cat", "/built").out == platform


def test_a_tag_that_moves_to_one_image_means_that(docker: Cli, registry: Served, path: str) -> None:
    client = registry.client()
    _, found = index(client, path, "1", [HERE, OTHER])
    reference = f"{registry.address}/{path}:1"
    docker("pull", reference)
    docker("pull", "--platform", OTHER, reference)
    assert client.push_manifest(path, "1", held(client, path, found[HERE]["digest"])).status == 201
    docker("pull", reference)
    assert MISMATCH in docker("image", "inspect", "--platform", OTHER, reference, check=False).err
    assert f"digest: {found[HERE]['digest']}" in docker("push", reference).out


def test_one_platform_is_removed(engine: Engine, docker: Cli, registry: Served, path: str) -> None:
    tiffins_own(engine, "dockerd 28 wants --force for it, and then takes the other platform as well")
    index(registry.client(), path, "1", [HERE, OTHER])
    reference = f"{registry.address}/{path}:1"
    docker("pull", reference)
    docker("pull", "--platform", OTHER, reference)
    container = docker("create", reference).line
    assert "is being used by container" in docker("rmi", "--platform", HERE, reference, check=False).err
    docker("rm", container)
    docker("rmi", "--platform", HERE, reference)
    assert {key: one["Available"] for key, one in manifests(engine, reference).items()} == {HERE: False, OTHER: True}
    assert LACKING in docker("image", "inspect", "--platform", HERE, reference, check=False).err
    assert docker("run", "--rm", reference).out == OTHER
    docker("pull", reference)
    assert docker("run", "--rm", reference).out == HERE
    docker("rmi", "--platform", OTHER, reference)
    docker("rmi", "--platform", HERE, reference)
    assert not docker("images", "-q", f"{registry.address}/{path}").out


def test_the_tree_of_images_is_dockers(engine: Engine, docker: Cli, registry: Served, path: str) -> None:
    index(registry.client(), path, "1", [HERE, OTHER, THIRD], attested=True)
    reference = f"{registry.address}/{path}:1"
    docker("pull", "-q", reference)
    docker("pull", "-q", "--platform", OTHER, reference)
    docker("tag", reference, f"{path}:2")
    docker("create", "--platform", OTHER, reference)
    drawn = re.sub(r"\x1b\[[0-9]*m", "", docker("images", "--tree", path).out)
    wanted = [line.rstrip() for line in drawn.splitlines() if "Info ->" not in line and "WARNING" not in line]
    mine = engine.cli("tiffin")("images", "--tree", path).out.splitlines()
    assert list(filter(None, mine)) == list(filter(None, wanted))
    tree = engine.cli("tiffin")("images", "--tree").out
    used = next(line for line in tree.splitlines() if line.startswith(f"{path}:2 "))
    assert used.endswith("U") or engine.kind != "tiffin"  # dockerd shows a use at the platform alone
    assert [line.split()[1] for line in tree.partition(used)[2].splitlines()[1:4]] == [HERE, OTHER, THIRD]


def test_an_image_that_may_not_run_here_is_warned_of(docker: Cli, registry: Served, path: str) -> None:
    index(registry.client(), path, "1", [OTHER])
    reference = f"{registry.address}/{path}:1"
    docker("pull", "--platform", OTHER, reference)
    done = docker("run", "--rm", reference)
    assert done.out == OTHER
    assert "The requested image's platform (linux/arm64) does not match the detected host platform" in done.err


def test_an_image_of_one_platform_has_one_manifest(engine: Engine) -> None:
    [one] = api(engine, "/images/busybox/json?manifests=1")["Manifests"]
    assert one["Available"]
    assert one["Size"]["Total"] == one["Size"]["Content"] + one["ImageData"]["Size"]["Unpacked"]
    one_platform = quote('{"os":"linux","architecture":"amd64"}')
    conflict = api(engine, f"/images/busybox/json?manifests=1&platform={one_platform}")
    assert conflict["message"].startswith("conflicting options: manifests and platform")
