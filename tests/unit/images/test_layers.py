"""What layers add, change, hide and waste, told from their tars."""

from __future__ import annotations

import gzip
import io
import tarfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from tiffin.content.blobs import BlobStore
from tiffin.errors import Unsupported
from tiffin.images.layers import LayerContent, Tally, contents
from tiffin.model.digest import Digest, digest_of

DIRECTORY = {"type": tarfile.DIRTYPE, "mode": 0o755}


def tar(*entries: tuple[str, Any]) -> bytes:
    """(name, bytes of a file), (name, attributes), (name, "-> target of a hard link")."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        for name, what in entries:
            entry, data = tarfile.TarInfo(name), b""
            if isinstance(what, bytes):
                data, entry.size = what, len(what)
            elif isinstance(what, str):
                entry.type, entry.linkname = tarfile.LNKTYPE, what.removeprefix("-> ")
            else:
                for attribute, value in what.items():
                    setattr(entry, attribute, value)
            archive.addfile(entry, io.BytesIO(data))
    return buffer.getvalue()


@dataclass
class Config:
    diff_ids: list[Digest]
    history: list[dict[str, Any]] = field(default_factory=list)


@dataclass
class Described:
    digest: Digest


@dataclass
class Manifest:
    layers: list[Described]


@dataclass
class Image:
    config: Config
    manifest: Manifest
    reserved: bool = False


class NoTars:
    def tar(self, diff: Digest) -> Path | None:
        return None


def told(tmp_path: Path, *layers: bytes, history: Any = (), top: int = 5) -> list[LayerContent]:
    blobs = BlobStore(tmp_path / "content")
    descriptors = []
    for number, plain in enumerate(layers):
        data = gzip.compress(plain) if number % 2 else plain
        with blobs.lease() as lease, blobs.writer(lease) as writer:
            writer.write(data)
            descriptors.append(Described(writer.commit()))
    image = Image(Config([digest_of(one) for one in layers], list(history)), Manifest(descriptors))
    return contents(image, blobs, NoTars(), top)  # type: ignore[arg-type]


def short(tally: Tally) -> tuple[int, int, list[str]]:
    return tally.names, tally.size, [path for path, _ in tally.largest]


def test_what_a_first_layer_adds_largest_first(tmp_path: Path) -> None:
    first = tar(("a", DIRECTORY), ("a/small", b"1"), ("a/large", b"x" * 100), ("a/empty", b""), ("b", b"22"))
    (layer,) = told(tmp_path, first, top=2)
    assert short(layer.added) == (5, 103, ["/a/large", "/b"])
    assert layer.size == 103
    assert [short(one) for one in (layer.changed, layer.hidden, layer.wasted)] == [(0, 0, [])] * 3


def test_a_file_with_another_copy_above_is_changed_there_and_wasted_here(tmp_path: Path) -> None:
    below, above = told(tmp_path, tar(("etc/conf", b"old!"), ("etc/kept", b"k")), tar(("etc/conf", b"newer")))
    assert short(above.changed) == (1, 5, ["/etc/conf"])
    assert short(above.added) == short(above.hidden) == (0, 0, [])
    assert short(below.wasted) == (1, 4, ["/etc/conf"])


def test_directories_that_are_only_named_again_change_nothing(tmp_path: Path) -> None:
    below = tar(("d", DIRECTORY), ("e", DIRECTORY))
    _, above = told(tmp_path, below, tar(("d", {**DIRECTORY, "mtime": 7}), ("e", {**DIRECTORY, "mode": 0o700})))
    assert short(above.changed) == (1, 0, [])


def test_whiteouts_hide_what_is_below_wherever_they_stand(tmp_path: Path) -> None:
    first = tar(("var/log/a", b"aa"), ("var/log/b", b"bbb"), ("opt/x", b"xxxx"), ("opt/y/z", b"z"))
    second = tar(("opt/x", b"mine"), ("opt/.wh..wh..opq", b""), ("var/.wh.log", b""), (".wh.nothing", b""))
    below, above = told(tmp_path, first, second)
    # /var/log with two files; below /opt: x, y, y/z
    assert short(above.hidden) == (6, 10, ["/opt/x", "/var/log/b", "/var/log/a", "/opt/y/z"])
    assert short(above.added) == (1, 4, ["/opt/x"])
    assert below.wasted.size == 10


def test_something_else_in_a_directory_s_place_hides_it(tmp_path: Path) -> None:
    below, above = told(tmp_path, tar(("d/f", b"123"), ("e", b"4")), tar(("d", b"file"), ("e", DIRECTORY)))
    assert short(above.hidden) == (2, 3, ["/d/f"])
    assert below.wasted.size == 4


def test_a_file_with_two_names_is_wasted_with_the_last(tmp_path: Path) -> None:
    first = tar(("one", b"12345"), ("two", "-> one"))
    layers = told(tmp_path, first, tar((".wh.one", b"")), tar((".wh.two", b"")))
    assert layers[0].size == 5
    assert [(one.hidden.names, one.hidden.size) for one in layers[1:]] == [(1, 0), (1, 5)]
    assert short(layers[0].wasted) == (1, 5, ["/two"])


def test_what_two_layers_write_over_each_other_is_wasted_in_both(tmp_path: Path) -> None:
    layers = told(tmp_path, *(tar(("log", b"x" * size)) for size in (10, 20, 30)))
    assert [one.wasted.size for one in layers] == [10, 20, 0]


def test_each_layer_has_its_instruction(tmp_path: Path) -> None:
    history = [{"created_by": "FROM"}, {"created_by": "ENV", "empty_layer": True}, {"created_by": "RUN"}]
    layers = told(tmp_path, tar(("a", b"")), tar(("b", b"")), tar(("c", b"")), history=history)
    assert [one.instruction for one in layers] == ["FROM", "RUN", ""]


def test_the_machine_s_own_root_has_none(tmp_path: Path) -> None:
    with pytest.raises(Unsupported, match="no layers that are stored"):
        contents(Image(Config([]), Manifest([]), True), BlobStore(tmp_path), NoTars(), 1)  # type: ignore[arg-type]
