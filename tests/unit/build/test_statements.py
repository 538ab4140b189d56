import pytest

from tiffin.build.dockerfile.directives import find_directive
from tiffin.build.dockerfile.heredocs import heredocs_of, parse_heredoc
from tiffin.build.dockerfile.source import DockerfileError, Span
from tiffin.build.dockerfile.statements import Statement, read_statements


def read(text: str) -> list[Statement]:
    return list(read_statements(text.encode()).items)


def one(text: str) -> Statement:
    (statement,) = read(text)
    return statement


def values(text: str) -> tuple[str, ...]:
    return one(text).operands.values


def test_lines_join_at_the_escape_over_comments_and_blank_lines() -> None:
    found = read_statements(b"RUN a \\\n  # comment\n\n   b \\  \n&& c\nRUN d\n")
    first, second = found.items
    assert first.original == "RUN a    b && c"
    assert (first.span, second.span) == (Span(1, 5), Span(6, 6))
    assert found.empty_continuations == (5,)


def test_an_escaped_escape_ends_the_line() -> None:
    assert [item.original for item in read("RUN a \\\\\nRUN b")] == ["RUN a \\\\", "RUN b"]


def test_a_file_may_end_in_a_continuation() -> None:
    assert one("RUN a \\").original == "RUN a "


def test_the_escape_directive_changes_the_escape() -> None:
    found = read_statements(b"# escape=`\nRUN dir c:\\\nRUN a `\n b")
    assert found.escape == "`"
    assert [item.original for item in found.items] == ["RUN dir c:\\", "RUN a  b"]


def test_a_directive_below_a_comment_is_a_comment() -> None:
    assert read_statements(b"# hello\n# escape=`\nRUN a `\nRUN b").escape == "\\"


@pytest.mark.parametrize(
    ("text", "message", "line"),
    [
        ("# escape=x\nRUN a", "invalid escape token 'x' does not match ` or \\", 1),
        ("# escape=`\n# escape=`\nRUN a", "only one escape parser directive can be used", 2),
        ("# only\n\n", "file with no instructions", 2),
        ("RUN a\nENV x", "ENV must have two arguments", 2),
        ("RUN a\n\nLABEL a=b c", 'Syntax error - can\'t find = in "c". Must be of the form: name=value', 3),
        ('CMD ["a", 1]', "when using JSON array syntax, arrays must be comprised of strings only", 1),
        ("RUN <<EOF\na", "unterminated heredoc", 1),
        ("RUN " + "a" * 70000, "file with no instructions", 0),
        ("RUN a\nRUN " + "a" * 70000, "dockerfile line greater than max allowed size of 65535", 1),
    ],
)
def test_what_can_not_be_read_is_told_with_its_line(text: str, message: str, line: int) -> None:
    with pytest.raises(DockerfileError) as caught:
        read(text)
    assert str(caught.value) == message
    assert caught.value.spans[0].start == line


@pytest.mark.parametrize(
    ("text", "expected", "json"),
    [
        ('CMD ["a", "b c"]', ("a", "b c"), True),
        ("CMD []", (), True),
        ('CMD [ "a\\u0041" , "" ]', ("aA", ""), True),
        ("CMD ['a']", ("['a']",), False),
        ('CMD ["a"', ('["a"',), False),
        ('CMD ["a"] b', ('["a"] b',), False),
        ('CMD "[\\"a\\"]"', ('"[\\"a\\"]"',), False),
        ("CMD [NaN]", ("[NaN]",), False),
        ('CMD ["\\ud800"]', ("\ufffd",), True),
        ("VOLUME a  b", ("a", "b"), False),
        ('VOLUME ["a b"]', ("a b",), True),
        ("HEALTHCHECK CMD  a b", ("CMD", "a b"), False),
        ('HEALTHCHECK CMD ["a"]', ("CMD", "a"), True),
    ],
)
def test_a_json_array_is_one_only_if_it_is_whole(text: str, expected: tuple[str, ...], json: bool) -> None:
    statement = one(text)
    assert (statement.operands.values, statement.operands.json) == (expected, json)


def test_pairs_have_an_old_and_a_new_form() -> None:
    assert values("ENV name  a  b=c ") == ("name", "a  b=c", "")
    assert values("ENV a=1 b='x y' c=\"d\\\"e\" f=\\ g") == (
        "a", "1", "=", "b", "'x y'", "=", "c", '"d\\"e"', "=", "f", "\\ g", "=",
    )  # fmt: skip


@pytest.mark.parametrize(
    ("text", "flags", "operands"),
    [
        ("COPY --from=a --link b c", ("--from=a", "--link"), ("b", "c")),
        ("COPY --chown=\"a b\" '--x'=y z", ("--chown=a b",), ("'--x'=y", "z")),
        ("COPY -- --a b", (), ("--a", "b")),
        ("COPY --a\\ b c d", ("--a b",), ("c", "d")),
        ("RUN --mount=type=cache,target=/x   make --jobs", ("--mount=type=cache,target=/x",), ("make --jobs",)),
        ("RUN - x", (), ("- x",)),
        ("COPY --chown=é:é a b", ("--chown=é:é",), ("a", "b")),
    ],
)
def test_flags_stand_before_operands(text: str, flags: tuple[str, ...], operands: tuple[str, ...]) -> None:
    statement = one(text)
    assert (statement.flags, statement.operands.values) == (flags, operands)


def test_heredocs_follow_in_the_order_they_are_opened() -> None:
    copy, run = read("COPY <<A <<-'B' /x/\nA1\nA\n\tb $x\n\tB\nRUN cat <<E\n# kept\n\nE\n")
    first, second = copy.heredocs
    assert (first.name, first.content, first.expand, first.chomp) == ("A", "A1\n", True, False)
    assert (second.name, second.content, second.text) == ("B", "\tb $x\n", "b $x\n")
    assert (second.expand, second.chomp) == (False, True)
    assert run.heredocs[0].content == "# kept\n\n"
    assert copy.span == Span(1, 5)


@pytest.mark.parametrize("text", ['RUN ["<<EOF"]', 'RUN "<<EOF"', "RUN a <<<b", "USER <<EOF"])
def test_what_looks_like_a_heredoc_may_be_none(text: str) -> None:
    assert one(text).heredocs == ()


def test_onbuild_takes_heredocs_for_its_trigger() -> None:
    assert one("ONBUILD RUN <<EOF\na\nEOF").heredocs[0].content == "a\n"


@pytest.mark.parametrize(
    ("word", "name", "expand"),
    [
        ("<<EOF", "EOF", True), ("<<-EOF", "EOF", True), ("<< EOF", "EOF", True), ("<<'EOF'", "EOF", False),
        ('<<"EOF"', "EOF", False), ("<<EO'F'", "EOF", False), (r"<<EO\'F", "EO'F", True), ("<<$X", "$X", True),
        ("3<<EOF", "EOF", True), ("<<'a b'", "a b", False),
    ],
)  # fmt: skip
def test_a_heredoc_names_its_end(word: str, name: str, expand: bool) -> None:
    heredoc = parse_heredoc(word)
    assert heredoc is not None
    assert (heredoc.name, heredoc.expand) == (name, expand)


@pytest.mark.parametrize("word", ["", "EOF", "<<", "<<-", "<EOF", "<<<EOF", "<<EOF sh"])
def test_other_words_open_no_heredoc(word: str) -> None:
    assert parse_heredoc(word) is None


def test_a_line_may_open_several_heredocs() -> None:
    names = [heredoc.name for heredoc in heredocs_of("RUN cat <<A 3<<B >x <<'C D' \"<<no\"")]
    assert names == ["A", "B", "C D"]


def test_comments_stand_above_their_instruction() -> None:
    found = read("# one\n# two\nFROM a\n#\n# three\nRUN x\nRUN y")
    assert [item.comments for item in found] == [("one", "two"), ("three",), ()]


@pytest.mark.parametrize(
    ("source", "value", "line"),
    [
        (b"# check = skip=all # note\nFROM a", "skip=all # note", 1),
        (b"#!/bin/x\n#check=a\n", "a", 2),
        (b"\xef\xbb\xbf#CHECK=d\r\n", "d", 1),
    ],
)
def test_a_directive_is_found_below_what_comes_first(source: bytes, value: str, line: int) -> None:
    found = find_directive("check", source)
    assert found is not None
    assert (found.value, found.span.start) == (value, line)


@pytest.mark.parametrize("source", [b"\n# check=a", b"FROM a\n# check=a", b"// check=a"])
def test_a_late_directive_is_none(source: bytes) -> None:
    assert find_directive("check", source) is None
