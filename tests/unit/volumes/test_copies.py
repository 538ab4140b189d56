"""Whole volumes: copied, renamed, exported, imported, and killed in the middle of it."""

from __future__ import annotations

import io
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from tiffin.content import crash
from tiffin.errors import Conflict, Invalid, NotFound
from tiffin.model.volume import Volume
from tiffin.volumes.copies import Copies
from tiffin.volumes.service import Volumes

Open = Callable[[], Volumes]


@pytest.fixture
def volumes(reopen: Open) -> Volumes:
    """With one of them filled."""
    made = reopen()
    place = Path(made.create("data", labels={"a": "b"}).mountpoint)
    (place / "sub").mkdir()
    (place / "sub" / "file").write_text("content")
    os.link(place / "sub" / "file", place / "same")
    (place / "link").symlink_to("/etc/passwd")
    os.chown(place / "sub", 70, 71)
    (place / "sub" / "file").chmod(0o4711)
    place.chmod(0o700)
    return made


def check(volume: Volume) -> None:
    place = Path(volume.mountpoint)
    assert place.stat().st_mode & 0o7777 == 0o700
    assert (place / "sub" / "file").read_text() == "content"
    assert (place / "sub" / "file").stat().st_mode & 0o7777 == 0o4711
    assert (place / "same").samefile(place / "sub" / "file")
    assert os.readlink(place / "link") == "/etc/passwd"
    assert ((place / "sub").stat().st_uid, (place / "sub").stat().st_gid) == (70, 71)


def test_a_copy_has_the_files_and_the_labels(volumes: Volumes) -> None:
    made = Copies(volumes).copy("data", "other")
    check(made)
    assert made.labels == {"a": "b"}
    assert Copies(volumes).copy("data", "third", {}).labels == {}
    (Path(made.mountpoint) / "same").unlink()
    check(volumes.get("data"))
    with pytest.raises(Conflict, match="create other: volume other exists"):
        Copies(volumes).copy("data", "other")
    with pytest.raises(NotFound):
        Copies(volumes).copy("missing", "new")
    with pytest.raises(Invalid):
        Copies(volumes).copy("data", "../new")


def test_what_is_exported_can_be_imported(volumes: Volumes) -> None:
    archive = b"".join(Copies(volumes).export("data"))
    made = Copies(volumes).import_("other", io.BytesIO(archive), {"c": "d"})
    check(made)
    assert made.labels == {"c": "d"}


def test_a_broken_archive_leaves_nothing(volumes: Volumes, tmp_path: Path) -> None:
    archive = b"".join(Copies(volumes).export("data"))
    with pytest.raises(Invalid):
        Copies(volumes).import_("other", io.BytesIO(archive[:1500]))
    assert sorted(os.listdir(tmp_path / "volumes")) == ["data"]


def test_a_volume_is_renamed_unless_it_is_in_use(volumes: Volumes) -> None:
    volumes.reference("data", "one")
    with pytest.raises(Conflict, match=r"rename data: volume is in use - \[one\]"):
        volumes.rename("data", "other")
    volumes.release("one")
    volumes.create("taken")
    with pytest.raises(Conflict, match="volume taken exists"):
        volumes.rename("data", "taken")
    renamed = volumes.rename("data", "other")
    check(renamed)
    assert renamed.labels == {"a": "b"}
    with pytest.raises(NotFound):
        volumes.get("data")


def test_a_volume_that_is_read_stays(volumes: Volumes) -> None:
    pieces = Copies(volumes).export("data")
    next(pieces)
    for act in (lambda: volumes.remove("data"), lambda: volumes.rename("data", "other")):
        with pytest.raises(Conflict, match="export goes on"):
            act()
    pieces.close()  # type: ignore[attr-defined]
    volumes.remove("data")


class Killed(BaseException):
    pass


POINTS = ["volume-filled", "volume-staged", "volume-renamed", "volume-moved"]


@pytest.mark.parametrize("point", POINTS)
@pytest.mark.parametrize("what", ["copy", "import", "rename"])
def test_killed_in_the_middle_it_is_there_whole_or_not_at_all(
    volumes: Volumes, reopen: Open, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, point: str, what: str
) -> None:
    archive = b"".join(Copies(volumes).export("data"))

    def die(name: str) -> None:
        if name == point:
            monkeypatch.setattr("shutil.rmtree", lambda *arguments, **options: None)  # the dead clear nothing away
            raise Killed

    acts = {
        "copy": lambda: Copies(volumes).copy("data", "new"),
        "import": lambda: Copies(volumes).import_("new", io.BytesIO(archive)),
        "rename": lambda: volumes.rename("data", "new"),
    }
    monkeypatch.setattr(crash, "point", die)
    try:
        acts[what]()
    except Killed:
        pass
    monkeypatch.undo()
    again = reopen()
    names = [volume.name for volume in again.all()]
    assert sorted(os.listdir(tmp_path / "volumes")) == names
    for volume in again.all():
        assert volume.staged == ""
        check(volume)
    assert names in ([["new"], ["data"]] if what == "rename" else [["data"], ["data", "new"]])
