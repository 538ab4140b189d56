"""`system check`: each kind of thing is damaged by hand, seen, mended, and all is well afterwards."""

from __future__ import annotations

import itertools
import json
import os
import shutil
import sqlite3
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from faults.inventory import cleared
from faults.served import serve
from rig import Cli, Engine
from rig.engine import running
from rig.machine import CGROUPS
from rig.registries import Fake, fake, made_image

pytestmark = pytest.mark.root
SLOW = pytest.mark.slow


@pytest.fixture(scope="module")
def engine() -> Iterator[Engine]:
    with running() as engine:
        yield engine


@pytest.fixture(scope="module")
def registry(engine: Engine) -> Iterator[Fake]:
    with fake(engine) as made:
        yield made


@pytest.fixture
def docker(engine: Engine) -> Cli:
    return engine.cli()


@pytest.fixture(autouse=True)
def nothing_is_under_way(engine: Engine) -> None:
    """What the test before has removed is no finding of this one."""
    cleared(engine)


@pytest.fixture
def pulled(docker: Cli, registry: Fake) -> Iterator[list[str]]:
    """An image of the registry's, x:1: the digests of its two layers' blobs."""
    blobs = serve(registry, 2)
    docker("pull", f"{registry.address}/x:1")
    yield blobs
    docker("rmi", "-f", f"{registry.address}/x:1", check=False)


def check(engine: Engine, *options: str) -> tuple[int, list[dict[str, Any]]]:
    """The exit code, and what was found."""
    done = engine.cli("tiffin")("system", "check", "--format", "json", *options, check=False, timeout=300)
    assert done.out, done.err
    return done.rc, json.loads(done.out)["Findings"]


def sound(engine: Engine) -> None:
    assert check(engine) == (0, [])


def mended(engine: Engine, *kinds: str) -> None:
    """Just this is found, and mended; then there is nothing."""
    code, found = check(engine, "--settle", "1")
    assert (code, sorted(one["Kind"] for one in found)) == (1, sorted(kinds)), found
    assert all(one["Problem"] and one["Advice"] for one in found)
    code, found = check(engine, "--repair", "--settle", "1")
    assert code == 0 and all(one["Repaired"] for one in found), found
    sound(engine)


def blob(engine: Engine, digest: str) -> Path:
    return engine.data_root / "content/blobs/sha256" / digest.removeprefix("sha256:")


def overwrite(path: Path, at: int) -> None:
    """One byte of a file becomes another."""
    with path.open("r+b") as file:
        file.seek(at)
        byte = file.read(1)
        file.seek(at)
        file.write(bytes([byte[0] ^ 0xFF]))


def identifiers(docker: Cli, name: str) -> tuple[str, list[str]]:
    [image] = json.loads(docker("image", "inspect", name).out)
    return image["Id"], image["RootFS"]["Layers"]


def ledger(engine: Engine, *statements: str) -> None:
    """Change the records while the daemon is away."""
    engine.stop()
    with sqlite3.connect(engine.data_root / "ledger.db") as db:
        for statement in statements:
            db.execute(statement)
    db.close()
    engine.start()


def test_a_sound_engine_has_nothing_to_tell(engine: Engine, docker: Cli, pulled: list[str]) -> None:
    name = docker("run", "-d", "-v", "data:/data", "-p", "127.0.0.1::80", "busybox", "sleep", "100000").out.strip()
    tiffin = engine.cli("tiffin")
    try:
        told = tiffin("system", "check").out
        assert told.endswith(": nothing wrong\n") and "1 containers" in told
        sound(engine)
        engine.kill()
        engine.start()
        sound(engine)
        docker("stop", "-t", "0", name)
        sound(engine)
    finally:
        docker("rm", "-f", name)
        docker("volume", "rm", "data")


@pytest.mark.parametrize(
    ("part", "how"),
    [
        ("layer", "damaged"),
        pytest.param("manifest", "missing", marks=SLOW),
        *(pytest.param(*rest, marks=SLOW) for rest in itertools.product(("layer", "config"), ("missing",))),
        *(pytest.param(*rest, marks=SLOW) for rest in itertools.product(("config", "manifest"), ("damaged",))),
    ],
)
def test_a_blob_that_was_pulled_is_fetched_again(
    engine: Engine, docker: Cli, registry: Fake, pulled: list[str], part: str, how: str
) -> None:
    name = f"{registry.address}/x:1"
    before = identifiers(docker, name)
    manifest = docker("image", "inspect", "-f", "{{index .RepoDigests 0}}", name).out.strip().rpartition("@")[2]
    path = blob(engine, {"layer": pulled[0], "config": before[0], "manifest": manifest}[part])
    if how == "damaged":
        overwrite(path, 20)
    else:
        path.unlink()
    code, found = check(engine)
    assert code == 1
    assert f"blob-{how}" in {one["Kind"] for one in found}, found
    code, found = check(engine, "--repair", "--settle", "1")
    assert code == 0, found
    sound(engine)
    assert identifiers(docker, name) == before
    assert not list((engine.data_root / "content/quarantine").iterdir())


@SLOW
def test_what_no_registry_has_is_told_and_comes_back_by_load(engine: Engine, docker: Cli, tmp_path: Path) -> None:
    made_image(engine, docker, "one:1")
    try:
        docker("save", "-o", str(tmp_path / "one.tar"), "one:1")
        _, [layer] = identifiers(docker, "one:1")
        overwrite(blob(engine, layer), 2000)
        code, found = check(engine, "--repair", "--settle", "1")
        assert code == 1
        [of_blob] = [one for one in found if one["Kind"] == "blob-missing"]
        assert "one:1" in of_blob["Problem"] and "load" in of_blob["Error"]
        docker("load", "-i", str(tmp_path / "one.tar"))
        assert check(engine, "--repair", "--settle", "1")[0] == 0
        sound(engine)
    finally:
        docker("rmi", "one:1")


@pytest.mark.parametrize(
    ("file", "how"),
    [
        ("tar", "damaged"),
        pytest.param("tar", "missing", marks=SLOW),
        pytest.param("index", "damaged", marks=SLOW),
        pytest.param("index", "missing", marks=SLOW),
    ],
)
def test_a_layers_files_are_made_again_from_its_blob(
    engine: Engine, docker: Cli, registry: Fake, pulled: list[str], file: str, how: str
) -> None:
    name = f"{registry.address}/x:1"
    container = docker("create", name, "x").out.strip()
    _, [diff, _] = identifiers(docker, name)
    path = engine.data_root / "snapshots/erofs/layers" / diff.removeprefix("sha256:") / file
    before = path.read_bytes()
    if how == "damaged":
        overwrite(path, len(before) // 2 if file == "tar" else 1024 + 24)
    else:
        path.unlink()
    try:
        mended(engine, "layer-damaged")
        assert path.read_bytes() == before
        assert "file-0" in engine.run("sh", "-ec", f"docker export {container} | tar -t")
    finally:
        docker("rm", container)


@pytest.mark.parametrize("driver", ["overlay", pytest.param("copy", marks=SLOW)])
def test_files_of_unpacked_layers_are_made_again(driver: str) -> None:
    engine = Engine("tiffin", options=["--storage-driver", driver])
    try:
        engine.load("busybox")
        docker = engine.cli()
        docker("run", "--name", "changed", "busybox", "sh", "-c", "echo one > /etc/made; rm /bin/uname")
        docker("commit", "changed", "second")
        docker("rm", "changed")
        sound(engine)
        layers = engine.data_root / "snapshots" / driver / "layers"
        for path in layers.glob("*/bin/busybox"):
            overwrite(path, 4096)
            break
        code, found = check(engine, "--settle", "1")
        assert (code, {one["Kind"] for one in found}) == (1, {"layer-damaged"}), found
        assert ": /bin/" in found[0]["Problem"]
        code, found = check(engine, "--repair", "--settle", "1")
        assert code == 0 and all(one["Repaired"] for one in found), found
        sound(engine)
        assert docker("run", "--rm", "second", "cat", "/etc/made").out.strip() == "one"
    finally:
        engine.close()


@SLOW
def test_a_plain_blob_that_is_gone_is_the_tar_that_is_there(engine: Engine, docker: Cli) -> None:
    made_image(engine, docker, "one:1")
    try:
        _, [layer] = identifiers(docker, "one:1")
        blob(engine, layer).unlink()
        mended(engine, "blob-missing")
    finally:
        docker("rmi", "one:1")


@SLOW
def test_the_record_of_a_layer_is_made_again(engine: Engine, docker: Cli, registry: Fake, pulled: list[str]) -> None:
    _, [_, diff] = identifiers(docker, f"{registry.address}/x:1")
    ledger(engine, f"DELETE FROM snapshot_layer WHERE diff = '{diff}'")
    code, found = check(engine)
    assert code == 1 and {one["Kind"] for one in found} == {"layer-missing"}, found
    assert check(engine, "--repair", "--settle", "1")[0] == 0
    sound(engine)


def test_what_belongs_to_nothing_is_removed(engine: Engine, docker: Cli) -> None:
    stray = "ab" * 32
    content, snapshots = engine.data_root / "content", engine.data_root / "snapshots/erofs"
    made = [
        *(content / "blobs/sha256" / stray, content / "ingest" / "0123456789abcdef"),
        *(snapshots / "layers" / stray / "tar", snapshots / "active" / stray / "upper" / "x"),
        *(snapshots / "staging" / "0123456789abcdef" / "x", engine.data_root / "containers" / stray / "hosts"),
        *(engine.exec_root / "containers" / stray / "exit", engine.data_root / "volumes/.removed-0123" / "_data/x"),
    ]
    for path in made:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("x")
    parents = [path for path in CGROUPS.glob(f"**{engine.machine.cgroup_parent}") if path.is_dir()]
    groups = [path / stray for path in parents[:1]]
    for group in groups:
        group.mkdir()
    mended(
        engine, "blob-unused", *["leftover"] * 4, *["directory-left"] * 2, "volume-left", "cgroup-left",
    )  # fmt: skip
    assert not any(path.exists() for path in (*made, *groups))


@SLOW
def test_a_snapshot_without_a_container_is_removed(engine: Engine, docker: Cli) -> None:
    container = docker("create", "busybox", "true").out.strip()
    engine.stop()
    with sqlite3.connect(engine.data_root / "ledger.db") as db:
        [row] = db.execute("SELECT * FROM snapshot WHERE key = ?", (container,)).fetchall()
    db.close()
    engine.start()
    docker("rm", container)
    with sqlite3.connect(engine.data_root / "ledger.db") as db:
        db.execute("INSERT INTO snapshot VALUES (?, ?, ?, ?)", row)
    db.close()
    (engine.data_root / "snapshots/erofs/active" / container / "upper").mkdir(parents=True)
    mended(engine, "snapshot-left")


def test_a_container_without_its_files_is_told_of(engine: Engine, docker: Cli) -> None:
    container = docker("create", "--name", "bare", "busybox", "true").out.strip()
    shutil.rmtree(engine.data_root / "snapshots/erofs/active" / container)
    code, [found] = check(engine, "--repair", "--settle", "1")
    assert code == 1 and found["Kind"] == "container-files" and "bare" in found["Problem"]
    docker("rm", "bare")
    sound(engine)


@SLOW
def test_a_mount_that_no_container_needs_is_removed(engine: Engine, docker: Cli) -> None:
    container = docker("create", "busybox", "true").out.strip()
    place = engine.exec_root / "containers" / container / "shm"
    place.mkdir(parents=True)
    inside = ["nsenter", f"--mount=/proc/{engine.machine.pid}/ns/mnt", "--"]
    subprocess.run([*inside, "mount", "-t", "tmpfs", "tmpfs", place], check=True)
    try:
        mended(engine, "mount-left")
    finally:
        docker("rm", container)


@SLOW
def test_volumes_and_who_has_them_come_together(engine: Engine, docker: Cli) -> None:
    docker("volume", "create", "data")
    container = docker("create", "-v", "data:/data", "busybox", "true").out.strip()
    root = engine.data_root / "volumes"
    try:
        ledger(engine, f"DELETE FROM volume_reference WHERE container = '{container}'")
        shutil.rmtree(root / "data" / "_data")
        (root / "found" / "_data").mkdir(parents=True)
        (root / "found" / "_data" / "kept").write_text("mine")
        mended(engine, "volume-files", "volume-unknown", "reference-missing")
        assert docker("volume", "ls", "-q").out.split() == ["data", "found"]
        assert (root / "found" / "_data" / "kept").read_text() == "mine"
        assert "in use" in docker("volume", "rm", "data", check=False).err
    finally:
        docker("rm", container)
        docker("volume", "rm", "data", "found", check=False)


def test_links_rules_and_bridges_come_together(engine: Engine, docker: Cli) -> None:
    docker("network", "create", "net")
    bridge = "br-" + docker("network", "inspect", "-f", "{{.Id}}", "net").out[:12]
    container = docker("run", "-d", "--network", "net", "busybox", "sleep", "100000").out.strip()
    [gateway] = json.loads(docker("network", "inspect", "net").out)[0]["IPAM"]["Config"]
    try:
        engine.run("ip", "link", "add", "veth1234567", "master", bridge, "type", "veth", "peer", "name", "vethpeer")
        engine.run("nft", "delete", "table", "inet", "tiffin")
        engine.run("ip", "address", "flush", "dev", bridge)
        mended(engine, "link-left", "rules-missing", "bridge-wrong")
        assert gateway["Gateway"] in engine.run("ip", "address", "show", "dev", bridge)
        [link] = [
            line.split()[1].partition("@")[0]
            for line in engine.run("ip", "-o", "link", "show", "master", bridge).splitlines()
        ]
        engine.run("ip", "link", "delete", link)
        code, [found] = check(engine, "--repair", "--settle", "1")
        assert code == 1 and found["Kind"] == "link-missing" and "restart" in found["Advice"]
        docker("restart", "-t", "0", container)
        sound(engine)
    finally:
        docker("rm", "-f", container)
        docker("network", "rm", "net")


def test_other_readers_index_is_written_again(engine: Engine) -> None:
    (engine.data_root / "content/index.json").write_text("{}")
    mended(engine, "index-wrong")


def test_a_damaged_ledger_is_told_of(engine: Engine) -> None:
    with sqlite3.connect(engine.data_root / "ledger.db") as db:
        db.execute("PRAGMA foreign_keys=OFF")
        db.execute("INSERT INTO image_name VALUES ('docker.io/library/lost:1', 'sha256:00')")
    try:
        code, found = check(engine)
        assert code == 1 and [one["Kind"] for one in found] == ["ledger-damaged"], found
    finally:
        with sqlite3.connect(engine.data_root / "ledger.db") as db:
            db.execute("DELETE FROM image_name WHERE image = 'sha256:00'")
    sound(engine)


def test_what_is_under_way_is_not_wrong(engine: Engine, docker: Cli, registry: Fake) -> None:
    """Images come and go, containers too, while the engine is looked over."""
    serve(registry, 3, tag="busy", size=3_000_000)
    name = f"{registry.address}/x:busy"
    script = f"for i in 1 2 3; do docker pull -q {name}; docker run --rm busybox true; docker rmi {name}; done"
    environment = {**os.environ, **engine.environment()}
    working = subprocess.Popen(["sh", "-ec", script], env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    looks = 0
    while working.poll() is None:
        assert check(engine, "--settle", "60") == (0, [])
        looks += 1
    assert working.returncode == 0, working.stdout and working.stdout.read()
    assert looks
