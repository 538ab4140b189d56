"""What the registry reads from paths and headers, against input nobody thought of."""

import re

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tiffin.registry.server import names, targets
from tiffin.registry.server.refusals import Refusal
from tiffin.registry.server.targets import Kind, Target, target

# the specification's own expression ("Pulling manifests")
NAME = re.compile(r"[a-z0-9]+((\.|_|__|-+)[a-z0-9]+)*(\/[a-z0-9]+((\.|_|__|-+)[a-z0-9]+)*)*")
patient = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
words = st.sampled_from(["a", "b0", "blobs", "uploads", "manifests", "tags", "list", "referrers", "_catalog", "..", ""])


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("/v2", Target(Kind.BASE)),
        ("/v2/", Target(Kind.BASE)),
        ("/v2/_catalog", Target(Kind.CATALOG)),
        ("/v2/a/tags/list", Target(Kind.TAGS, "a")),
        ("/v2/tags/list/tags/list", Target(Kind.TAGS, "tags/list")),
        ("/v2/a/b/manifests/1", Target(Kind.MANIFEST, "a/b", "1")),
        ("/v2/manifests/manifests/manifests", Target(Kind.MANIFEST, "manifests", "manifests")),
        ("/v2/a/blobs/sha256:0", Target(Kind.BLOB, "a", "sha256:0")),
        ("/v2/a/blobs/uploads/", Target(Kind.UPLOADS, "a")),
        ("/v2/a/blobs/uploads", Target(Kind.UPLOADS, "a")),
        ("/v2/blobs/uploads/blobs/uploads/x", Target(Kind.UPLOAD, "blobs/uploads", "x")),
        ("/v2/a/referrers/sha256:0", Target(Kind.REFERRERS, "a", "sha256:0")),
    ],
)
def test_paths(path: str, expected: Target) -> None:
    assert target(path) == expected


@patient
@given(st.lists(words, max_size=8).map(lambda parts: "/v2/" + "/".join(parts)) | st.text())
def test_a_path_names_a_repository_or_is_refused(path: str) -> None:
    try:
        found = target(path)
    except Refusal as error:
        assert error.status in (400, 404)
        return
    assert found.kind in (Kind.BASE, Kind.CATALOG) or NAME.fullmatch(found.name)
    assert "/" not in found.reference


@patient
@given(st.text(alphabet="ab0._-/A", max_size=12))
def test_names_are_the_specifications(text: str) -> None:
    try:
        assert names.repository(text) == text
        valid = True
    except Refusal:
        valid = False
    assert valid == bool(NAME.fullmatch(text))


def test_a_name_that_would_backtrack_is_read_at_once() -> None:
    with pytest.raises(Refusal):
        names.repository("a" + "-a" * 126 + "!")
    with pytest.raises(Refusal):
        names.repository("a" + "_" * 200)


@patient
@given(st.integers(0, 50), st.integers(0, 60) | st.none(), st.integers(0, 60) | st.none())
def test_a_part_is_what_slicing_says(size: int, first: int | None, last: int | None) -> None:
    data = bytes(range(size))
    header = f"bytes={'' if first is None else first}-{'' if last is None else last}"
    wanted = slice(first, None if last is None else last + 1) if first is not None else slice(size - (last or 0), None)
    expected = data[max(wanted.start or 0, 0) : wanted.stop]
    try:
        found = targets.part(header, size)
    except Refusal as error:
        assert (error.status, expected) == (416, b"")
        return
    if found is None:
        assert (first is None and last is None) or (first is not None and last is not None and last < first)
    else:
        offset, length = found
        assert data[offset : offset + length] == expected != b""


@patient
@given(st.text(max_size=30))
def test_any_range_header_is_read_or_ignored(header: str) -> None:
    found = None
    try:
        found = targets.part(header, 100)
    except Refusal as error:
        assert error.status == 416
    assert found is None or (0 <= found[0] < 100 and 1 <= found[1] <= 100 - found[0])


@patient
@given(st.integers(0, 10**9), st.integers(1, 10**9))
def test_chunks(first: int, size: int) -> None:
    header = f"{first}-{first + size - 1}"
    assert targets.chunk(header, str(size)) == targets.chunk(header, None) == (first, size)
    assert targets.chunk(f"bytes {header}/*", str(size)) == (first, size), "as some clients say it"
    with pytest.raises(Refusal, match="length"):
        targets.chunk(header, str(size + 1))


@pytest.mark.parametrize("text", ["sha256:" + "0" * 64, "sha512:" + "f" * 128])
def test_digests(text: str) -> None:
    assert names.digest(text) == text


@patient
@given(st.text(max_size=140) | st.from_regex(r"sha(256|512):[0-9a-fA-F]{60,130}", fullmatch=True))
def test_what_passes_for_a_digest_can_name_a_file(text: str) -> None:
    try:
        found = names.digest(text)
    except Refusal:
        return
    assert re.fullmatch(r"sha256:[0-9a-f]{64}|sha512:[0-9a-f]{128}", found)


def test_links_to_the_next_page_quote_what_they_carry() -> None:
    link = targets.next_page("/v2/_catalog", 5, "a/b", artifactType='x>"&y')
    assert link == '</v2/_catalog?n=5&last=a%2Fb&artifactType=x%3E%22%26y>; rel="next"'
