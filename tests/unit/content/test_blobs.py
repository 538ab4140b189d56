"""The blob store: whole or not there, verified, swept but for what is needed."""

import json
import os
import random
import subprocess
import sys
from pathlib import Path

import pytest

from tiffin.content import blobs
from tiffin.content.blobs import BlobStore
from tiffin.errors import Internal, Invalid, NotFound, Unavailable
from tiffin.model.digest import digest_of


@pytest.fixture
def store(tmp_path: Path) -> BlobStore:
    return BlobStore(tmp_path / "content")


def test_a_blob_is_found_under_its_digest_in_an_oci_layout(store: BlobStore) -> None:
    with store.lease() as lease:
        digest = store.put(b"hello", lease)
    assert digest == digest_of(b"hello")
    assert (store.root / "blobs/sha256" / digest[7:]).read_bytes() == b"hello"
    assert json.loads((store.root / "oci-layout").read_text()) == {"imageLayoutVersion": "1.0.0"}
    assert store.read(digest) == b"hello" == b"".join(store.verified(digest))


@pytest.mark.parametrize("sizes", [(1, 4096, 65_536), (300_000, 1_000_000, 3_000_000), (0, 7, 9_000_000)])
def test_pieces_of_any_size_become_the_blob(store: BlobStore, sizes: tuple[int, ...]) -> None:
    source = random.Random(1)
    pieces = [source.randbytes(source.choice(sizes)) for _ in range(8)]
    pieces += [b"x"] * 3000  # more than one system call takes
    whole = b"".join(pieces)
    with store.lease() as lease, store.writer(lease) as writer:
        for piece in pieces:
            writer.write(piece)
        assert writer.commit(digest_of(whole), len(whole)) == digest_of(whole)
    assert store.path(digest_of(whole)).read_bytes() == whole


def test_a_writer_that_is_left_without_commit_leaves_nothing(store: BlobStore) -> None:
    with pytest.raises(KeyError), store.lease() as lease, store.writer(lease) as writer:
        writer.write(b"x" * 100)
        raise KeyError
    assert list(store.digests()) == []
    assert os.listdir(store.root / "ingest") == []


def test_a_blob_that_is_not_what_was_promised_is_refused(store: BlobStore) -> None:
    with store.lease() as lease, store.writer(lease) as writer:
        writer.write(b"other")
        with pytest.raises(Invalid, match="its content has digest"):
            writer.commit(digest_of(b"hello"))
        with pytest.raises(Invalid, match="5 bytes, 6 were promised"):
            writer.commit(size=6)
    assert list(store.digests()) == []


def test_a_damaged_blob_is_noticed_and_set_aside(store: BlobStore) -> None:
    with store.lease() as lease:
        digest = store.put(b"hello", lease)
    store.path(digest).chmod(0o600)
    store.path(digest).write_bytes(b"hellO")
    with pytest.raises(Internal, match="is damaged"):
        store.read(digest)
    assert not store.exists(digest)
    assert (store.root / "quarantine" / digest[7:]).exists()
    with pytest.raises(NotFound):
        store.read(digest)


def test_the_end_of_a_verified_stream_tells_damage(store: BlobStore) -> None:
    with store.lease() as lease:
        digest = store.put(b"hello", lease)
    store.path(digest).write_bytes(b"bye")
    with pytest.raises(Internal, match="is damaged"):
        list(store.verified(digest))


def test_the_sweep_spares_what_is_referred_to_and_what_is_leased(store: BlobStore) -> None:
    with store.lease() as lease:
        kept, lost = store.put(b"kept", lease), store.put(b"lost", lease)
    with store.lease() as lease:
        arriving = store.put(b"arriving", lease)
        freed = store.sweep(lambda: [kept])
        assert freed == 4096
        assert set(store.digests()) == {kept, arriving}
        assert not store.exists(lost)
    store.sweep(lambda: [kept])
    assert set(store.digests()) == {kept}


def test_a_blob_that_is_there_already_is_leased_by_whoever_brings_it_again(store: BlobStore) -> None:
    with store.lease() as lease:
        digest = store.put(b"x", lease)
    with store.lease() as lease:
        store.put(b"x", lease)
        store.sweep(list)
        assert store.exists(digest)


def test_writing_stops_before_the_disk_is_full(store: BlobStore, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(blobs, "FREE_SPACE_FLOOR", 1 << 62)
    monkeypatch.setattr(blobs.require_free_space, "__defaults__", (1 << 62,))
    with store.lease() as lease, pytest.raises(Unavailable, match="no space left on device"):
        store.put(b"x", lease)
    assert os.listdir(store.root / "ingest") == []


def test_a_document_above_its_limit_is_not_read(store: BlobStore) -> None:
    with store.lease() as lease:
        digest = store.put(b"x" * 100, lease)
    with pytest.raises(Invalid, match="larger than 99 bytes"):
        store.read(digest, 99)


@pytest.mark.parametrize("point", ["blob-written", "blob-renamed"])
def test_a_crash_while_a_blob_is_written_leaves_none_or_a_whole_one(tmp_path: Path, point: str) -> None:
    code = (
        "import pathlib, sys\nfrom tiffin.content.blobs import BlobStore\n"
        "s = BlobStore(pathlib.Path(sys.argv[1]))\nwith s.lease() as lease: s.put(b'x' * 1000, lease)"
    )
    root = tmp_path / "content"
    done = subprocess.run([sys.executable, "-c", code, str(root)], env={**os.environ, "TIFFIN_CRASH_AT": point})
    assert done.returncode == -9
    store = BlobStore(root)
    assert os.listdir(root / "ingest") == []
    for digest in store.digests():
        assert store.read(digest) == b"x" * 1000
