"""Named volumes."""

import os
import stat
from collections.abc import Callable
from pathlib import Path

import pytest

from tiffin.errors import Conflict, Invalid, NotFound
from tiffin.model.volume import ANONYMOUS
from tiffin.volumes.service import Volumes

Open = Callable[[], Volumes]


@pytest.fixture
def volumes(reopen: Open) -> Volumes:
    return reopen()


def mode(path: str | Path) -> int:
    return stat.S_IMODE(os.stat(path).st_mode)


def test_volume_is_a_directory_that_others_cannot_walk_into(volumes: Volumes) -> None:
    volume = volumes.create("data", labels={"a": "b"})
    assert volume.mountpoint.endswith("/volumes/data/_data")
    assert mode(volume.mountpoint) == 0o755
    assert mode(Path(volume.mountpoint).parent) == 0o710
    assert (volume.labels, volume.anonymous, volume.driver) == ({"a": "b"}, False, "local")


def test_umask_does_not_narrow_the_directory(volumes: Volumes) -> None:
    before = os.umask(0o077)
    try:
        assert mode(volumes.create("data").mountpoint) == 0o755
    finally:
        os.umask(before)


def test_nameless_volume_gets_an_id_and_the_label(volumes: Volumes) -> None:
    volume = volumes.create()
    assert len(volume.name) == 64
    assert int(volume.name, 16) >= 0
    assert volume.labels == {ANONYMOUS: ""}


def test_creating_again_finds_the_first(volumes: Volumes) -> None:
    first = volumes.create("data", labels={"a": "b"})
    assert volumes.create("data", labels={"a": "c"}) == first


@pytest.mark.parametrize("name", ["../x", "a/b", ".hidden", "-x", "naïve", "a b", "x\n"])
def test_names_that_lead_elsewhere_are_refused(volumes: Volumes, name: str) -> None:
    with pytest.raises(Invalid, match="includes invalid characters for a local volume name"):
        volumes.create(name)


def test_too_short_and_too_long_names_are_refused(volumes: Volumes) -> None:
    with pytest.raises(Invalid, match="create v: volume name is too short"):
        volumes.create("v")
    with pytest.raises(Invalid, match="too long"):
        volumes.create("v" * 256)


def test_drivers_and_options_are_checked(volumes: Volumes) -> None:
    with pytest.raises(NotFound, match='error looking up volume plugin nope: plugin "nope" not found'):
        volumes.create("vv", driver="nope")
    with pytest.raises(Invalid, match='create vv: invalid option: "x"'):
        volumes.create("vv", options={"x": "y"})
    with pytest.raises(Invalid, match='create vv: missing required option: "device"'):
        volumes.create("vv", options={"type": "tmpfs"})
    assert volumes.all() == []


def test_volume_in_use_is_not_removed(volumes: Volumes) -> None:
    volumes.create("data")
    volumes.reference("data", "c1")
    with pytest.raises(Conflict, match=r"remove data: volume is in use - \[c1\]"):
        volumes.remove("data")
    assert volumes.release("c1") == ["data"]
    assert volumes.release("c1") == []
    volumes.remove("data")
    with pytest.raises(NotFound, match="get data: no such volume"):
        volumes.get("data")


@pytest.mark.parametrize("present", [False, True])
def test_a_volume_that_is_made_for_a_container_is_that_containers_at_once(volumes: Volumes, present: bool) -> None:
    if present:
        volumes.create("data")
    volumes.create("data", holder="c1")
    assert volumes.prune(lambda volume: True) == ([], 0)
    with pytest.raises(Conflict, match="in use"):
        volumes.remove("data")
    volumes.release("c1")
    volumes.remove("data")


def test_removal_takes_the_files_and_forced_removal_forgives(volumes: Volumes, tmp_path: Path) -> None:
    volume = volumes.create("data")
    (Path(volume.mountpoint) / "file").write_text("x")
    volumes.remove("data")
    assert os.listdir(tmp_path / "volumes") == []
    volumes.remove("data", force=True)
    with pytest.raises(NotFound):
        volumes.remove("data")


def test_prune_takes_what_is_wanted_and_unused(volumes: Volumes) -> None:
    (Path(volumes.create("gone").mountpoint) / "file").write_bytes(b"x" * 10000)
    volumes.create("used")
    volumes.create("kept")
    volumes.reference("used", "c1")
    removed, freed = volumes.prune(lambda volume: volume.name != "kept")
    assert removed == ["gone"]
    assert freed >= 10000
    assert [volume.name for volume in volumes.all()] == ["kept", "used"]


def test_usage_counts_hard_links_once_and_follows_no_links(volumes: Volumes) -> None:
    root = Path(volumes.create("data").mountpoint)
    (root / "one").write_bytes(b"x" * 100_000)
    alone = volumes.usage("data").size
    os.link(root / "one", root / "two")
    os.symlink("/usr", root / "elsewhere")
    assert volumes.usage("data").size - alone <= 8192
    volumes.reference("data", "c1")
    assert volumes.usage("data").references == 1


def test_restart_finds_volumes_labels_and_references(volumes: Volumes, reopen: Open) -> None:
    volume = volumes.create("data", labels={"a": "b"})
    volumes.reference("data", "c1")
    again = reopen()
    assert again.all() == [volume]
    assert again.holders("data") == {"c1"}
    again.restore(())
    again.remove("data")


def test_restart_finishes_what_a_crash_broke_off(volumes: Volumes, reopen: Open, tmp_path: Path) -> None:
    volume = volumes.create("data")
    os.rmdir(volume.mountpoint)
    (tmp_path / "volumes" / ".removed-1234" / "_data").mkdir(parents=True)
    reopen()
    assert os.path.isdir(volume.mountpoint)
    assert os.listdir(tmp_path / "volumes") == ["data"]
