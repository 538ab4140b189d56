"""`system check` of the drivers that unpack layers: each file is what its archive says, and is made again where not."""

import io
import os
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path

import pytest

from contract.layers import BASE, SECOND, apply, directory, file, image, mounted, tar
from tiffin.content.compression import Readable
from tiffin.content.ledger import Ledger
from tiffin.model.digest import digest_of, hex_of
from tiffin.snapshots import Layer, Snapshotter, open_driver
from tiffin.snapshots.tar import Entry, Kind

pytestmark = pytest.mark.root
ODD = tar(
    directory("d"),
    file("d/first", "replaced by what follows"),
    file("d/first", "kept"),
    Entry(b"d/same", Kind.LINK, link=b"d/first"),
    Entry(b"way", Kind.SYMLINK, 0o777, link=b"d"),
    file("way/through", "a link"),
    Entry(b"null", Kind.CHARACTER, 0o666, major=1, minor=3),
    Entry(b"pipe", Kind.FIFO, 0o600),
    file("attributed", "x"),
    file("large", "y" * 3_000_000),
)


@pytest.fixture(params=["overlay", "copy"])
def snapshots(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Snapshotter]:
    made = open_driver(request.param, tmp_path / "snapshots", Ledger(tmp_path / "ledger.db"))
    yield made
    made.close()


def problem(snapshots: Snapshotter, layer: Layer, data: bytes | None, *, thorough: bool = True) -> str:
    def content() -> AbstractContextManager[Readable]:
        assert data is not None
        return nullcontext(io.BytesIO(data))

    return snapshots.problem(layer, lambda tar: False, content if data is not None else None, thorough=thorough)


def place(snapshots: Snapshotter, layer: Layer, tmp_path: Path) -> Path:
    names = [hex_of(layer.diff), hex_of(layer.chain)]
    return next(path for path in (tmp_path / "snapshots" / snapshots.name / "layers").iterdir() if path.name in names)


def nothing_is_left(tmp_path: Path) -> bool:
    return not list(tmp_path.glob("snapshots/*/staging/*"))


def test_what_was_unpacked_is_found_sound(snapshots: Snapshotter, tmp_path: Path) -> None:
    chain = image(snapshots)
    second = snapshots.layer(chain)
    assert second is not None and second.parent is not None
    first = snapshots.layer(second.parent)
    assert first is not None
    odd = apply(snapshots, chain, ODD)
    for layer, data in ((first, BASE), (second, SECOND), (odd, ODD)):
        assert problem(snapshots, layer, data) == ""
        assert problem(snapshots, layer, None) == "", "without the blob its presence is all that is looked at"
    assert nothing_is_left(tmp_path)


def test_what_was_committed_is_found_sound(snapshots: Snapshotter) -> None:
    base = image(snapshots)
    with mounted(snapshots.prepare("c", base)) as root:
        (root / "var/lib/c").unlink()
        (root / "etc/passwd").write_text("changed")
        (root / "made").mkdir(mode=0o750)
        (root / "made/file").write_text("x")
        (root / "etc/resolv.conf").touch()  # a mount point
    data = b"".join(snapshots.diff("c", [b"/etc/resolv.conf"]))
    layer = snapshots.commit("c", digest_of(data))
    assert problem(snapshots, layer, data) == ""


Harm = Callable[[Path], object]


def attributed(path: Path) -> None:
    os.setxattr(path / "d/first", "user.note", b"x")


HARM: dict[str, tuple[Harm, str]] = {
    "content": (lambda root: (root / "large").write_bytes(b"y" * 2_999_999 + b"z"), "/large has "),
    "content, with its time": (
        lambda root: rewritten(root / "large", b"y" * 2_999_999 + b"z"),
        "/large has another content",
    ),
    "size": (lambda root: os.truncate(root / "large", 5), "/large has 5 bytes, not 3000000"),
    "mode": (lambda root: (root / "d").chmod(0o700), "/d has mode 700, not 755"),
    "owner": (lambda root: os.chown(root / "d/first", 1, 2), "has owner 1:2, not 0:0"),
    "gone": (lambda root: (root / "pipe").unlink(), "/pipe is missing"),
    "kind": (lambda root: replaced(root / "pipe"), "/pipe has kind 100000, not 10000"),
    "device": (lambda root: device(root / "null"), "/null has device number"),
    "target": (lambda root: relinked(root / "way"), "/way leads elsewhere"),
    "more": (lambda root: (root / "d/more").write_text("x"), "/d/more is not in the layer"),
    "attribute": (attributed, "has other extended attributes"),
    "all of it": (lambda root: root.rename(root.parent.parent / "elsewhere"), "is missing: "),
}


def rewritten(path: Path, data: bytes) -> None:
    status = path.stat()
    path.write_bytes(data)
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))


def replaced(path: Path) -> None:
    path.unlink()
    path.touch(0o600)


def device(path: Path) -> None:
    path.unlink()
    os.mknod(path, 0o020666, os.makedev(1, 5))
    path.chmod(0o666)


def relinked(path: Path) -> None:
    path.unlink()
    path.symlink_to("/etc")


@pytest.mark.parametrize("what", HARM)
def test_whatever_differs_is_told_and_made_again(snapshots: Snapshotter, tmp_path: Path, what: str) -> None:
    harm, words = HARM[what]
    base = image(snapshots)
    layer = apply(snapshots, base, ODD)
    path = place(snapshots, layer, tmp_path)
    harm(path)
    found = problem(snapshots, layer, ODD)
    assert words in found and str(path) in found
    assert found.startswith("is missing: " if what == "all of it" else "is damaged: ")
    if what != "all of it":
        assert problem(snapshots, layer, ODD, thorough=False) == ""
    snapshots.rebuild(layer, io.BytesIO(ODD))
    assert problem(snapshots, layer, ODD) == ""
    assert nothing_is_left(tmp_path)


def test_a_whiteout_that_is_gone_is_told(snapshots: Snapshotter, tmp_path: Path) -> None:
    layer = snapshots.layer(image(snapshots))
    assert layer is not None
    path = place(snapshots, layer, tmp_path)
    hidden = path / "etc/hosts"
    if snapshots.name == "overlay":
        hidden.unlink()
        words = "/etc/hosts is missing"
    else:
        hidden.write_text("one")
        words = "/etc/hosts is not in the layer"
    assert words in problem(snapshots, layer, SECOND)
    if snapshots.name == "overlay":
        snapshots.rebuild(layer, io.BytesIO(SECOND))
        os.removexattr(path / "var/lib", "trusted.overlay.opaque")
        assert "/var/lib hides what is below it, or should" in problem(snapshots, layer, SECOND)
