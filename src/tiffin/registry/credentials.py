"""Credentials as clients hand them over: `X-Registry-Auth`, `X-Registry-Config`, the body of POST /auth."""

import base64
import binascii
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

_MAX = 64 << 10  # bytes of a header that are looked at


@dataclass(frozen=True, slots=True)
class Credentials:
    """identity_token is what a token server exchanges for access; registry_token is a bearer token as it stands."""

    username: str = ""
    password: str = ""
    identity_token: str = ""
    registry_token: str = ""

    def __bool__(self) -> bool:
        return bool(self.username or self.identity_token or self.registry_token)

    def __repr__(self) -> str:  # they must not end up in a log
        return f"Credentials({self.username!r}, …)"

    def basic(self) -> str:
        """The value of an Authorization header."""
        return "Basic " + base64.b64encode(f"{self.username}:{self.password}".encode()).decode()


NOBODY = Credentials()


def from_document(document: Mapping[str, Any]) -> Credentials:
    """docker's AuthConfig. Keys are matched without regard to case, as Go does."""
    given = {str(key).lower(): value for key, value in document.items() if isinstance(value, str)}
    username, password = given.get("username", ""), given.get("password", "")
    if not username and given.get("auth"):
        try:
            username, _, password = base64.b64decode(given["auth"]).decode().partition(":")
        except (binascii.Error, ValueError):
            username, password = "", ""
    return Credentials(username, password, given.get("identitytoken", ""), given.get("registrytoken", ""))


def _decoded(header: str) -> dict[str, Any]:
    """A base64url JSON object; a malformed one is empty, as docker ignores it."""
    text = header.strip().replace("+", "-").replace("/", "_").rstrip("=")
    if not text or len(text) > _MAX:
        return {}
    try:
        value = json.loads(base64.urlsafe_b64decode(text + "=" * (-len(text) % 4)))
    except (binascii.Error, ValueError, RecursionError):
        return {}
    return value if isinstance(value, dict) else {}


def from_auth_header(header: str) -> Credentials:
    """`X-Registry-Auth`."""
    return from_document(_decoded(header))


def from_config_header(header: str) -> dict[str, Credentials]:
    """`X-Registry-Config` of a build: credentials by registry, the hub's key as `docker.io`."""
    found = {}
    for key, value in _decoded(header).items():
        if isinstance(value, dict):
            host = str(key).removeprefix("https://").removeprefix("http://").partition("/")[0]
            found["docker.io" if host in ("index.docker.io", "registry-1.docker.io") else host] = from_document(value)
    return found
