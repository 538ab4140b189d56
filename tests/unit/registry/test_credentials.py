"""Headers with credentials: read where they make sense, ignored where they don't."""

import base64
import json

import pytest

from tiffin.registry.credentials import NOBODY, Credentials, from_auth_header, from_config_header


def encoded(document: object) -> str:
    return base64.urlsafe_b64encode(json.dumps(document).encode()).decode()


def test_names_and_passwords_are_read_with_and_without_padding() -> None:
    header = encoded({"username": "ü", "password": "p~?>", "serveraddress": "x"})
    assert from_auth_header(header) == from_auth_header(header.rstrip("=")) == Credentials("ü", "p~?>")
    assert from_auth_header(encoded({"auth": base64.b64encode(b"u:p:q").decode()})) == Credentials("u", "p:q")
    assert from_auth_header(encoded({"IdentityToken": "t"})).identity_token == "t"


@pytest.mark.parametrize("header", ["", "%", "x", encoded([]), encoded({"username": 7}), "A" * 100_000, "bm90IGpzb24"])
def test_what_can_not_be_read_is_nobody(header: str) -> None:
    assert from_auth_header(header) == NOBODY
    assert not from_auth_header(header)


def test_credentials_of_a_build_are_read_by_registry() -> None:
    given = {"https://index.docker.io/v1/": {"username": "a", "password": "b"}, "r:5000": {"username": "c"}, "x": 1}
    assert from_config_header(encoded(given)) == {"docker.io": Credentials("a", "b"), "r:5000": Credentials("c")}


def test_a_password_is_not_shown() -> None:
    assert "secret" not in repr(Credentials("user", "secret", "secret", "secret"))
