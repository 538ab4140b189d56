"""The same inputs give the same image: on another engine, with nothing cached, at another time."""

from __future__ import annotations

import io
import json
import os
import tarfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from build_wire.test_several_platforms import archived, inspected
from rig import Engine, eventually
from rig.engine import running

pytestmark = pytest.mark.timeout(600)

EPOCH = 1700000000
TEXT = """
FROM busybox AS made
RUN mkdir -p /made/deep && echo by a process > /made/deep/file && ln /made/deep/file /made/hard && ln -s hard /made/soft
RUN rm /made/hard && echo more >> /made/deep/file && touch /etc/passwd && date > /dev/null
FROM busybox
WORKDIR /work/inner
COPY given /work/given
COPY --chown=7:8 --chmod=640 given /work/
COPY --link given /linked/
COPY --from=made /made /made
ADD packed.tar /unpacked/
COPY <<END /written
a document of the Dockerfile
END
RUN echo last > /work/last
"""


@pytest.fixture(scope="module")
def other() -> Iterator[Engine]:
    with running() as engine:
        yield engine


def context(folder: Path, when: int) -> Path:
    """The same files, written at another time."""
    folder.mkdir()
    (folder / "Dockerfile").write_text(TEXT)
    (folder / "given").write_text("given\n")
    (folder / "given").chmod(0o644)
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w") as archive:
        for name, moment in (("old", EPOCH - 1000), ("new", EPOCH + 100_000)):
            entry = tarfile.TarInfo(name)
            entry.size, entry.mtime = 3, moment
            archive.addfile(entry, io.BytesIO(b"tar"))
    (folder / "packed.tar").write_bytes(packed.getvalue())
    for name in ("Dockerfile", "given", "packed.tar"):
        os.utime(folder / name, (when, when))
    return folder


def built(engine: Engine, folder: Path, name: str, *words: str) -> dict[str, Any]:
    arguments = ("--build-arg", f"SOURCE_DATE_EPOCH={EPOCH}", "--provenance=false", "-t", name, *words, str(folder))
    engine.cli("tiffin")("build", "--progress", "plain", *arguments, timeout=300)
    return inspected(engine, name)


def test_two_engines_make_the_same_image_at_different_times(builder: Engine, other: Engine, tmp_path: Path) -> None:
    first = built(builder, context(tmp_path / "a", EPOCH + 5_000_000), "reproduced:1", "--no-cache")
    began = time.time()
    eventually(lambda: time.time() > began + 2, within=60, what="it is another second")
    second = built(other, context(tmp_path / "b", EPOCH + 9_000_000), "reproduced:1")
    assert first["RootFS"]["Layers"] == second["RootFS"]["Layers"]
    assert first["Descriptor"] == second["Descriptor"]
    assert first["Id"] == second["Id"]
    base = inspected(builder, "busybox")["RootFS"]["Layers"]
    assert first["RootFS"]["Layers"][: len(base)] == base
    assert first["Created"].startswith("2023-11-14T22:13:20")


def test_what_is_later_gets_the_moment_and_what_is_earlier_stays(builder: Engine, tmp_path: Path) -> None:
    built(builder, context(tmp_path / "a", EPOCH + 5_000_000), "reproduced:2")
    path = tmp_path / "s.tar"
    builder.cli("tiffin")("save", "-o", str(path), "reproduced:2")
    layout, follow = archived(path)
    manifest = follow(layout["manifests"][0])
    times: dict[str, int] = {}
    base = len(inspected(builder, "busybox")["RootFS"]["Layers"])
    with tarfile.open(path) as archive:
        for layer in manifest["layers"][base:]:
            file = archive.extractfile(f"blobs/sha256/{layer['digest'][7:]}")
            with tarfile.open(fileobj=file) as inner:
                times |= {entry.name: int(entry.mtime) for entry in inner}
    assert times["unpacked/old"] == EPOCH - 1000
    assert {name for name, when in times.items() if when > EPOCH} == set()
    for name in ("unpacked/new", "work/given", "work/last", "made/deep/file", "written", "work/inner"):
        assert times[name.rstrip("/")] == EPOCH, name
    history = [entry["created"] for entry in follow(manifest["config"])["history"]]
    assert all(one == "2023-11-14T22:13:20Z" for one in history[-3:]), json.dumps(history)


@pytest.mark.slow
def test_archives_are_the_same_byte_for_byte(builder: Engine, other: Engine, tmp_path: Path) -> None:
    archives = []
    for number, engine in enumerate((builder, other)):
        output = f"type=oci,dest={tmp_path / str(number)}.tar"
        folder = context(tmp_path / f"c{number}", EPOCH + number)
        given = {"SOURCE_DATE_EPOCH": str(EPOCH)}  # from the environment, as buildx
        engine.cli("tiffin")("build", "-o", output, str(folder), env=given, timeout=300)
        archives.append((tmp_path / f"{number}.tar").read_bytes())
    assert archives[0] == archives[1]


@pytest.mark.slow
def test_what_was_built_without_the_moment_is_not_taken_for_it(builder: Engine, other: Engine, tmp_path: Path) -> None:
    folder = context(tmp_path / "a", EPOCH + 5_000_000)
    builder.cli("tiffin")("build", "--no-cache", "-t", "reproduced:3", str(folder), timeout=300)
    builder.cli("tiffin")("build", "--build-arg", "SOURCE_DATE_EPOCH=5", "-t", "reproduced:3", str(folder), timeout=300)
    mine = built(builder, folder, "reproduced:3")
    assert mine["Id"] == built(other, context(tmp_path / "b", EPOCH), "reproduced:3")["Id"]
