import time
from pathlib import Path

import pytest

from tiffin.errors import Invalid
from tiffin.registry.server import tokens
from tiffin.registry.server.rights import ACTIONS, Grant, Rights
from tiffin.registry.server.tokens import Tokens, scopes

FILE = """
# who       repositories  actions
ann,bob     team/**       pull,push
ann         **            pull,delete   # everywhere
@users      public/*      pull
@anyone     public/a      pull
"""


@pytest.fixture
def rights(tmp_path: Path) -> Rights:
    (tmp_path / "access").write_text(FILE)
    return Rights(tmp_path / "access")


@pytest.mark.parametrize(
    ("user", "name", "actions"),
    [
        ("ann", "team/app", ACTIONS),
        ("bob", "team/app/deep", {"pull", "push"}),
        ("bob", "team", set()),
        ("bob", "teams/app", set()),
        ("ann", "x", {"pull", "delete"}),
        ("eve", "public/b", {"pull"}),
        ("eve", "public/b/c", set()),
        ("eve", "notpublic/b", set()),
        ("", "public/a", {"pull"}),
        ("", "public/b", set()),
        ("@users", "team/app", set()),
    ],
)
def test_rules_add_up(rights: Rights, user: str, name: str, actions: set[str]) -> None:
    assert rights.allowed(user, name) == actions


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("ann team/**", "line 1: not WHO REPOSITORIES ACTIONS"),
        ("ann ** pull,write", "'write' is no action"),
        ("@admins ** pull", "'@admins': give users' names"),
        ("ann,,bob ** pull", "'': give users' names"),
    ],
)
def test_mistakes_are_told(tmp_path: Path, line: str, words: str) -> None:
    (tmp_path / "access").write_text(line)
    with pytest.raises(Invalid, match=words.replace("*", r"\*")):
        Rights(tmp_path / "access")


def test_the_last_good_file_holds(rights: Rights, tmp_path: Path) -> None:
    (tmp_path / "access").write_text("nonsense")
    assert rights.allowed("bob", "team/app") == {"pull", "push"}
    (tmp_path / "access").write_text("bob ** delete")
    assert rights.allowed("bob", "team/app") == {"delete"}
    (tmp_path / "access").unlink()
    assert rights.allowed("bob", "team/app") == {"delete"}


def test_scopes_are_read_as_clients_write_them() -> None:
    assert scopes(["repository:a/b:pull,push repository:c:*", "repository:a/b:delete", "registry:catalog:*"]) == {
        "a/b": ACTIONS,
        "c": ACTIONS,
    }
    assert scopes(["repository:UPPER:pull", "repository", ":::", "repository:a:fly", "", "repository:../a:pull"]) == {
        "a": frozenset()
    }


def test_a_token_is_for_what_was_asked_and_allowed(rights: Rights, tmp_path: Path) -> None:
    made = Tokens(tokens.key(tmp_path / "key"), rights)
    text = made.given("bob", ["repository:team/app:pull,push,delete", "repository:x:pull"])
    found = made.read(text)
    assert found is not None and found.user == "bob"
    assert (found.allowed("team/app"), found.allowed("x")) == ({"pull", "push"}, frozenset())
    assert not found.may("pull", "team/other"), "it was not asked for"
    (tmp_path / "access").write_text("bob ** pull")
    assert found.allowed("team/app") == {"pull"}, "a right that is taken away is gone at once"
    again = Tokens(tokens.key(tmp_path / "key"), rights)
    assert again.read(text) is not None, "tokens outlive the process"


def test_what_was_not_signed_here_is_no_token(rights: Rights, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made = Tokens(tokens.key(tmp_path / "key"), rights)
    text = made.given("bob", ["repository:team/app:pull"])
    other = Tokens(tokens.key(tmp_path / "other"), rights).given("bob", ["repository:team/app:pull"])
    header, claims, signature = text.split(".")
    for wrong in (
        other,
        f"{header}.{claims}.",
        f"{header}.{claims[:-2]}.{signature}",
        "",
        "a.b.c",
        "x" * 40_000,
        "\udcff.\udcff",
    ):
        assert made.read(wrong) is None, wrong
    later = time.time() + tokens.SECONDS
    monkeypatch.setattr(time, "time", lambda: later)
    assert made.read(text) is None


def test_a_key_that_others_can_read_is_refused(tmp_path: Path) -> None:
    tokens.key(tmp_path / "key")
    (tmp_path / "key").chmod(0o640)
    with pytest.raises(Invalid, match="its owner alone"):
        tokens.key(tmp_path / "key")


def test_without_a_file_of_rights_a_password_is_all_rights() -> None:
    assert Grant("ann").allowed("x") == ACTIONS
    assert Grant("").allowed("x") == frozenset()
