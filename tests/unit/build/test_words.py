import pytest

from tiffin.build.dockerfile.source import DockerfileError
from tiffin.build.dockerfile.words import Lexer

ENV = {"HOME": "/root", "EMPTY": "", "FILE": "a/b/c.tar.gz", "SPACED": " a  b ", "STAR": "x*y*z", "한국": "서울"}

WORDS = [
    ("plain", "plain"),
    ("a'b'c", "abc"),
    (r"a\'b", "a'b"),
    (r"a\tb", "atb"),
    (r'"a\tb"', r"a\tb"),
    (r'"a\\b"', r"a\b"),
    (r"'a\\b'", r"a\\b"),
    ("end\\", "end"),
    (r"end\\", "end\\"),
    ('"it\'s"', "it's"),
    ("""'"x"'""", '"x"'),
    ("$HOME", "/root"),
    ("x$HOME.", "x/root."),
    (r"\$HOME", "$HOME"),
    (r'"\$HOME"', "$HOME"),
    ("'$HOME'", "$HOME"),
    (r"\\$HOME", r"\/root"),
    ("$한국", "서울"),
    ("$.", "$."),
    ("$", "$"),
    ("${HOME}s", "/roots"),
    ("${NONE}x", "x"),
    ("$1x ${12}x $0x $@x $$x ${#}x", "x x x x x x"),
    ("${NONE:-a} ${NONE-a} ${EMPTY:-a} ${EMPTY-a} ${HOME:-a}", "a a a  /root"),
    ("${NONE:+a}${NONE+a} ${EMPTY:+a} ${EMPTY+a} ${HOME:+a}", "  a a"),
    ("${HOME?x} ${HOME:?x} ${EMPTY?x}", "/root /root "),
    ("${NONE:-${EMPTY:-${HOME}}}", "/root"),
    (r"${NONE:-\${HOME}z}", "${HOMEz}"),
    ("${NONE:-'a b'}", "a b"),
    ("${FILE#*/}", "b/c.tar.gz"),
    ("${FILE##*/}", "c.tar.gz"),
    ("${FILE%.*}", "a/b/c.tar"),
    ("${FILE%%.*}", "a/b/c"),
    ("${FILE#?/}", "b/c.tar.gz"),
    ("${FILE#zzz}", "a/b/c.tar.gz"),
    ("${FILE#}${FILE%%}", "a/b/c.tar.gza/b/c.tar.gz"),
    (r"${STAR#x\*}", "y*z"),
    (r"${STAR%%\**}", "x"),
    ("${FILE/b/B}", "a/B/c.tar.gz"),
    (r"${FILE//\//_}", "a_b_c.tar.gz"),
    ("${FILE/*b/}", "/c.tar.gz"),
    ("${FILE//./}", "a/b/ctargz"),
    (r"${FILE/a\/b/x}", "x/c.tar.gz"),
    ("${FILE//*/y}", "y"),
    ("${FILE//q/y}", "a/b/c.tar.gz"),
    ("a < b << c", "a < b << c"),
]


@pytest.mark.parametrize(("text", "expected"), WORDS)
def test_a_word_is_expanded(text: str, expected: str) -> None:
    assert Lexer().word(text, ENV) == expected


ERRORS = [
    ("a'b", "unexpected end of statement while looking for matching single-quote"),
    ('a"b', "unexpected end of statement while looking for matching double-quote"),
    ("${}", "syntax error: bad substitution"),
    ("${:-x}", "syntax error: bad substitution"),
    ("${{x}}", "syntax error: bad substitution"),
    ("${HOME", "unsupported modifier (\ufffd) in substitution"),
    ("${", "syntax error: missing '}'"),
    ("${HOME:-x", "syntax error: missing '}'"),
    ("${HOME/x", "syntax error: missing '/' in ${}"),
    ("${HOME/x/y", "syntax error: missing '}'"),
    ("${.}", "unsupported modifier (.) in substitution"),
    ("${HOME=x}", "unsupported modifier (=) in substitution"),
    ("${HOME:=x}", "unsupported modifier (:=) in substitution"),
    ("${HOME:#x}", "unsupported modifier (:#) in substitution"),
    ("${HOME:%x}", "unsupported modifier (:%) in substitution"),
    ("${NONE?}", "NONE: is not allowed to be unset"),
    ("${NONE?please}", "NONE: please"),
    ("${EMPTY:?}", "EMPTY: is not allowed to be empty"),
    (r"${HOME#\x}", r"invalid pattern (\x) in substitution: invalid escape '\x'"),
]


@pytest.mark.parametrize(("text", "message"), ERRORS)
def test_a_word_that_makes_no_sense_is_named_with_the_reason(text: str, message: str) -> None:
    with pytest.raises(DockerfileError) as caught:
        Lexer().word(text, ENV)
    assert str(caught.value).startswith("failed to process ")
    assert str(caught.value).endswith(f": {message}")


SPLIT = [
    ("a b  c", ["a", "b", "c"]),
    ("x$SPACED", ["x", "a", "b"]),
    ("x${SPACED}y", ["x", "a", "b", "y"]),
    ('x"$SPACED"y', ["x a  b y"]),
    (r"a\ b c", ["a b", "c"]),
    ("80${NONE:-80}", ["8080"]),
    ("<< EOF x", ["<< EOF", "x"]),
    ("", []),
]


@pytest.mark.parametrize(("text", "expected"), SPLIT)
def test_words_are_split_at_space_that_is_not_quoted(text: str, expected: list[str]) -> None:
    assert list(Lexer().expand(text, ENV).words) == expected


def test_the_backtick_may_be_the_escape() -> None:
    lexer = Lexer("`")
    assert lexer.word(r"c:\dir`$HOME", ENV) == r"c:\dir$HOME"
    assert lexer.word('"``"', ENV) == "`"


def test_quotes_and_unset_variables_may_be_kept() -> None:
    lexer = Lexer(raw_quotes=True, keep_unset=True)
    assert lexer.word("echo \"$NONE\" '${NONE:-x}' $HOME", ENV) == "echo \"$NONE\" '${NONE:-x}' /root"
    assert lexer.word("${NONE:-$HOME} ${NONE/a/b}", ENV) == "${NONE:-/root} ${NONE/a/b}"


def test_variables_that_were_used_and_that_were_missing_are_told() -> None:
    found = Lexer().expand("$HOME ${NONE:-$EMPTY} ${OTHER:+x}", ENV)
    assert found.matched == {"HOME", "EMPTY"}
    assert found.unmatched == {"NONE", "OTHER"}


def test_nesting_has_a_limit() -> None:
    with pytest.raises(DockerfileError, match="nested deeper"):
        Lexer().word("${A:-" * 5000, {})


def test_a_hostile_pattern_takes_no_time() -> None:
    value = {"A": "a" * 5000}
    assert Lexer().word("${A##*a*a*a*a*a*a*a*a*a*b}", value) == value["A"]
