"""Log files: the last lines, rotated ones, lines that are cut off."""

import gzip
from pathlib import Path

import msgspec

from tiffin.containers import logfiles
from tiffin.engine.container_logs import Asked, Renderer


def line(number: int, stream: str = "stdout") -> bytes:
    time = f"2026-01-02T03:04:{number % 60:02}.5Z"
    return msgspec.json.encode({"log": f"{number}\n", "stream": stream, "time": time}) + b"\n"


def read(parts: list[logfiles.Part]) -> list[str]:
    found = []
    for part in parts:
        for lines in logfiles.blocks(part.file):
            found += [entry.log.strip() for one in lines if (entry := logfiles.decode(one))]
        part.close()
    return found


def test_the_last_lines_reach_back_into_rotated_files(tmp_path: Path) -> None:
    log = tmp_path / "log"
    log.write_bytes(b"".join(map(line, range(20, 23))))
    (tmp_path / "log.1").write_bytes(b"".join(map(line, range(10, 20))))
    (tmp_path / "log.2.gz").write_bytes(gzip.compress(b"".join(map(line, range(10)))))
    assert read(logfiles.parts(str(log))) == [str(n) for n in range(23)]
    assert read(logfiles.parts(str(log), after=(tmp_path / "log.1").stat().st_ino)) == ["20", "21", "22"]
    for count in (0, 1, 3, 5, 13, 14, 23, 99):
        tail = logfiles.seek_tail(logfiles.parts(str(log)), count)
        assert read(tail) == [str(n) for n in range(max(0, 23 - count), 23)]


def test_the_last_lines_of_a_file_larger_than_a_block(tmp_path: Path) -> None:
    log = tmp_path / "log"
    log.write_bytes(b"".join(map(line, range(5000))))
    assert read(logfiles.seek_tail(logfiles.parts(str(log)), 3000)) == [str(n) for n in range(2000, 5000)]


def test_a_line_that_is_being_written_is_read_when_it_is_whole(tmp_path: Path) -> None:
    log = tmp_path / "log"
    whole = line(1)
    log.write_bytes(whole + whole[:10])
    part = logfiles.opened(str(log))
    assert [one for lines in logfiles.blocks(part.file) for one in lines] == [whole.rstrip(b"\n")]
    with log.open("ab") as end:
        end.write(whole[10:])
    assert [one for lines in logfiles.blocks(part.file) for one in lines] == [whole.rstrip(b"\n")]
    part.close()


def test_there_is_no_log_before_the_first_start(tmp_path: Path) -> None:
    assert logfiles.parts(str(tmp_path / "log")) == []


def test_frames_carry_their_stream_and_length() -> None:
    render = Renderer(Asked(stdout=True, stderr=True), framed=True)
    assert render([line(1).strip(), line(22, "stderr").strip()]) == b"\1\0\0\0\0\0\0\0021\n\2\0\0\0\0\0\0\00322\n"


def test_only_the_streams_asked_for_are_sent_and_foreign_lines_are_left_out() -> None:
    render = Renderer(Asked(stdout=True), framed=False)
    assert render([line(1).strip(), b"garbage", line(2, "stderr").strip()]) == b"1\n"


def test_bounds_and_decorations() -> None:
    second = logfiles.nanoseconds("2026-01-02T03:04:02.5Z")
    asked = Asked(stdout=True, since=second, until=second + 1, timestamps=True, details=True)
    render = Renderer(asked, framed=False)
    lines = [line(number).strip() for number in (1, 2, 3)]
    lines[1] = lines[1][:-1] + b',"attrs":{"b":"x y","a":"1"}}'
    assert render(lines) == b"2026-01-02T03:04:02.500000000Z a=1,b=x+y 2\n"
    assert render.done
