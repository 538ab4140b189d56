import json
import re
from pathlib import Path
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from tiffin.runtime.logfile import LINE, LogFile, escape


def entries(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_bytes().split(b"\n") if line]


@given(st.text(alphabet=st.characters(blacklist_categories=["Cs"], blacklist_characters="\n")))
def test_what_is_escaped_reads_back(text: str) -> None:
    assert json.loads(b'"' + escape(text.encode()) + b'"') == text


@given(st.binary())
def test_any_bytes_make_readable_json(data: bytes) -> None:
    for line in escape(data).split(b"\n"):
        json.loads(b'"' + line + b'"')


@given(st.lists(st.binary(max_size=200), max_size=20))
def test_entries_join_to_what_was_written(tmp_path_factory: Any, chunks: list[bytes]) -> None:
    path = tmp_path_factory.mktemp("log") / "log"
    log = LogFile({"path": str(path)}, None)
    pending = b""
    for chunk in chunks:
        pending += chunk
        done, full = log.write(0, pending)
        assert not full
        pending = pending[done:]
        assert b"\n" not in pending
    log.write(0, pending, final=True)
    text = "".join(entry["log"] for entry in entries(path))
    assert text == b"".join(chunks).decode("utf-8", "replace") or "\ufffd" in text


def test_an_entry_is_docker_s(tmp_path: Path) -> None:
    log = LogFile({"path": str(tmp_path / "log"), "attrs": b'{"a":"b"}'}, None)
    log.write(1, b"text\n")
    line = (tmp_path / "log").read_text()
    pattern = r'\{"log":"text\\n","stream":"stderr","attrs":\{"a":"b"\},"time":"[-\d]{10}T[:\d]{8}(\.\d+)?Z"\}\n'
    assert re.fullmatch(pattern, line)


def test_a_long_line_waits_for_no_end(tmp_path: Path) -> None:
    log = LogFile({"path": str(tmp_path / "log")}, None)
    done, _ = log.write(0, b"x" * (LINE * 2 + 5))
    assert done == LINE * 2
    assert [len(entry["log"]) for entry in entries(tmp_path / "log")] == [LINE, LINE]


def test_an_adopted_log_is_cut_to_the_recorded_length(tmp_path: Path) -> None:
    path = tmp_path / "log"
    path.write_bytes(b"recorded\nbeyond\n")
    assert LogFile({"path": str(path)}, 9).size == 9
    assert path.read_bytes() == b"recorded\n"


def test_an_adopted_log_that_was_rotated_since_begins_anew(tmp_path: Path) -> None:
    path = tmp_path / "log"
    path.write_bytes(b"new\n")
    assert LogFile({"path": str(path)}, 1000).size == 0
