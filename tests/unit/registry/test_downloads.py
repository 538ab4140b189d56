"""Downloads that fail: who asks again when he hears of it is given a new attempt."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any, cast

import pytest

from tiffin.content.blobs import BlobStore
from tiffin.errors import Internal
from tiffin.model.digest import digest_of
from tiffin.registry.credentials import Credentials
from tiffin.registry.server.counters import Counters
from tiffin.registry.server.downloads import Download
from tiffin.registry.server.refusals import Refusal
from tiffin.registry.server.upstream import Fetching, Upstream

DIGEST = digest_of(b"content")


class Repositories:
    """A registry that holds nothing."""

    storage = cast(Any, type("Storage", (), {"blob_size": lambda self, digest: None})())

    def blob(self, name: str, digest: str) -> int:
        raise Refusal("BLOB_UNKNOWN", 404, "not here")

    def find(self, name: str, reference: str) -> None:
        raise Refusal("MANIFEST_UNKNOWN", 404, "not here")


class Broken:
    """A repository that breaks off whatever it is asked for, when the test lets it."""

    def __init__(self) -> None:
        self.go = threading.Event()
        self.asked = 0

    def has_blob(self, digest: str) -> int:
        return 7

    def blob(self, *_: object) -> None:
        self.go.wait(60)
        raise Internal("broken off")

    def manifest(self, reference: str) -> None:
        self.asked += 1
        self.go.wait(60)
        raise Internal("broken off")


@pytest.fixture
def broken() -> Broken:
    return Broken()


@pytest.fixture
def upstream(tmp_path: Path, broken: Broken, monkeypatch: pytest.MonkeyPatch) -> Upstream:
    nothing = cast(Any, Repositories())
    made = Upstream(
        "http://r.invalid", Credentials(), nothing, BlobStore(tmp_path), Counters(), Fetching(), verify=False
    )
    monkeypatch.setattr(made, "_repository", lambda name: broken)
    return made


def test_a_blob_whose_download_has_failed_is_fetched_anew(upstream: Upstream, broken: Broken) -> None:
    first = cast(Download, upstream.blob("a", DIGEST))
    heard, again = threading.Event(), list[Any]()

    def changed() -> None:
        try:
            first.available()
        except Internal:
            again.append(upstream.blob("a", DIGEST))
            heard.set()

    first.watch(changed)
    assert upstream.blob("a", DIGEST) is first
    broken.go.set()
    assert heard.wait(60)
    assert again[0] is not first
    upstream.close()


def test_a_manifest_that_could_not_be_had_is_asked_for_anew(upstream: Upstream, broken: Broken) -> None:
    asked: list[int] = []

    class Heard(dict[Any, Any]):
        def __setitem__(self, key: Any, future: Any) -> None:
            super().__setitem__(key, future)
            future.add_done_callback(lambda _: asked.append(key in self))

    upstream._asked = Heard()
    broken.go.set()
    for _ in range(2):
        with pytest.raises(Internal, match="broken off"):
            upstream.manifest("a", "1")
    assert (broken.asked, asked) == (2, [False, False])
