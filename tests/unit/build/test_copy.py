import pytest

from tiffin.build import DockerfileError
from tiffin.build.steps import CopyAction, CopyFiles, GitSource, HttpSource, InlineSource, Merge

from .planning import every, labels, only, plan

SUM = "sha256:" + "0" * 64


def copy(line: str, before: str = "WORKDIR /w", **options: object) -> CopyFiles:
    found: CopyFiles = only(plan(f"FROM base\n{before}\n{line}", **options), CopyFiles)  # type: ignore[arg-type]
    return found


def action(line: str, **options: object) -> CopyAction:
    (found,) = copy(line, **options).actions  # type: ignore[arg-type]
    return found


@pytest.mark.parametrize(
    ("written", "destination"),
    [
        ("/a", "/a"), ("/a/", "/a/"), ("a", "/w/a"), ("a/", "/w/a/"), (".", "/w/"), ("./", "/w/"), ("..", "/"),
        ("../x/", "/x/"), ("a/.", "/w/a/."), ("/", "/"), ("$D", "/w/d"),
    ],
)  # fmt: skip
def test_a_destination_is_relative_to_the_working_directory(written: str, destination: str) -> None:
    assert action(f"COPY x {written}", before="WORKDIR /w\nENV D=d").destination == destination


@pytest.mark.parametrize(
    ("written", "source"),
    [("a", "/a"), ("./a/", "/a"), ("../../a", "/a"), ("/a", "/a"), (".", "/"), ("a*/?", "/a*/?"), ("$D/x", "/d/x")],
)
def test_a_source_never_leaves_its_root(written: str, source: str) -> None:
    assert action(f"COPY {written} /", before="ENV D=d").source == source


def test_flags_say_owner_mode_and_what_is_left_out() -> None:
    found = action("COPY --chown=$U:1 --chmod=$M --exclude=*.o --exclude=$U a /b", before="ENV U=u M=0644")
    assert (found.owner, found.mode, found.exclude) == ("u:1", 0o644, ("*.o", "$U"))
    assert action("COPY --chmod=u=rwX,go-w a /b").mode == "u=rwX,go-w"


def test_parents_are_kept_below_the_pivot() -> None:
    found = action("COPY --parents a/./b/c /x/")
    assert (found.source, found.include, found.required) == ("/a", ("b/c",), ("/a/b/c",))
    found = action("COPY --parents a/*/c /x/")
    assert (found.source, found.include, found.required) == ("/", ("a/*/c",), ())


def test_only_add_unpacks() -> None:
    assert (action("COPY a.tar /").unpack, action("ADD a.tar /").unpack) == (False, True)
    assert (action("ADD --unpack=false a.tar /").unpack, action("ADD --unpack http://h/a.tar /").unpack) == (
        False,
        True,
    )


def test_heredocs_are_files_with_variables_filled_in() -> None:
    found = plan("FROM base\nENV A=1\nCOPY <<x <<'y' /d/\n\"$A\" '$A' \\$A\nx\n$A\ny")
    first, second = every(found, InlineSource)
    assert (first.path, first.content) == ("x", "\"1\" '1' $A\n")
    assert (second.path, second.content) == ("y", "$A\n")
    assert [item.source for item in only(found, CopyFiles).actions] == ["x", "y"]


def test_a_link_is_a_layer_of_its_own() -> None:
    found = plan("FROM base\nRUN x\nCOPY --link a /b")
    step, merge = only(found, CopyFiles), only(found, Merge)
    assert step.inputs[0] is None
    assert merge.inputs[1] == next(digest for digest, item in found.steps.items() if item is step)
    assert labels(found)[-2:] == ["[3/3] COPY --link a /b", "[3/3] LINK COPY --link a /b"]
    assert every(plan("FROM base\nCOPY --link a /b", merge=False), Merge) == []


def test_a_url_is_fetched_under_its_name() -> None:
    found = plan(f"FROM base\nADD --checksum={SUM} https://h/a/b%20c.tgz?x=1 /d/")
    source = only(found, HttpSource)
    assert (source.url, source.filename, source.checksum) == ("https://h/a/b%20c.tgz?x=1", "b c.tgz", SUM)
    assert only(found, CopyFiles).actions[0].source == "b c.tgz"
    assert only(plan("FROM base\nADD https://h/ /d"), HttpSource).filename == "__unnamed__"


GIT = [
    ("https://h/r.git", GitSource(remote="https://h/r.git")),
    ("https://h/r.git#v1:sub/../d", GitSource(remote="https://h/r.git", ref="v1", subdirectory="d")),
    ("git@h:o/r.git#main", GitSource(remote="git@h:o/r.git", ref="main")),
    ("ssh://git@h/r", GitSource(remote="ssh://git@h/r")),
    ("git://h/r?branch=b&subdir=s", GitSource(remote="git://h/r", ref="refs/heads/b", subdirectory="s")),
    ("https://h/r.git?tag=t&keep-git-dir=true", GitSource(
        remote="https://h/r.git", ref="refs/tags/t", keep_git_dir=True)),
    ("https://h/r.git?checksum=abc&submodules=false", GitSource(
        remote="https://h/r.git", checksum="abc", submodules=False)),
]  # fmt: skip


@pytest.mark.parametrize(("url", "source"), GIT)
def test_a_repository_is_known_by_its_address(url: str, source: GitSource) -> None:
    found = only(plan(f"FROM base\nADD {url} /d"), GitSource)
    assert {name: getattr(found, name) for name in ("remote", "ref", "subdirectory", "checksum", "submodules")} == {
        name: getattr(source, name) for name in ("remote", "ref", "subdirectory", "checksum", "submodules")
    }
    assert found.keep_git_dir == source.keep_git_dir


def test_github_without_a_scheme_is_a_path() -> None:
    assert action("ADD github.com/o/r /d").source == "/github.com/o/r"


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("COPY https://h/x /", "source can't be a URL for COPY"),
        ("COPY https://h/x.git /", "source can't be a git ref for COPY"),
        ("ADD --checksum=sha256:x a /", "checksum requires HTTP(S) or Git sources"),
        (f"ADD --checksum={SUM} http://h/a http://h/b /", "checksum can't be specified for multiple sources"),
        ("ADD --checksum=md5:x http://h/a /", "invalid checksum digest format"),
        ("ADD https://h/r.git?x=1 /", 'unexpected query "x"'),
        ("ADD https://h/r.git?ref= /", 'query "ref" has no value'),
        ("ADD https://h/r.git?tag=a&branch=b /", "branch conflicts with tag"),
        ("ADD https://h/r.git?ref=a#b /", 'ref conflicts: "b" vs "a"'),
        ("ADD --keep-git-dir https://h/r.git?keep-git-dir=false /", "inconsistent keep-git-dir configuration"),
        ("COPY --chmod=999 a /", "invalid chmod parameter: '999'. it should be octal string and between 0 and 07777"),
        ("COPY --chmod=17777 a /", "it should be octal string and between 0 and 07777"),
        ("COPY --chmod=rwx a /", "invalid chmod parameter: 'rwx'"),
    ],
)
def test_what_can_not_be_copied_is_told(line: str, message: str) -> None:
    with pytest.raises(DockerfileError) as caught:
        copy(line)
    assert message in str(caught.value)
    assert caught.value.spans[0].start == 3
