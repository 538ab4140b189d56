import os

from tiffin.runtime.journal import Journal


def filled(*chunks: bytes) -> tuple[tuple[int, int, int], int]:
    """Descriptors of a journal, and a pipe with these bytes."""
    reading, writing = os.pipe()
    os.set_blocking(reading, False)
    for chunk in chunks:
        os.write(writing, chunk)
    os.close(writing)
    return Journal.create(), reading


def test_what_was_taken_is_found_by_a_successor() -> None:
    (header, out, err), pipe = filled(b"some output")
    assert Journal(header, (out, err)).take(pipe, 0) == 11
    successor = Journal(header, (out, err))
    assert successor.pending(0) == b"some output"
    assert successor.take(pipe, 0) == 0


def test_a_commit_is_what_a_successor_sees() -> None:
    (header, out, err), pipe = filled(b"line\nbegin")
    journal = Journal(header, (out, err))
    journal.take(pipe, 0)
    journal.processed[0], journal.carry[0], journal.log_size, journal.dropped = 10, b"begin", 77, 3
    assert Journal(header, (out, err)).processed == [0, 0]
    journal.commit()
    successor = Journal(header, (out, err))
    assert (successor.processed, successor.carry) == ([10, 0], [b"begin", b""])
    assert (successor.log_size, successor.dropped) == (77, 3)
    assert successor.pending(0) == b""


def test_a_death_between_emptying_and_saying_so_loses_nothing() -> None:
    (header, out, err), pipe = filled(b"abc")
    journal = Journal(header, (out, err))
    journal.take(pipe, 1)
    journal.processed[1] = 3
    journal.commit()
    os.ftruncate(err, 0)
    successor = Journal(header, (out, err))
    assert successor.pending(1) == b""
    more, writing = os.pipe()
    os.write(writing, b"de")
    successor.take(more, 1)
    assert successor.pending(1) == b"de"
