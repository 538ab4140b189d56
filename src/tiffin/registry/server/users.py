"""Who may come in: a file of `name:hash` lines as `htpasswd -B` writes it. Only bcrypt is taken.

A check costs tens of milliseconds on purpose; one that has succeeded is remembered for some minutes, as a keyed hash.
"""

import base64
import binascii
import hmac
import secrets
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from tiffin.errors import Invalid, Unsupported
from tiffin.registry.server.watched import Watched

_PREFIXES = ("$2a$", "$2b$", "$2y$")
_REMEMBERED_SECONDS = 300.0
_MOST_REMEMBERED = 10_000
_LIMIT = 72  # bytes that bcrypt looks at
_AT_ONCE = 2


class Users:
    """The file is read again when it changes. A file with mistakes is refused at the start, ignored later."""

    def __init__(self, path: Path) -> None:
        try:
            import bcrypt
        except ImportError as error:
            raise Unsupported("passwords need bcrypt: pip install 'tiffin[registry]'") from error
        self._check = bcrypt.checkpw
        self._hashes = Watched(path, "the passwords", lambda lines: _hashes(lines, path))
        # for names that are not there: they take as long as wrong passwords
        self._nobody = bcrypt.hashpw(secrets.token_bytes(16), bcrypt.gensalt(10))
        self._key = secrets.token_bytes(32)
        self._remembered: dict[bytes, float] = {}
        self._lock = threading.Lock()
        self.threads = ThreadPoolExecutor(_AT_ONCE, thread_name_prefix="passwords")
        """For `admitted`: guessing must take neither every processor nor the threads of those who are in."""

    def remembered(self, authorization: str) -> str:
        """The user of an Authorization header whose password was right lately; empty for anyone else. Quick."""
        name, _, mark, _ = self._read(authorization)
        return name if name and self._remembered.get(mark, 0.0) > time.monotonic() else ""

    def known(self, name: str) -> bool:
        """Whether the file has this user now."""
        return name in self._hashes.content()

    def admitted(self, authorization: str) -> str:
        """The user of an Authorization header; empty for anyone else. Blocks while a password is checked."""
        name, password, mark, known = self._read(authorization)
        if not name:
            return ""
        right = self._check(password[:_LIMIT], known or self._nobody)
        if not right or known is None:
            return ""
        with self._lock:
            if len(self._remembered) >= _MOST_REMEMBERED:
                self._remembered.clear()
            self._remembered[mark] = time.monotonic() + _REMEMBERED_SECONDS
        return name

    def _read(self, authorization: str) -> tuple[str, bytes, bytes, bytes | None]:
        """Name, password, the mark of both with the hash that is valid now, that hash. An empty name: none of it."""
        scheme, _, encoded = authorization.partition(" ")
        if scheme.lower() != "basic" or len(encoded) > 4096:
            return "", b"", b"", None
        try:
            name, colon, password = base64.b64decode(encoded.strip(), validate=True).decode().partition(":")
        except (binascii.Error, ValueError):
            return "", b"", b"", None
        if not colon or "\0" in name + password:
            return "", b"", b"", None
        known = self._hashes.content().get(name)
        mark = hmac.digest(self._key, b"\0".join((name.encode(), password.encode(), known or b"")), "sha256")
        return name, password.encode(), mark, known


def _hashes(lines: list[str], where: Path) -> dict[str, bytes]:
    """name -> bcrypt hash. Raises Invalid with the line's number."""
    found = {}
    for number, line in enumerate(lines, 1):
        name, colon, value = line.strip().partition(":")
        if not line.strip() or line.startswith("#"):
            continue
        if not colon or not name or not value.startswith(_PREFIXES) or len(value) != 60:
            raise Invalid(f"{where}, line {number}: not NAME:BCRYPT-HASH; make it with htpasswd -B")
        found[name] = value.encode()
    return found
