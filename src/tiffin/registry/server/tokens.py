"""Bearer tokens (distribution's token authentication): who, which repositories, what, until when.

The registry that gives them is the one that takes them: JSON Web Tokens under HMAC-SHA256 (RFC 7515, 7519) with a key
that lies beside the storage. Clients see an opaque text.
"""

import base64
import binascii
import hmac
import json
import os
import secrets
import time
from collections.abc import Iterable, Mapping
from contextlib import suppress
from pathlib import Path

from tiffin.errors import Invalid
from tiffin.registry.server import names
from tiffin.registry.server.refusals import Refusal
from tiffin.registry.server.rights import ACTIONS, Grant, Rights

SERVICE = "tiffin-registry"
SECONDS = 300
_HEADER = {"alg": "HS256", "typ": "JWT"}
_KEY = 32  # bytes
_MOST_SCOPES = 64
_LONGEST = 32 << 10

Scopes = Mapping[str, frozenset[str]]


class Tokens:
    """rights: what users may do, looked at both when a token is given and when it is used."""

    def __init__(self, key: bytes, rights: Rights | None) -> None:
        self._key = key
        self._rights = rights

    def given(self, user: str, wanted: Iterable[str]) -> str:
        """A token for a user (empty: anyone) with as much of the wanted scopes as that one may have."""
        grant = Grant(user, self._rights)
        access = [
            {"type": "repository", "name": name, "actions": sorted(actions & grant.allowed(name))}
            for name, actions in scopes(wanted).items()
        ]
        now = int(time.time())
        claims = {"iss": SERVICE, "aud": SERVICE, "sub": user, "iat": now, "nbf": now - 10, "exp": now + SECONDS}
        claims |= {"jti": secrets.token_hex(8), "access": access}
        signed = f"{_encoded(_HEADER)}.{_encoded(claims)}"
        return f"{signed}.{self._signature(signed)}"

    def read(self, token: str) -> Grant | None:
        """What a token grants; None for one that is not ours, or not valid now."""
        signed, _, signature = token.rpartition(".")
        given, right = signature.encode("utf-8", "replace"), self._signature(signed).encode()
        if len(token) > _LONGEST or not hmac.compare_digest(given, right):
            return None
        claims = json.loads(_decoded(signed.partition(".")[2]))  # nobody else has signed it
        if not claims["nbf"] <= time.time() < claims["exp"]:
            return None
        granted = {item["name"]: frozenset(item["actions"]) for item in claims["access"]}
        return Grant(claims["sub"], self._rights, granted)

    def _signature(self, signed: str) -> str:
        return _base64(hmac.digest(self._key, signed.encode("utf-8", "replace"), "sha256"))


def scopes(wanted: Iterable[str]) -> Scopes:
    """`repository:NAME:ACTIONS` as asked for, several in one text too. What is nothing of ours is left out."""
    found: dict[str, frozenset[str]] = {}
    for text in [word for one in wanted for word in one.split()][:_MOST_SCOPES]:
        kind, _, rest = text.partition(":")
        name, _, actions = rest.rpartition(":")
        if kind != "repository":
            continue
        with suppress(Refusal):
            given = frozenset(actions.split(","))
            found[names.repository(name)] = found.get(name, frozenset()) | (
                ACTIONS if "*" in given else ACTIONS & given
            )
    return found


def key(path: Path) -> bytes:
    """The key in a file, which is made where it is missing. Raises Invalid for one that others may read."""
    with suppress(FileExistsError), open(path, "xb", opener=lambda name, flags: os.open(name, flags, 0o600)) as file:
        file.write(secrets.token_bytes(_KEY))
        file.flush()
        os.fsync(file.fileno())
    found = path.read_bytes()
    if len(found) < _KEY or path.stat().st_mode & 0o077:
        raise Invalid(f"{path}: no key of {_KEY} bytes that its owner alone can read; remove it for a new one")
    return found


def _encoded(value: Mapping[str, object]) -> str:
    return _base64(json.dumps(value, separators=(",", ":")).encode())


def _base64(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def _decoded(text: str) -> bytes:
    try:
        return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))
    except binascii.Error as error:  # signed, so it was well-formed
        raise Invalid(f"a token that can't be read: {error}") from error
