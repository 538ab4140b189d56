"""Lists of referrers, as registries may give them."""

import json
from collections.abc import Iterator
from typing import Any

import pytest

from tiffin.errors import Internal, Invalid
from tiffin.model.descriptor import OCI_INDEX
from tiffin.model.digest import Digest, digest_of
from tiffin.registry import referrers
from tiffin.registry.cancellation import Cancellation
from tiffin.registry.credentials import NOBODY
from tiffin.registry.hosts import Endpoint
from tiffin.registry.repository import Repository
from tiffin.registry.session import Call, Retries, Session
from tiffin.registry.transport import Transport

SUBJECT = Digest("sha256:" + "5" * 64)


class Answer:
    """As much of a transport's answer as lists need."""

    def __init__(self, status: int, body: bytes = b"", **headers: str) -> None:
        self.status, self._body = status, body
        self.headers = {name.replace("_", "-"): value for name, value in headers.items()}

    def body(self, limit: int) -> bytes:
        assert len(self._body) <= limit
        return self._body

    def __enter__(self) -> "Answer":
        return self

    def __exit__(self, *_: object) -> None:
        pass


def repository(monkeypatch: pytest.MonkeyPatch, answers: Iterator[Answer], asked: list[str]) -> Repository:
    session = Session(Endpoint("http://r", "r"), NOBODY, Transport(), Cancellation(), Retries(1))

    def call(self: Session, one: Call, cancellation: object = None) -> Any:
        asked.append(f"{one.method} {one.url}")
        return next(answers)

    monkeypatch.setattr(Session, "call", call)
    return Repository(session, "a")


def entry(number: int) -> dict[str, Any]:
    return {"mediaType": "x/y", "digest": digest_of(b"%d" % number), "size": 1}


def listing(*numbers: int) -> bytes:
    return json.dumps({"schemaVersion": 2, "manifests": [entry(number) for number in numbers]}).encode()


def test_pages_are_followed(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []
    pages = [Answer(200, listing(1, 2), Link='</v2/a/referrers/x?last=2>; rel="next"'), Answer(200, listing(3))]
    found = referrers.listed(repository(monkeypatch, iter(pages), asked), SUBJECT)
    assert [one.digest for one in found] == [digest_of(b"1"), digest_of(b"2"), digest_of(b"3")]
    assert asked == [f"GET http://r/v2/a/referrers/{SUBJECT}", "GET http://r/v2/a/referrers/x?last=2"]


def test_a_registry_without_the_list_is_asked_for_the_tag(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []
    answers = iter([Answer(404), Answer(200, listing(7), Content_Type=OCI_INDEX)])
    found = referrers.listed(repository(monkeypatch, answers, asked), SUBJECT)
    assert [one.digest for one in found] == [digest_of(b"7")]
    assert asked[1] == f"GET http://r/v2/a/manifests/sha256-{'5' * 64}"


def test_a_list_without_end_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    page = Answer(200, listing(1), Link='</v2/a/referrers/x?again>; rel="next"')
    with pytest.raises(Invalid, match="has more than"):
        referrers.listed(repository(monkeypatch, iter(lambda: page, None), []), SUBJECT)


def test_a_list_that_goes_on_elsewhere_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    page = Answer(200, listing(1), Link='<http://evil/v2/a>; rel="next"')
    with pytest.raises(Internal, match="goes on at another host"):
        referrers.listed(repository(monkeypatch, iter([page]), []), SUBJECT)


@pytest.mark.parametrize("body", [b"[]", b"no", b'{"manifests": 1}', b'{"manifests": [1]}', b'{"manifests": [{}]}'])
def test_what_is_no_list_is_refused(monkeypatch: pytest.MonkeyPatch, body: bytes) -> None:
    with pytest.raises(Invalid):
        referrers.listed(repository(monkeypatch, iter([Answer(200, body)]), []), SUBJECT)
