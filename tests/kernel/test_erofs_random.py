"""Archives nobody would write: an indexed layer shows what the extractor puts on disk, or both refuse it."""

from __future__ import annotations

import io
import os
import tempfile
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from kernel.erofs_trees import archive, differing, indexed, kernel_mounts_files, look, mounted
from tiffin.errors import Invalid
from tiffin.snapshots.extract import extract
from tiffin.snapshots.tar import Entry, Kind
from tiffin.snapshots.whiteouts import OverlayWhiteouts

pytestmark = [
    pytest.mark.root,
    pytest.mark.skipif(
        not kernel_mounts_files(), reason="a kernel that mounts EROFS straight from a file: 6.12 or later"
    ),
]
# few names, so that they meet
PARTS = st.sampled_from([b"a", b"b", b"c", b"..", b".", b".wh.a", b".wh.b", b".wh..wh..opq", b"long" * 40])
PATHS = st.lists(PARTS, min_size=1, max_size=4).map(b"/".join)
TARGETS = st.one_of(PATHS, PATHS.map(lambda path: b"/" + path))
XATTRS = st.dictionaries(
    st.sampled_from([b"user.one", b"user.two", b"trusted.three"]), st.binary(min_size=1, max_size=40), max_size=2
)
NUMBERS = st.integers(0, (1 << 32) - 2)


@st.composite
def entries(draw: st.DrawFn) -> tuple[Entry, bytes]:
    kind = draw(st.sampled_from([Kind.FILE, Kind.DIRECTORY, Kind.SYMLINK, Kind.LINK, Kind.CHARACTER, Kind.FIFO]))
    entry = Entry(
        draw(PATHS), kind, draw(st.integers(0, 0o7777)), draw(NUMBERS), draw(NUMBERS),
        mtime=draw(st.integers(-(10**18), 4 * 10**18)),
    )  # fmt: skip
    if kind in (Kind.SYMLINK, Kind.LINK):
        entry.link = draw(TARGETS)
    if kind is Kind.CHARACTER:
        entry.major, entry.minor = draw(st.integers(1, 4095)), draw(st.integers(0, (1 << 20) - 1))
    if kind in (Kind.FILE, Kind.DIRECTORY):
        entry.xattrs = draw(XATTRS)
    return entry, draw(st.binary(max_size=1500)) if kind is Kind.FILE else b""


@settings(
    max_examples=int(os.environ.get("TIFFIN_TEST_EXAMPLES", "150")),
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)
@given(st.lists(entries(), max_size=14))
def test_an_indexed_layer_is_what_the_extractor_makes_of_it(items: list[tuple[Entry, bytes]]) -> None:
    data = archive(*items)
    with tempfile.TemporaryDirectory(prefix="tiffin-test-") as name:
        directory = Path(name)
        (directory / "tar").write_bytes(data)
        (directory / "root").mkdir(mode=0o755)
        fd = os.open(directory / "root", os.O_RDONLY | os.O_DIRECTORY)
        try:
            expected = extract(fd, io.BytesIO(data), whiteouts=OverlayWhiteouts())
        except Invalid:
            with pytest.raises(Invalid):
                indexed(directory / "tar", directory / "image")
            return
        finally:
            os.close(fd)
        assert indexed(directory / "tar", directory / "image") == expected
        with mounted(directory / "image", directory / "tar") as root:
            mine, theirs = look(root), look(directory / "root")
    for seen in (*mine.values(), *theirs.values()):
        if seen.mode >> 12 in (4, 2):  # directories that nobody described have the machine's time; whiteouts too
            seen.mtime = 0
    assert differing(mine, theirs) == {}
