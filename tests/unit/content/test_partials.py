"""Blobs that come in parts."""

import os
import threading
import time
from pathlib import Path

import pytest

from tiffin.content.blobs import BlobStore
from tiffin.content.partials import Following, Partial, directory, expire
from tiffin.errors import Invalid
from tiffin.model.digest import digest_of

DATA = os.urandom(3 << 20)
DIGEST = digest_of(DATA)


@pytest.fixture
def store(tmp_path: Path) -> BlobStore:
    return BlobStore(tmp_path)


def nothing() -> None:
    pass


def test_a_blob_is_completed_by_a_later_attempt(store: BlobStore) -> None:
    first = Partial(store, DIGEST, len(DATA))
    first.write(DATA[: 1 << 20])
    first.close()
    second = Partial(store, DIGEST, len(DATA))
    assert second.resumed == 1 << 20
    second.write(DATA[1 << 20 :])
    with store.lease() as lease:
        second.commit(lease)
    second.close()
    assert store.read(DIGEST) == DATA
    assert list(directory(store).iterdir()) == []


def test_another_content_is_refused_and_not_kept(store: BlobStore) -> None:
    partial = Partial(store, DIGEST, 5)
    partial.write(b"other")
    with store.lease() as lease, pytest.raises(Invalid, match="filesystem layer verification failed"):
        partial.commit(lease)
    assert list(directory(store).iterdir()) == []
    assert not store.exists(DIGEST)


def test_more_than_was_promised_is_refused(store: BlobStore) -> None:
    partial = Partial(store, DIGEST, 4)
    with pytest.raises(Invalid, match="more than the 4 bytes"):
        partial.write(b"12345")


def test_what_is_too_long_to_be_a_beginning_is_dropped(store: BlobStore) -> None:
    longer = Partial(store, DIGEST, 100)
    longer.write(bytes(100))
    longer.close()
    assert Partial(store, DIGEST, 50).size == 0


def test_a_reader_follows_and_ends_with_the_verification(store: BlobStore) -> None:
    partial = Partial(store, DIGEST, len(DATA))
    following = Following(partial, nothing)
    taken: list[bytes] = []
    reader = threading.Thread(target=lambda: taken.append(following.read()))
    reader.start()
    for start in range(0, len(DATA), 100_000):
        partial.write(DATA[start : start + 100_000])
    with store.lease() as lease:
        partial.commit(lease)
    reader.join()
    assert taken == [DATA]


def test_a_reader_hears_of_the_failure(store: BlobStore) -> None:
    partial = Partial(store, DIGEST, len(DATA))
    following = Following(partial, nothing)
    partial.write(DATA[:10])
    assert following.read(100) == DATA[:10]
    partial.end(Invalid("broken"))
    with pytest.raises(Invalid, match="broken"):
        following.read(100)


def test_a_reader_can_be_called_off(store: BlobStore) -> None:
    partial = Partial(store, DIGEST, len(DATA))
    off = threading.Event()
    outcome: list[BaseException] = []

    def check() -> None:
        if off.is_set():
            raise Invalid("called off")

    def read() -> None:
        try:
            Following(partial, check).read(10)
        except Invalid as error:
            outcome.append(error)

    reader = threading.Thread(target=read)
    reader.start()
    off.set()
    partial.wake()
    while reader.is_alive():  # a wake before the wait is heard by the check that follows
        partial.wake()
        reader.join(0.01)
    assert str(outcome[0]) == "called off"


def test_forgotten_parts_expire(store: BlobStore) -> None:
    partial = Partial(store, DIGEST, len(DATA))
    partial.write(DATA[:100])
    partial.close()
    assert expire(store) == 0
    old = time.time() - 8 * 24 * 3600
    os.utime(partial.path, (old, old))
    assert expire(store) > 0
    assert list(directory(store).iterdir()) == []
