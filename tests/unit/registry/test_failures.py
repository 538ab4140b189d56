"""What registries answer, in docker's words."""

import pytest

from tiffin.errors import NotFound
from tiffin.model.reference import parse_reference
from tiffin.registry.failures import Busy, of_pull, refusal


@pytest.mark.parametrize(
    ("status", "body", "words"),
    [
        (404, b'{"errors":[{"code":"MANIFEST_UNKNOWN","message":"gone"}]}', "manifest unknown: gone"),
        (401, b"", "unauthorized: authentication required"),
        (403, b'{"errors":[{"code":"DENIED"}]}', "denied: requested access to the resource is denied"),
        (500, b"oops", "received unexpected HTTP status: 500 Bad"),
        (404, b"<html>", "error parsing HTTP 404 response body: unexpected content: '<html>'"),
        (429, b'{"errors":[{"code":"TOOMANYREQUESTS","message":"slow down"}]}', "toomanyrequests: slow down"),
        (400, b"[" * 100_000, "error parsing HTTP 400 response body"),
    ],
)  # fmt: skip
def test_refusals_are_told(status: int, body: bytes, words: str) -> None:
    assert str(refusal(status, "Bad", body)).startswith(words)


def test_the_challenge_tells_more_than_the_body() -> None:
    error = refusal(401, "", b'{"errors":[{"code":"UNAUTHORIZED"}]}', [("bearer", {"error": "insufficient_scope"})])
    assert str(error) == "denied: requested access to the resource is denied"
    told = of_pull(error, parse_reference("nosuch"))
    assert isinstance(told, NotFound)
    assert str(told) == (
        "pull access denied for nosuch, repository does not exist or may require 'docker login': "
        "denied: requested access to the resource is denied"
    )


def test_a_missing_repository_and_a_missing_tag_are_not_found() -> None:
    reference = parse_reference("r.example/a:1")
    unknown = refusal(404, "", b'{"errors":[{"code":"NAME_UNKNOWN","message":"no such"}]}')
    assert str(of_pull(unknown, reference)) == "repository r.example/a not found: name unknown: no such"
    missing = refusal(404, "", b'{"errors":[{"code":"MANIFEST_UNKNOWN","message":"m"}]}')
    assert str(of_pull(missing, reference)) == "manifest for r.example/a:1 not found: manifest unknown: m"


def test_what_may_pass_is_busy() -> None:
    assert isinstance(refusal(503, "Service Unavailable", b""), Busy)
    assert isinstance(refusal(429, "", b""), Busy)
    assert not isinstance(refusal(404, "", b""), Busy)
