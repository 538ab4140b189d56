"""Challenges as registries write them, and who gets credentials."""

from email.message import Message
from typing import Any, cast

import pytest

from tiffin.errors import Internal
from tiffin.registry.authorization import Authorizer, challenges
from tiffin.registry.cancellation import Cancellation
from tiffin.registry.credentials import Credentials
from tiffin.registry.transport import Answer, Transport


class Headers:
    def __init__(self, *values: str) -> None:
        self.headers = Message()
        for value in values:
            self.headers["WWW-Authenticate"] = value


def read(*values: str) -> list[tuple[str, dict[str, str]]]:
    return challenges(cast(Answer, Headers(*values)))


@pytest.mark.parametrize(
    ("header", "expected"),
    [
        ('Basic realm="x"', [("basic", {"realm": "x"})]),
        ("Basic", [("basic", {})]),
        (
            'Bearer realm="https://auth.example/token",service="r",scope="repository:a/b:pull,push"',
            [("bearer", {"realm": "https://auth.example/token", "service": "r", "scope": "repository:a/b:pull,push"})],
        ),
        (
            'Bearer realm="https://a/t", error="insufficient_scope", Basic realm="say \\"x\\""',
            [("bearer", {"realm": "https://a/t", "error": "insufficient_scope"}), ("basic", {"realm": 'say "x"'})],
        ),
        ("bearer realm=plain,service=s", [("bearer", {"realm": "plain", "service": "s"})]),
        ("", []),
        (",,,=", []),
    ],
)
def test_challenges_are_read(header: str, expected: list[Any]) -> None:
    assert read(header) == expected


def test_several_headers_are_read_in_order() -> None:
    assert [scheme for scheme, _ in read("Basic realm=a", "Bearer realm=b")] == ["basic", "bearer"]


@pytest.mark.parametrize(
    "realm", ["http://auth.example/token", "ftp://x/", "", "https://user@x/", "https://[", "token"]
)
def test_credentials_never_leave_tls_for_a_token(realm: str) -> None:
    authorizer = Authorizer("https://registry.example", Credentials("user", "secret"), Transport(), verify=True)
    with pytest.raises(Internal):
        authorizer.fetch({"realm": realm}, (), Cancellation())
