"""The driver erofs and the kernel's mounts: what is mounted when, by whom it is held, and what lies on disk."""

from __future__ import annotations

import io
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from kernel.erofs_trees import archive
from tiffin.content.ledger import Ledger
from tiffin.engine.container_root import mount_detached
from tiffin.model.digest import digest_of, hex_of
from tiffin.snapshots import Snapshotter, driver, open_driver
from tiffin.snapshots.erofs import probe
from tiffin.snapshots.tar import Entry, Kind

DATA = archive(Entry(b"etc", Kind.DIRECTORY, 0o755), (Entry(b"etc/hosts", mtime=7), b"one"), (Entry(b"other"), b"two"))
DIFF = digest_of(DATA)


@pytest.fixture
def snapshots(tmp_path: Path) -> Iterator[Snapshotter]:
    if not probe.supported(tmp_path):
        pytest.skip("this kernel does not mount EROFS from files here")
    opened = open_driver("erofs", tmp_path / "snapshots", Ledger(tmp_path / "ledger.db"))
    yield opened
    opened.close()


pytestmark = pytest.mark.root


def disk_blocks(below: Path) -> int:
    """Bytes that the files below a directory take."""
    return sum(path.stat().st_blocks * 512 for path in below.rglob("*") if path.is_file())


def apply(snapshots: Snapshotter, plain: Path | None = None) -> None:
    snapshots.apply(None, DIFF, io.BytesIO(DATA), plain=plain)


def mounted(below: Path) -> list[str]:
    """Mount points below a directory, in this process's mount namespace."""
    lines = Path("/proc/self/mountinfo").read_text().splitlines()
    return [line.split()[4] for line in lines if line.split()[4].startswith(f"{below}/")]


def read(mount: int, name: str) -> bytes:
    fd = os.open(name, os.O_RDONLY, dir_fd=mount)
    try:
        return os.read(fd, 100)
    finally:
        os.close(fd)


def test_a_layer_is_mounted_once_and_when_it_is_first_needed(snapshots: Snapshotter, tmp_path: Path) -> None:
    apply(snapshots)
    assert mounted(tmp_path) == []
    snapshots.prepare("one", DIFF)
    snapshots.prepare("two", DIFF)
    place = tmp_path / "snapshots/erofs/mounts"
    assert mounted(tmp_path) == [str(place), str(place / hex_of(DIFF))]


def test_what_is_mounted_lives_on_without_the_driver(snapshots: Snapshotter, tmp_path: Path) -> None:
    """As a running container outlives its daemon."""
    apply(snapshots)
    mount = mount_detached(snapshots.prepare("one", DIFF))
    snapshots.close()
    assert mounted(tmp_path) == []
    assert read(mount, "etc/hosts") == b"one"
    os.close(mount)


def test_the_mounts_of_a_killed_daemon_are_gone_after_the_next_start(snapshots: Snapshotter, tmp_path: Path) -> None:
    apply(snapshots)
    snapshots.close()
    code = f"""
import os, pathlib
from tiffin.content.ledger import Ledger
from tiffin.snapshots import open_driver
root = pathlib.Path({str(tmp_path)!r})
open_driver("erofs", root / "snapshots", Ledger(root / "ledger.db")).prepare("one", {DIFF!r})
os._exit(9)
"""
    assert subprocess.run([sys.executable, "-c", code]).returncode == 9
    assert len(mounted(tmp_path)) == 2
    again = open_driver("erofs", tmp_path / "snapshots", Ledger(tmp_path / "ledger.db"))
    assert mounted(tmp_path) == []
    mount = mount_detached(again.mounts("one"))
    assert read(mount, "other") == b"two"
    os.close(mount)
    again.close()


def test_removing_a_layer_unmounts_it_and_frees_its_files(snapshots: Snapshotter, tmp_path: Path) -> None:
    apply(snapshots)
    mount = mount_detached(snapshots.prepare("one", DIFF))
    snapshots.remove("one")
    before = disk_blocks(tmp_path / "snapshots/erofs/layers")
    assert snapshots.sweep([]) == before > 0
    assert len(mounted(tmp_path)) == 1
    assert os.listdir(tmp_path / "snapshots/erofs/layers") == []
    assert read(mount, "other") == b"two"  # whoever still stands on it keeps it
    os.close(mount)


def test_an_uncompressed_blob_is_the_layer_s_tar(snapshots: Snapshotter, tmp_path: Path) -> None:
    blob = tmp_path / "blob"
    blob.write_bytes(DATA)
    apply(snapshots, blob)
    tar = tmp_path / "snapshots/erofs/layers" / hex_of(DIFF) / "tar"
    assert tar.samefile(blob)
    layers = tmp_path / "snapshots/erofs/layers" / hex_of(DIFF)
    blob.unlink()
    mount = mount_detached(snapshots.prepare("one", DIFF))
    assert read(mount, "other") == b"two"
    os.close(mount)
    os.link(layers / "tar", blob)
    snapshots.remove("one")
    # the blob keeps the tar's space
    index = (layers / "index").stat().st_blocks * 512
    assert snapshots.sweep([]) == index


def test_a_blob_on_another_file_system_is_copied(snapshots: Snapshotter, tmp_path: Path) -> None:
    blob = Path("/dev/shm") / f"tiffin-test-{os.getpid()}"
    blob.write_bytes(DATA)
    try:
        apply(snapshots, blob)
    finally:
        blob.unlink()
    assert (tmp_path / "snapshots/erofs/layers" / hex_of(DIFF) / "tar").read_bytes() == DATA


def test_a_damaged_layer_is_whole_when_its_blob_has_come_again(snapshots: Snapshotter, tmp_path: Path) -> None:
    for name in ("blob", "again"):
        (tmp_path / name).write_bytes(DATA)
    apply(snapshots, tmp_path / "blob")
    before = mount_detached(snapshots.prepare("one", DIFF))
    with (tmp_path / "blob").open("r+b") as file:
        file.truncate(100)
    apply(snapshots, tmp_path / "again")
    after = mount_detached(snapshots.prepare("two", DIFF))
    assert read(after, "other") == b"two"
    assert (tmp_path / "snapshots/erofs/layers" / hex_of(DIFF) / "tar").samefile(tmp_path / "again")
    for mount in (before, after):
        os.close(mount)


def test_inode_numbers_stay_small(snapshots: Snapshotter) -> None:
    """Programs in JavaScript keep them in doubles, 32-bit programs in 32 bits."""
    apply(snapshots)
    mount = mount_detached(snapshots.prepare("one", DIFF))
    root = Path(f"/proc/self/fd/{mount}")
    numbers = [(root / name).stat().st_ino for name in ("etc/hosts", "other")]
    assert len(set(numbers)) == 2
    assert max(numbers) < 1 << 32
    os.close(mount)


def test_a_commit_is_a_layer_of_the_same_form(snapshots: Snapshotter, tmp_path: Path) -> None:
    apply(snapshots)
    mount = mount_detached(snapshots.prepare("one", DIFF))
    root = Path(f"/proc/self/fd/{mount}")
    (root / "etc/hosts").unlink()
    (root / "new").write_text("new")
    os.close(mount)
    diff = digest_of(b"".join(snapshots.diff("one")))
    layer = snapshots.commit("one", diff)
    assert sorted(os.listdir(tmp_path / "snapshots/erofs/layers" / hex_of(diff))) == ["index", "tar"]
    mount = mount_detached(snapshots.prepare("two", layer.chain))
    assert (read(mount, "new"), os.listdir(Path(f"/proc/self/fd/{mount}/etc"))) == (b"new", [])
    os.close(mount)


def test_a_data_root_stays_with_the_driver_that_has_layers_there(snapshots: Snapshotter, tmp_path: Path) -> None:
    apply(snapshots)
    assert driver(tmp_path / "snapshots") == "erofs"
    for name in ("overlay", "copy"):
        (tmp_path / name / name / "layers/one").mkdir(parents=True)
        assert driver(tmp_path / name) == name


def test_where_files_can_not_be_mounted_it_says_so() -> None:
    """tmpfs has no page reads that EROFS could use, at least up to Linux 6.18."""
    place = Path("/dev/shm") / f"tiffin-test-{os.getpid()}"
    try:
        assert probe.supported(place) in (False, True)
        assert os.listdir(place) == []
        assert mounted(place) == []
    finally:
        place.rmdir()


def test_a_layer_is_made_ready_before_anybody_knows_that_it_is_one(snapshots: Snapshotter, tmp_path: Path) -> None:
    blob, layers = tmp_path / "blob", tmp_path / "snapshots/erofs/layers"
    blob.write_bytes(DATA)
    snapshots.foresee(DIFF, blob)
    made = (layers / hex_of(DIFF) / "index").stat().st_ino
    assert snapshots.layers() == snapshots.strays() == []
    assert snapshots.apply(None, DIFF, io.BytesIO(), plain=blob).size == 6
    assert (layers / hex_of(DIFF) / "index").stat().st_ino == made
    snapshots.sweep([])
    snapshots.foresee(DIFF, blob)
    damaged = tmp_path / "damaged"
    damaged.write_bytes(b"x" * 2000)
    snapshots.foresee(digest_of(b"x" * 2000), damaged)  # what it was is told by whoever needs it
    assert os.listdir(layers) == [hex_of(DIFF)]
    snapshots.sweep([])
    assert os.listdir(layers) == []
