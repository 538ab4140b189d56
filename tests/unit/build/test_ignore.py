import pytest

from tiffin.build.dockerfile.ignore import Patterns, ignore_file_names, read_patterns
from tiffin.build.dockerfile.source import DockerfileError
from tiffin.build.dockerfile.wildcards import clean, has_wildcards, join, match, split_wildcards

IGNORED = [
    (["**"], "a", True), (["**"], "a/b", True), (["**/"], "a", True), (["**/**"], "a/b", True),
    (["a/**"], "a/b/c", True), (["a/**"], "a", False),
    (["**/a"], "a", True), (["**/a"], "x/y/a", True), (["**/a"], "a/b", True), (["**/a"], "ba", False),
    (["**a"], "ba", True), (["**a"], "x/ba", True),
    (["**/b/*"], "a/b/c", True), (["**/b/**"], "a/b/c/d", True), (["**/*.py"], "x.py", True),
    (["**/*.py"], "a/b/x.py", True), (["**/**/*.py"], "a/x.py", True), (["**/*.py"], "x.pyc", False),
    (["a**/*.c"], "ab/x.c", True), (["a**/*.c"], "a/x/y.c", True),
    (["a/*.c"], "a/x.c", True), (["a/*.c"], "a/b/x.c", False), (["*"], "a/b", True), (["*/*"], "a", False),
    (["a?c"], "abc", True), (["a?c"], "ac", False), (["a?c"], "a/c", False),
    (["a[b-d]e"], "ace", True), (["a[b-d]e"], "aee", False), (["a[^b-d]e"], "aze", True),
    ([".*"], ".git", True), ([".*"], "git", False), (["a.b"], "axb", False), (["a.|)$(}+{b"], "a.|)$(}+{b", True),
    ([r"a\*b"], "a*b", True), ([r"a\*b"], "axb", False), ([r"a\\"], "a\\", True),
    (["a"], "a/b/c", True), (["a/b"], "a", False), (["/a"], "a", False), (["a/"], "a", True), (["./a/../b"], "b", True),
    (["*", "!a"], "a", False), (["*", "!a"], "a/b", False), (["*", "!a", "a/b"], "a/b", True),
    (["*", "!a", "a/b", "!a/b/c"], "a/b/c", False), (["!a", "*"], "a", True), (["a", "!a/b"], "a/b", False),
    (["**", "!x/*.whl"], "x/y+z.whl", False), ([], "a", False),
    (["**/a/**/b/**/c/**/d"], "1/a/b/2/3/c/d", True), (["**/a/**/b/**/c/**/d"], "1/a/c/b/d", False),
    (["a*b*c*d*e"], "abcde", True), (["a*b*c*d*e"], "a1b2c3d4f", False), (["a*b*c*d*e"], "a/bcde", False),
]  # fmt: skip


@pytest.mark.parametrize(("patterns", "path", "ignored"), IGNORED)
def test_patterns_ignore_what_docker_ignores(patterns: list[str], path: str, ignored: bool) -> None:
    assert Patterns(patterns).ignores(path) is ignored
    walked, known = False, None
    parts = path.split("/")
    for depth in range(len(parts)):
        walked, known = Patterns(patterns).step("/".join(parts[: depth + 1]), known)
    assert walked is ignored


def test_an_ignore_file_is_cleaned() -> None:
    source = b"\xef\xbb\xbf# comment\n\n /a/ \r\n! b/../c \nd//e\n #x\n/\n!\n"
    assert read_patterns(source) == ("a", "!c", "d/e", "#x", "/", "!")


@pytest.mark.parametrize(("pattern", "message"), [("[", "syntax error in pattern"), ("!", "illegal exclusion pattern")])
def test_a_pattern_that_can_not_be_read_is_told(pattern: str, message: str) -> None:
    with pytest.raises(DockerfileError, match=message):
        Patterns([pattern])


def test_a_dockerfile_may_have_an_ignore_file_of_its_own() -> None:
    assert ignore_file_names("sub/x.Dockerfile") == ("sub/x.Dockerfile.dockerignore", ".dockerignore")


def test_exceptions_and_all_embracing_patterns_are_known() -> None:
    assert Patterns(["a", "!b"]).has_exceptions
    assert Patterns(["**/*"]).ignores_everything()
    assert not Patterns([".*"]).ignores_everything()


def test_hostile_patterns_take_no_time() -> None:
    path = "/".join(["a" * 100] * 5)
    assert not Patterns(["*a" * 12 + "b"]).ignores(path)
    assert not Patterns(["**/a*" * 8 + "/b"]).ignores(path)


MATCHES = [
    ("abc", "abc", True), ("*", "abc", True), ("*c", "abc", True), ("a*", "ab/c", False), ("a*/b", "a/b", True),
    ("a*/b", "a/c/b", False), ("a*b*c*d*e*/f", "axbxcxdxe/f", True), ("a*b*c*d*e*/f", "axbxcxdxe/xxx/f", False),
    ("a*b?c*x", "abxbbxdbxebxczzx", True), ("a*b?c*x", "abxbbxdbxebxczzy", False),
    ("ab[c]", "abc", True), ("ab[e-g]", "abc", False), ("ab[^c]", "abc", False), ("ab[^e-g]", "abc", True),
    (r"a\*b", "a*b", True), ("a?b", "a☺b", True), ("a[^a]b", "a☺b", True), ("[a-ζ]*", "α", True),
    ("*[a-ζ]", "A", False),
    ("a?b", "a/b", False), ("a*b", "a/b", False), (r"[\]a]", "]", True), (r"[\-x]", "-", True), (r"[x\-]", "z", False),
    ("*x", "xxx", True), ("", "", True), ("", "x", False), ("[z-a]", "z", False),
]  # fmt: skip


@pytest.mark.parametrize(("pattern", "name", "matched"), MATCHES)
def test_wildcards_match_as_in_go(pattern: str, name: str, matched: bool) -> None:
    assert match(pattern, name) is matched


@pytest.mark.parametrize(
    "pattern", ["[]a]", "[-]", "[x-]", "[-x]", "[a-b-c]", "[", "[^", "[^bc", "a[", "\\", "[a", r"[\ "]
)
def test_a_bad_wildcard_is_an_error(pattern: str) -> None:
    with pytest.raises(DockerfileError, match="syntax error in pattern"):
        match(pattern, "a")


def test_a_hostile_wildcard_takes_no_time() -> None:
    assert not match("*a" * 30 + "b", "a" * 250)
    assert not match("*[^b]" * 30 + "c", "a" * 250)
    assert match("*[.-0]*c*d*e", "a.b/cde")


def test_paths_are_cleaned_as_in_go() -> None:
    cases = {"": ".", "a//b/./c/..": "a/b", "//a": "/a", "/..": "/", "../a/..": "..", "a/..": ".", "/": "/"}
    assert {path: clean(path) for path in cases} == cases
    assert (join("/", "a/"), join("", ""), join("a", "../b")) == ("/a", "", "b")


def test_a_path_is_split_where_wildcards_begin() -> None:
    assert split_wildcards("/a/b/*.c/d") == ("/a/b", "*.c/d")
    assert split_wildcards("/*") == ("/", "*")
    assert split_wildcards("/a/b") == ("/a/b", "")
    assert has_wildcards("a[b") and not has_wildcards(r"a\*b")
