"""Names of images, against distribution/reference's rules as docker shows them."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tiffin.errors import Invalid
from tiffin.model.reference import parse_reference, parse_tag

HEX = "0123456789abcdef" * 4


@pytest.mark.parametrize(
    ("text", "full", "familiar"),
    [
        ("python", "docker.io/library/python", "python"),
        ("python:3.14", "docker.io/library/python:3.14", "python:3.14"),
        ("my-org/x", "docker.io/my-org/x", "my-org/x"),
        ("host:5000/x", "host:5000/x", "host:5000/x"),
        ("localhost/x", "localhost/x", "localhost/x"),
        ("UPPER/x", "UPPER/x", "UPPER/x"),
        ("index.docker.io/python", "docker.io/library/python", "python"),
        ("docker.io/library/a/b", "docker.io/library/a/b", "library/a/b"),
        ("[::1]:5000/x:1", "[::1]:5000/x:1", "[::1]:5000/x:1"),
        (f"x@sha256:{HEX}", f"docker.io/library/x@sha256:{HEX}", f"x@sha256:{HEX}"),
        (f"x:1@sha256:{HEX}", f"docker.io/library/x:1@sha256:{HEX}", f"x:1@sha256:{HEX}"),
        ("a__b/c-d.e", "docker.io/a__b/c-d.e", "a__b/c-d.e"),
    ],
)
def test_names_are_completed_and_shortened_as_docker_does(text: str, full: str, familiar: str) -> None:
    reference = parse_reference(text)
    assert str(reference) == full
    assert reference.familiar == familiar
    assert parse_reference(full) == reference


@pytest.mark.parametrize(
    "text", ["", ":x", "a:b:c", "-x", "a//b", "x@sha256:12", "a b", "x:" + "t" * 129, "ä", "a/../b"]
)
def test_what_is_no_name_is_refused_in_docker_s_words(text: str) -> None:
    with pytest.raises(Invalid, match="invalid reference format"):
        parse_reference(text)


def test_an_upper_case_repository_is_told_to_be_lower_case() -> None:
    with pytest.raises(Invalid, match=r"invalid reference format: repository name \(library/Foo\) must be lowercase"):
        parse_reference("Foo")


def test_a_bare_id_is_no_repository() -> None:
    with pytest.raises(Invalid, match="cannot specify 64-byte hexadecimal strings"):
        parse_reference(HEX)


def test_a_name_longer_than_255_characters_is_refused() -> None:
    with pytest.raises(Invalid, match="must not be more than 255 characters"):
        parse_reference("a" * 256)


def test_only_a_name_without_tag_and_digest_gets_latest() -> None:
    assert parse_reference("x").with_default_tag().tag == "latest"
    assert parse_reference("x:1").with_default_tag().tag == "1"
    assert parse_reference(f"x@sha256:{HEX}").with_default_tag().tag is None


@given(st.text(max_size=80))
def test_any_text_is_a_name_or_invalid(text: str) -> None:
    try:
        reference = parse_reference(text)
    except Invalid:
        return
    assert parse_reference(str(reference)) == reference


def test_a_tag_alone_is_checked() -> None:
    assert parse_tag("v1.0_x-y") == "v1.0_x-y"
    with pytest.raises(Invalid, match="invalid tag format"):
        parse_tag("a/b")
