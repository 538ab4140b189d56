"""What every snapshot driver does alike: one suite, run on each."""

import io
import os
import stat
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from contract.layers import BASE, apply, file, image, mounted, tar, tree
from tiffin.content.ledger import Ledger
from tiffin.content.verified import Verified
from tiffin.errors import Conflict, Invalid, NotFound
from tiffin.model.digest import digest_of
from tiffin.snapshots import Layer, Snapshotter, open_driver
from tiffin.snapshots.tar import END, TarReader

pytestmark = pytest.mark.root
DRIVERS = ("overlay", "erofs", "copy")


@pytest.fixture(params=DRIVERS)
def driver(request: pytest.FixtureRequest) -> str:
    return str(request.param)


Start = Callable[[], Snapshotter]


@pytest.fixture
def start(driver: str, tmp_path: Path) -> Iterator[Start]:
    """Opens the driver, as a daemon that starts does; again for the next daemon on the same data root."""
    opened_: list[Snapshotter] = []

    def open_() -> Snapshotter:
        opened_.append(open_driver(driver, tmp_path / "snapshots", Ledger(tmp_path / "ledger.db")))
        return opened_[-1]

    yield open_
    for one in opened_:
        one.close()


@pytest.fixture
def snapshots(start: Start) -> Snapshotter:
    return start()


def test_layers_lie_above_each_other_with_their_whiteouts(snapshots: Snapshotter) -> None:
    with mounted(snapshots.prepare("one", image(snapshots))) as root:
        assert tree(root) == {
            "etc": "/", "etc/passwd": "root", "etc/new": "new", "var": "/", "var/lib": "/", "var/lib/c": "c",
            "bin": "", "link": "-> etc/hosts", "suid": "x",
        }  # fmt: skip
        status = (root / "suid").stat()
        assert (stat.S_IMODE(status.st_mode), status.st_uid, status.st_gid) == (0o4755, 7, 8)


def test_a_layer_may_occur_twice_in_an_image(snapshots: Snapshotter) -> None:
    top = image(snapshots)
    for _ in range(2):  # what a step that changes nothing makes, for one
        for data in (tar(), tar(file("etc/again", "again"))):
            top = apply(snapshots, top, data).chain
    with mounted(snapshots.prepare("one", top)) as root:
        assert (root / "etc/again").read_text() == "again"
        assert (root / "etc/passwd").read_text() == "root"


def test_a_snapshot_of_nothing_is_empty_and_writable(snapshots: Snapshotter) -> None:
    with mounted(snapshots.prepare("one", None)) as root:
        (root / "f").write_text("x")
        assert tree(root) == {"f": "x"}


def test_siblings_do_not_see_each_other(snapshots: Snapshotter) -> None:
    chain = image(snapshots)
    with mounted(snapshots.prepare("one", chain)) as one, mounted(snapshots.prepare("two", chain)) as two:
        (one / "etc/passwd").write_text("changed")
        (one / "bin").unlink()
        assert (two / "etc/passwd").read_text() == "root"
        assert (two / "bin").exists()


def test_what_was_written_is_there_when_it_is_mounted_again(snapshots: Snapshotter) -> None:
    with mounted(snapshots.prepare("one", image(snapshots))) as root:
        (root / "kept").write_text("x")
    with mounted(snapshots.mounts("one")) as root:
        assert (root / "kept").read_text() == "x"


def test_a_view_shows_the_layers(snapshots: Snapshotter) -> None:
    chain = image(snapshots)
    lowest = snapshots.layer(chain).parent  # type: ignore[union-attr]
    layers = snapshots.view("one", chain)
    assert "ro" in layers[-1].options
    with mounted(layers) as root:
        assert (root / "etc/new").read_text() == "new"
    with mounted(snapshots.view("two", lowest)) as root:
        assert (root / "etc/hosts").read_text() == "one"


def changes(snapshots: Snapshotter, key: str, *ignore: bytes) -> list[tuple[str, str]]:
    return [(change.path.decode(), change.kind.name[0]) for change in snapshots.changes(key, ignore)]


def test_nothing_has_changed_in_a_fresh_snapshot(snapshots: Snapshotter) -> None:
    with mounted(snapshots.prepare("one", image(snapshots))) as root:
        (root / "etc/passwd").read_text()
    assert changes(snapshots, "one") == []
    assert snapshots.usage("one").size == 0


def test_changes_are_told_as_docker_does(snapshots: Snapshotter) -> None:
    with mounted(snapshots.prepare("one", image(snapshots))) as root:
        (root / "etc/passwd").write_text("longer than before")
        (root / "etc/new").unlink()
        (root / "var/lib/d").mkdir()
        (root / "var/lib/d/e").write_text("e")
        (root / "suid").chmod(0o755)
        (root / "engine").mkdir()
        (root / "engine/made").write_text("")
        (root / "link").unlink()
        (root / "link").write_text("a file now")
    assert changes(snapshots, "one", b"/engine") == [
        ("/etc", "M"), ("/etc/new", "D"), ("/etc/passwd", "M"), ("/link", "M"), ("/suid", "M"), ("/var", "M"),
        ("/var/lib", "M"), ("/var/lib/d", "A"), ("/var/lib/d/e", "A"),
    ]  # fmt: skip


def test_directories_made_for_what_is_ignored_are_no_changes(snapshots: Snapshotter) -> None:
    with mounted(snapshots.prepare("one", image(snapshots))) as root:
        (root / "new/dir").mkdir(parents=True)
        (root / "new/dir/engine").write_text("")
        (root / "etc/engine").write_text("")
    assert changes(snapshots, "one", b"/new/dir/engine", b"/etc/engine") == []
    assert b"".join(snapshots.diff("one", [b"/new/dir/engine", b"/etc/engine"])) == END
    with mounted(snapshots.mounts("one")) as root:
        (root / "new/mine").write_text("")
    found = changes(snapshots, "one", b"/new/dir/engine", b"/etc/engine")
    assert found == [("/new", "A"), ("/new/mine", "A")]


def test_a_directory_made_anew_hides_what_was_in_it(snapshots: Snapshotter) -> None:
    with mounted(snapshots.prepare("one", image(snapshots))) as root:
        for path in (root / "etc").iterdir():
            path.unlink()
        (root / "etc").rmdir()
        (root / "etc").mkdir(mode=0o755)
        (root / "etc/other").write_text("")
    assert {("/etc/new", "D"), ("/etc/passwd", "D"), ("/etc/other", "A")} <= set(changes(snapshots, "one"))


def test_a_diff_applied_gives_the_same_tree(snapshots: Snapshotter) -> None:
    chain = image(snapshots)
    with mounted(snapshots.prepare("one", chain)) as root:
        (root / "etc/new").unlink()
        (root / "etc/dir/deep").mkdir(parents=True)
        (root / "etc/dir/deep/f").write_text("f")
        os.link(root / "etc/dir/deep/f", root / "hard")
        os.symlink("/nowhere", root / "dangling")
        (root / "var/lib/c").unlink()
        (root / "var/lib").rmdir()
        (root / "var/lib").mkdir()
        os.mkfifo(root / "fifo")
        (root / "fifo").unlink()
        expected = tree(root)
    data = b"".join(snapshots.diff("one"))
    above = apply(snapshots, chain, data)
    with mounted(snapshots.prepare("two", above.chain)) as root:
        assert tree(root) == expected
        assert (root / "hard").stat().st_nlink == 2
    assert changes(snapshots, "two") == []


def test_the_diff_of_nothing_is_an_empty_archive(snapshots: Snapshotter) -> None:
    snapshots.prepare("one", image(snapshots))
    assert b"".join(snapshots.diff("one")) == END


def test_a_snapshot_can_become_a_layer(snapshots: Snapshotter) -> None:
    chain = image(snapshots)
    with mounted(snapshots.prepare("one", chain)) as root:
        (root / "made").write_text("here")
        (root / "bin").unlink()
    diff = digest_of(b"".join(snapshots.diff("one")))
    layer = snapshots.commit("one", diff)
    assert (layer.parent, layer.diff) == (chain, diff)
    assert snapshots.snapshots() == []
    with mounted(snapshots.prepare("two", layer.chain)) as root:
        assert (root / "made").read_text() == "here"
        assert not (root / "bin").exists()


def test_a_layer_that_is_there_is_not_read_again(snapshots: Snapshotter) -> None:
    layer = apply(snapshots, None, BASE)
    assert snapshots.apply(None, layer.diff, io.BytesIO(b"not read")) == layer


def test_a_layer_is_applied_once_by_many_threads(snapshots: Snapshotter) -> None:
    found: list[Layer] = []
    threads = [threading.Thread(target=lambda: found.append(apply(snapshots, None, BASE))) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 4 and len(snapshots.layers()) == 1


@pytest.mark.parametrize("data", [b"junk" * 1000, tar(file("../evil", "x")), BASE[:700]])
def test_a_refused_layer_leaves_nothing(snapshots: Snapshotter, tmp_path: Path, driver: str, data: bytes) -> None:
    with pytest.raises(Invalid):
        apply(snapshots, None, data)
    assert snapshots.layers() == []
    for name in ("layers", "staging"):
        assert os.listdir(tmp_path / "snapshots" / driver / name) == []


def test_a_layer_with_another_digest_than_promised_leaves_nothing(snapshots: Snapshotter, tmp_path: Path) -> None:
    other = digest_of(b"other")
    with pytest.raises(Invalid, match="expected"):
        snapshots.apply(None, other, Verified(io.BytesIO(BASE), other, "layer"))
    assert snapshots.layers() == []


def test_unknown_and_taken_names_are_told(snapshots: Snapshotter) -> None:
    with pytest.raises(NotFound):
        snapshots.prepare("one", digest_of(b"nothing"))
    with pytest.raises(NotFound):
        snapshots.mounts("one")
    snapshots.prepare("one", None)
    with pytest.raises(Conflict):
        snapshots.prepare("one", None)
    for key in ("", "../x", "a/b", ".", "x" * 200):
        with pytest.raises(Invalid):
            snapshots.prepare(key, None)


def test_removing_a_snapshot_twice_is_fine(snapshots: Snapshotter, tmp_path: Path, driver: str) -> None:
    with mounted(snapshots.prepare("one", image(snapshots))) as root:
        (root / "f").write_text("x")
    snapshots.remove("one")
    snapshots.remove("one")
    assert os.listdir(tmp_path / "snapshots" / driver / "active") == []
    snapshots.prepare("one", None)


def test_a_tree_deeper_than_any_path_is_removed(snapshots: Snapshotter) -> None:
    with mounted(snapshots.prepare("one", None)) as root:
        at = os.open(root, os.O_RDONLY)
        for _ in range(1500):
            os.mkdir("directory-with-a-name", dir_fd=at)
            deeper = os.open("directory-with-a-name", os.O_RDONLY, dir_fd=at)
            os.close(at)
            at = deeper
        os.close(at)
    snapshots.remove("one")
    assert snapshots.snapshots() == []


def test_the_sweep_spares_wanted_layers_those_below_and_those_of_snapshots(snapshots: Snapshotter) -> None:
    chain = image(snapshots)
    other = apply(snapshots, None, tar(file("other", "x" * 100)))
    used = apply(snapshots, None, tar(file("used", "x")))
    snapshots.prepare("one", used.chain)
    assert snapshots.sweep([chain]) >= 100
    assert {layer.chain for layer in snapshots.layers()} == {chain, used.chain, snapshots.layer(chain).parent}  # type: ignore[union-attr]
    assert snapshots.layer(other.chain) is None
    snapshots.remove("one")
    snapshots.sweep([])
    assert snapshots.layers() == []


def test_a_hundred_layers_lie_above_each_other(snapshots: Snapshotter, driver: str) -> None:
    chain = None
    for number in range(100):
        chain = apply(snapshots, chain, tar(file(f"f{number}", str(number)))).chain
    with mounted(snapshots.prepare("one", chain)) as root:
        assert len(os.listdir(root)) == 100


def test_what_a_crash_left_is_gone_after_a_start(
    snapshots: Snapshotter, tmp_path: Path, driver: str, start: Start
) -> None:
    chain = image(snapshots)
    snapshots.prepare("kept", chain)
    root = tmp_path / "snapshots" / driver
    for directory_ in ("layers", "active", "staging"):
        (root / directory_ / "leftover/deep").mkdir(parents=True)
    again = start()
    assert not any((root / directory_ / "leftover").exists() for directory_ in ("layers", "active", "staging"))
    with mounted(again.mounts("kept")) as mount:
        assert (mount / "etc/new").read_text() == "new"


POINTS = ("layer-synced", "layer-renamed", "layer-recorded", "snapshot-removed", "tree-aside", "layers-forgotten")


@pytest.mark.parametrize("point", POINTS)
def test_a_crash_at_any_point_leaves_whole_layers_or_none(
    tmp_path: Path, driver: str, point: str, start: Start
) -> None:
    (tmp_path / "base.tar").write_bytes(BASE)
    code = f"""
import pathlib
from tiffin.content.ledger import Ledger
from tiffin.model.digest import digest_of
from tiffin.snapshots import open_driver
root = pathlib.Path({str(tmp_path)!r})
s = open_driver({driver!r}, root / "snapshots", Ledger(root / "ledger.db"))
data = (root / "base.tar").read_bytes()
layer = s.apply(None, digest_of(data), (root / "base.tar").open("rb"))
s.prepare("one", layer.chain)
s.remove("one")
s.sweep([])
"""
    environment = {**os.environ, "TIFFIN_CRASH_AT": point}
    assert subprocess.run([sys.executable, "-c", code], env=environment).returncode == -9
    again = start()
    for key in again.snapshots():
        again.remove(key)
    layer = apply(again, None, BASE)
    with mounted(again.prepare("two", layer.chain)) as root:
        assert (root / "etc/hosts").read_text() == "one"


def test_a_container_s_own_links_lead_the_diff_nowhere(snapshots: Snapshotter, tmp_path: Path) -> None:
    """A directory that its container replaces by a link while it is read."""
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside/secret").write_text("secret")
    with mounted(snapshots.prepare("one", image(snapshots))) as root:
        (root / "d").mkdir()
        (root / "d/secret").write_text("mine")
        pieces = snapshots.diff("one")
        first = next(pieces)
        (root / "d/secret").unlink()
        (root / "d").rmdir()
        os.symlink(tmp_path / "outside", root / "d")
        data = first + b"".join(pieces)
    reader = TarReader(io.BytesIO(data))
    assert all(b"".join(iter(reader.read, b"")) in (b"", b"mine") for _ in reader)
