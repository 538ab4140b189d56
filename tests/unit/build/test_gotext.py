import pytest

from tiffin.build.dockerfile.gotext import (
    format_duration,
    parse_bytes,
    parse_duration,
    quoted,
    quoted_list,
    suggestion,
)
from tiffin.errors import Invalid


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a b", '"a b"'),
        ('"\\', '"\\"\\\\"'),
        ("\n\t\x01\x7f", '"\\n\\t\\x01\\x7f"'),
        ("é한", '"é한"'),
        ("\u200b", '"\\u200b"'),
    ],
)
def test_text_is_quoted_as_in_go(text: str, expected: str) -> None:
    assert quoted(text) == expected
    assert quoted_list([text, text]) == f"[{expected} {expected}]"


@pytest.mark.parametrize(
    ("text", "nanoseconds", "shown"),
    [
        ("0", 0, "0s"), ("1ns", 1, "1ns"), ("1.5µs", 1500, "1.5µs"), ("20ms", 20_000_000, "20ms"),
        ("1h2m3.25s", 3723_250_000_000, "1h2m3.25s"), ("90s", 90 * 10**9, "1m30s"),
        ("-1.5h", -5400 * 10**9, "-1h30m0s"),
        (".5s", 500_000_000, "500ms"),
    ],
)  # fmt: skip
def test_durations_are_go_s(text: str, nanoseconds: int, shown: str) -> None:
    assert parse_duration(text) == nanoseconds
    assert format_duration(nanoseconds) == shown


@pytest.mark.parametrize("text", ["", "1", "s", "1x", "1.2.3s", "-", "1 s", "9999999999h"])
def test_other_durations_are_refused(text: str) -> None:
    with pytest.raises(Invalid, match="duration"):
        parse_duration(text)


def test_sizes_are_binary() -> None:
    assert [parse_bytes(text) for text in ("1", "1k", "1.5KiB", "2 mb", "1g", "10b")] == [
        1,
        1024,
        1536,
        2 << 20,
        1 << 30,
        10,
    ]
    for text in ("", "k", "1x", "-1"):
        with pytest.raises(ValueError):
            parse_bytes(text)


def test_a_suggestion_is_near_and_keeps_the_case() -> None:
    assert suggestion("form", ["FROM", "RUN"], exact_case=False) == "from"
    assert suggestion("FORM", ["FROM", "RUN"], exact_case=False) == "FROM"
    assert suggestion("FROM", ["FROM"]) is None
    assert suggestion("entirely", ["FROM"]) is None
