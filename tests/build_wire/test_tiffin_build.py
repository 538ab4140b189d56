"""`tiffin build`: the same flags, served by a BuildKit client of our own."""

from __future__ import annotations

import hashlib
import json
import os
import tarfile
from pathlib import Path
from typing import Any

import pytest

from build_wire.test_buildx import write
from rig import Cli, Engine

pytestmark = pytest.mark.timeout(600)


def build(tiffin: Cli, *words: str, check: bool = True, input: str | None = None) -> str:
    done = tiffin("build", "--progress", "plain", *words, check=check, input=input, timeout=300)
    return done.out + done.err


def test_an_image_is_built_and_cached(tiffin: Cli, tmp_path: Path) -> None:
    folder = write(
        tmp_path / "c", Dockerfile="FROM busybox\nCOPY a /\nRUN echo made > /b\nCMD cat /a /b\n", a="given\n"
    )
    build(tiffin, "-t", "wire-own", str(folder))
    assert tiffin("run", "--rm", "wire-own").out == "given\nmade\n"
    again = build(tiffin, "-t", "wire-own", str(folder))
    assert again.partition("RUN echo made")[2].splitlines()[1].endswith("CACHED")


def test_quiet_prints_the_image_and_nothing_else(tiffin: Cli, tmp_path: Path) -> None:
    folder = write(tmp_path / "c", Dockerfile="FROM busybox\nLABEL wire=quiet\n")
    done = tiffin("build", "-q", "--iidfile", str(tmp_path / "iid"), str(folder))
    assert done.out.strip() == (tmp_path / "iid").read_text()
    assert done.err == ""


def test_ignored_files_stay_and_those_taken_back_go(tiffin: Cli, tmp_path: Path) -> None:
    """The daemon applies .dockerignore to what our client lists."""
    folder = write(tmp_path / "c", Dockerfile="FROM busybox\nCOPY . /all\n", _dockerignore="*\n!kept\n!deep/in/side\n")
    write(folder, kept="1", other="2")
    write(folder / "deep" / "in", side="3", beside="4")
    build(tiffin, "-t", "wire-own-ignore", str(folder))
    shown = tiffin("run", "--rm", "wire-own-ignore", "sh", "-c", "cd /all; find . -type f | sort").out
    assert shown.split() == ["./deep/in/side", "./kept"]


def test_only_what_steps_take_is_read_links_followed(tiffin: Cli, tmp_path: Path) -> None:
    folder = write(tmp_path / "c", Dockerfile="FROM busybox\nCOPY link/file w*d /\nCMD cat /file /world\n")
    write(folder / "real", file="behind a link\n")
    write(folder, world="matched\n", unread="x" * 1000)
    (folder / "link").symlink_to("real")
    (folder / "unread").chmod(0)
    build(tiffin, "-t", "wire-own-links", str(folder))
    assert tiffin("run", "--rm", "wire-own-links").out == "behind a link\nmatched\n"


def test_files_come_back_as_a_directory_a_tar_and_an_archive(tiffin: Cli, tmp_path: Path) -> None:
    folder = write(tmp_path / "c", Dockerfile="FROM scratch\nCOPY f /d/f\n", f="content\n")
    build(tiffin, "-o", str(tmp_path / "out"), str(folder))
    assert (tmp_path / "out" / "d" / "f").read_text() == "content\n"
    build(tiffin, "-o", f"type=tar,dest={tmp_path / 't.tar'}", "-o", f"type=oci,dest={tmp_path / 'o.tar'}", str(folder))
    with tarfile.open(tmp_path / "t.tar") as archive:
        assert archive.getnames() == ["d", "d/f"]
    with tarfile.open(tmp_path / "o.tar") as archive:
        assert "oci-layout" in archive.getnames()


@pytest.mark.slow
@pytest.mark.parametrize("which", ["tiffin", "docker"])
def test_an_image_goes_to_a_directory_as_an_oci_layout(
    request: pytest.FixtureRequest, which: str, tmp_path: Path
) -> None:
    cli: Cli = request.getfixturevalue(which)
    folder, layout = write(tmp_path / "c", Dockerfile="FROM busybox\nLABEL wire=layout\n"), tmp_path / "layout"
    words = ("buildx", "build") if which == "docker" else ("build",)
    for tag in ("laid:1", "laid:1"):
        cli(*words, "-t", tag, "-o", f"type=oci,dest={layout},tar=false", str(folder), timeout=300)
    (listed,) = json.loads((layout / "index.json").read_text())["manifests"]
    manifest = json.loads(_blob(layout, listed))
    assert json.loads(_blob(layout, manifest["config"]))["config"]["Labels"]["wire"] == "layout"
    assert [len(_blob(layout, layer)) for layer in manifest["layers"]] == [one["size"] for one in manifest["layers"]]


@pytest.mark.parametrize("which", ["tiffin", "docker"])
def test_an_oci_layout_is_a_context(request: pytest.FixtureRequest, which: str, tmp_path: Path) -> None:
    cli: Cli = request.getfixturevalue(which)
    below = write(tmp_path / "below", Dockerfile=f"FROM busybox\nRUN echo {which} > /below\nENV FROM=layout\n")
    words = ("buildx", "build") if which == "docker" else ("build",)
    layout = tmp_path / "layout"
    cli(*words, "-o", f"type=oci,dest={layout},tar=false,name=laid:latest", str(below), timeout=300)
    cli("builder", "prune", "--all", "--force")
    text = "FROM base\nRUN echo $FROM $(cat /below) > /seen\nFROM busybox\nCOPY --from=base /below /\n"
    folder = write(tmp_path / "c", Dockerfile=f"{text}COPY --from=0 /seen /\nCMD cat /below /seen\n")
    (manifest,) = json.loads((layout / "index.json").read_text())["manifests"]
    context = f"base=oci-layout://{layout}@{manifest['digest']}"
    cli(*words, "--build-context", context, "-t", f"upon-{which}", str(folder), timeout=300)
    assert cli("run", "--rm", f"upon-{which}").out == f"{which}\nlayout {which}\n"


def test_a_damaged_or_missing_layout_is_told(tiffin: Cli, tmp_path: Path) -> None:
    layout, folder = tmp_path / "layout", write(tmp_path / "c", Dockerfile="FROM base\n")
    missing = build(tiffin, "--build-context", f"base=oci-layout://{layout}", str(folder), check=False)
    assert "could not be resolved" in missing
    cli = build(
        tiffin, "-o", f"type=oci,dest={layout},tar=false", str(write(tmp_path / "d", Dockerfile="FROM busybox"))
    )
    assert "exporting to oci image format" in cli
    (manifest,) = json.loads((layout / "index.json").read_text())["manifests"]
    (layout / "blobs" / manifest["digest"].replace(":", "/")).write_text("{}")
    damaged = build(tiffin, "--build-context", f"base=oci-layout://{layout}:latest", str(folder), check=False)
    assert f"{manifest['digest']} of the OCI layout is damaged" in damaged


def _blob(layout: Path, descriptor: dict[str, Any]) -> bytes:
    return (layout / "blobs" / descriptor["digest"].replace(":", "/")).read_bytes()


def test_secrets_come_from_files_and_the_environment(tiffin: Cli, tmp_path: Path) -> None:
    mounts = "--mount=type=secret,id=file --mount=type=secret,id=var,env=VAR"
    text = f"FROM busybox\nRUN {mounts} [ \"$(cat /run/secrets/file) $VAR\" = 'one two' ]\n"
    folder = write(tmp_path / "c", Dockerfile=text, secret="one")
    words = ("--no-cache", "--secret", f"id=file,src={folder / 'secret'}", "--secret", "id=var,env=MINE", str(folder))
    done = tiffin("build", *words, env={"MINE": "two"})
    assert done.rc == 0


def test_a_failure_ends_with_the_lines_it_is_about(tiffin: Cli, tmp_path: Path) -> None:
    folder = write(tmp_path / "c", Dockerfile="FROM busybox\nRUN echo so far && false\n")
    done = tiffin("build", str(folder), check=False)
    assert done.rc == 1
    assert "so far" in done.err
    assert "   2 | >>> RUN echo so far && false" in done.err
    assert 'ERROR: failed to build: failed to solve: process "/bin/sh -c echo so far && false"' in done.err


@pytest.mark.slow
def test_raw_json_is_a_document_a_line(tiffin: Cli, tmp_path: Path) -> None:
    folder = write(tmp_path / "c", Dockerfile="FROM busybox\nRUN echo raw\n")
    done = tiffin("build", "--no-cache", "--progress", "rawjson", str(folder))
    documents = [json.loads(line) for line in done.err.splitlines()]
    names = {vertex["name"] for document in documents for vertex in document.get("vertexes", ())}
    assert "[2/2] RUN echo raw" in names


def test_a_terminal_is_drawn_on(tiffin: Cli, tmp_path: Path) -> None:
    folder = write(tmp_path / "c", Dockerfile="FROM busybox\nRUN echo drawn\n")
    with tiffin.terminal("build", str(folder)) as terminal:
        terminal.expect("FINISHED", within=60)
        assert terminal.wait(within=60) == 0


def test_checks_and_questions_build_nothing(tiffin: Cli, tmp_path: Path) -> None:
    text = "ARG version=3\nFROM busybox AS base\n# which one\nARG flavour=plain\nMAINTAINER me\nFROM base AS last\n"
    folder = write(tmp_path / "c", Dockerfile=text)
    checked = tiffin("build", "--check", str(folder), check=False)
    assert checked.rc == 1
    assert checked.out.startswith("Check complete, 1 warning has been found!")
    assert tiffin("build", "--call", "targets", str(folder)).out.split() == [
        "TARGET",
        "DESCRIPTION",
        "base",
        "last",
        "(default)",
    ]
    assert "flavour" in tiffin("build", "--call", "outline", "--target", "base", str(folder)).out


@pytest.mark.slow
def test_what_builds_keep_is_listed_and_pruned(tiffin: Cli, builder: Engine, tmp_path: Path) -> None:
    folder = write(tmp_path / "c", Dockerfile="FROM busybox\nRUN echo to be pruned\n")
    build(tiffin, str(folder))
    assert "RUN echo to be pruned" in tiffin("builder", "du", "--verbose").out
    assert "Total:" in tiffin("builder", "prune", "--all", "--force").out
    assert "RUN echo to be pruned" not in tiffin("builder", "du", "--verbose").out


def test_wrong_requests_are_refused_in_dockers_words(tiffin: Cli, tmp_path: Path) -> None:
    assert "not found" in tiffin("build", str(tmp_path / "nowhere"), check=False).err
    write(tmp_path / "c", other="")
    refused = tiffin("build", str(tmp_path / "c"), check=False)
    assert "Dockerfile: no such file or directory" in refused.err
    assert os.listdir(tmp_path / "c") == ["other"]


def test_explain_names_what_differs(tiffin: Cli, tmp_path: Path) -> None:
    folder = write(tmp_path / "c", Dockerfile="FROM busybox\nARG WHO=me\nRUN echo for $WHO\nCOPY . /all\n", file="1")
    first = build(tiffin, "--explain", str(folder))
    assert "it has not been run before" in first
    assert "? nothing that it depends on has changed" in build(tiffin, "--explain", str(folder))
    (folder / "file").write_text("22")
    assert "the files that it takes have changed: file" in build(tiffin, "--explain", str(folder))
    assert "the variable WHO is you, it was me" in build(tiffin, "--explain", "--build-arg", "WHO=you", str(folder))


def test_provenance_and_packages_go_along_with_an_oci_archive(tiffin: Cli, tmp_path: Path) -> None:
    status = "Package: thing\nStatus: install ok installed\nArchitecture: all\nVersion: 1.2-3\n\n"
    text = "FROM busybox\nARG TOKEN\nCOPY status /var/lib/dpkg/status\n"
    folder = write(tmp_path / "c", Dockerfile=text, status=status)
    output = ["-o", f"type=oci,dest={tmp_path / 'o.tar'}", "-t", "attested:1", "--metadata-file", str(tmp_path / "m")]
    build(tiffin, *output, "--provenance", "mode=min", "--sbom", "true", "--build-arg", "TOKEN=hidden", str(folder))
    with tarfile.open(tmp_path / "o.tar") as archive:
        files = {name: archive.extractfile(name) for name in archive.getnames() if not archive.getmember(name).isdir()}
        blobs = {name.rpartition("/")[2]: file.read() for name, file in files.items() if file}

    def follow(descriptor: dict[str, str]) -> dict[str, Any]:
        data = blobs[descriptor["digest"].partition(":")[2]]
        assert hashlib.sha256(data).hexdigest() == descriptor["digest"].partition(":")[2]
        found: dict[str, Any] = json.loads(data)
        return found

    index = follow(json.loads(blobs["index.json"])["manifests"][0])
    image, attestation = index["manifests"]
    assert attestation["annotations"]["vnd.docker.reference.digest"] == image["digest"]
    statements = {}
    for layer in follow(attestation)["layers"]:
        found = follow(layer)
        assert found["subject"][0]["digest"]["sha256"] == image["digest"].partition(":")[2]
        statements[layer["annotations"]["in-toto.io/predicate-type"]] = found["predicate"]
    listed = statements["https://spdx.dev/Document"]["packages"]
    assert [(one["name"], one["versionInfo"]) for one in listed] == [("thing", "1.2-3")]
    made = statements["https://slsa.dev/provenance/v0.2"]
    assert made["materials"][0]["uri"].startswith("pkg:docker/busybox@latest?platform=linux%2F")
    assert "hidden" not in json.dumps(made)
    del made["metadata"]
    assert json.loads((tmp_path / "m").read_text())["buildx.build.provenance"] == made
