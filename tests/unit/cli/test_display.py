"""Sizes, times, columns: what people read."""

from __future__ import annotations

import pytest

from tiffin.cli import units
from tiffin.cli.table import Format, Row, align, header, lines
from tiffin.cli.terminal import DetachWatch, detach_keys


@pytest.mark.parametrize(
    ("count", "text"),
    [(0, "0B"), (999, "999B"), (1234, "1.23kB"), (1_983_650, "1.98MB"), (10**9, "1GB"), (123_456_789, "123MB")],
)
def test_sizes_have_three_digits(count: int, text: str) -> None:
    assert units.size(count) == text


def test_memory_counts_in_powers_of_1024() -> None:
    assert units.memory(323584) == "316KiB"
    assert units.memory(25272684544) == "23.54GiB"


def test_stamps_keep_their_zone() -> None:
    assert units.parse_stamp("2026-11-23T06:13:06.5Z") == units.parse_stamp("2026-11-23T08:13:06.5+02:00")
    assert units.parse_stamp("0001-01-01T00:00:00Z") == 0.0


def test_columns_are_ten_wide_at_least_and_three_apart() -> None:
    assert align("A\tB\nlonger than ten\tx") == "A                 B\nlonger than ten   x"
    assert align("A\tB\nx\ty") == "A         B\nx         y"


ROWS = [Row({"ID": "1", "Name": "one"}, {"Label": {"a": "b"}.get}), Row({"ID": "2", "Name": "two"}, {"Label": {}.get})]
HEADERS = {"ID": "CONTAINER ID", "Name": "NAMES"}


def test_a_table_format_has_headers_of_its_fields() -> None:
    form = Format("table {{.ID}}\\t{{upper .Name}}", "")
    assert header(form, HEADERS) == "CONTAINER ID\tNAMES"
    assert list(lines(form, ROWS)) == ["1\tONE", "2\tTWO"]


def test_json_shows_all_fields_in_order() -> None:
    assert next(iter(lines(Format("json", ""), ROWS))) == '{"ID":"1","Name":"one"}'


def test_a_label_has_its_last_part_as_header() -> None:
    assert header(Format('table {{.Label "com.example.the-role"}}', ""), HEADERS) == "the role"


def test_detach_keys_are_found_across_reads() -> None:
    watch = DetachWatch(detach_keys(""))
    assert watch.feed(b"a\x10") == b"a"
    assert watch.feed(b"b") == b"\x10b"
    assert watch.feed(b"\x10") == b"" and not watch.detached
    assert watch.feed(b"\x11c") == b"" and watch.detached


def test_unknown_detach_keys_are_refused() -> None:
    assert detach_keys("ctrl-a,b") == b"\x01b"
    with pytest.raises(ValueError, match="Unknown character: 'foo'"):
        detach_keys("foo")
