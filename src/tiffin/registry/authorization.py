"""Answers to `WWW-Authenticate`: basic, or a bearer token from the server that the registry names.

Credentials belong to one registry. They go to its own origin, and to the token server that this origin names (never
one named by the target of a redirect), and that one only over TLS where the registry itself is spoken to over TLS.
"""

import io
import json
import re
import threading
import time
from collections.abc import Iterable
from urllib.parse import urlencode, urlsplit

from tiffin.errors import Internal
from tiffin.registry.cancellation import Cancellation
from tiffin.registry.credentials import Credentials
from tiffin.registry.failures import refusal
from tiffin.registry.transport import Answer, Transport

_MAX_TOKEN = 1 << 20
_LEAST_SECONDS = 60
_CLIENT = "docker"
_SCHEME = re.compile(r"\s*,?\s*([A-Za-z][A-Za-z0-9-]*)(?:\s+|$)")
_PARAMETER = re.compile(r'\s*,?\s*([A-Za-z0-9_-]+)\s*=\s*(?:"((?:[^"\\]|\\.)*)"|([^\s,"]+))')

Challenge = tuple[str, dict[str, str]]


def challenges(answer: Answer) -> list[Challenge]:
    """(scheme in lower case, parameters) of every challenge."""
    found: list[Challenge] = []
    for header in answer.headers.get_all("WWW-Authenticate") or []:
        position = 0
        while (scheme := _SCHEME.match(header, position)) is not None:
            position = scheme.end()
            parameters: dict[str, str] = {}
            while (parameter := _PARAMETER.match(header, position)) is not None:
                value = re.sub(r"\\(.)", r"\1", parameter[2]) if parameter[2] is not None else parameter[3]
                parameters.setdefault(parameter[1].lower(), value)
                position = parameter.end()
            found.append((scheme[1].lower(), parameters))
    return found


class NoCredentials(Internal):
    """The registry asks for what nobody gave (docker's words)."""

    def __init__(self) -> None:
        super().__init__("no basic auth credentials")


class Authorizer:
    """Authorization headers for one registry and one user. Tokens are kept by scope until they expire."""

    def __init__(self, origin: str, credentials: Credentials, transport: Transport, *, verify: bool) -> None:
        self._origin = origin
        self._credentials = credentials
        self._transport = transport
        self._verify = verify
        self._lock = threading.Lock()
        self._challenges: list[Challenge] = []
        self._tokens: dict[tuple[str, ...], tuple[str, float]] = {}
        self.identity_token = credentials.identity_token

    def header(self, scopes: tuple[str, ...], cancellation: Cancellation) -> str:
        """The header's value as far as it is known what the registry wants; empty before its first challenge."""
        if self._credentials.registry_token:
            return f"Bearer {self._credentials.registry_token}"
        for scheme, parameters in self._challenges:
            if scheme == "bearer":
                return f"Bearer {self._token(parameters, scopes, cancellation)}"
            if scheme == "basic":
                if not self._credentials.username:
                    raise NoCredentials
                return self._credentials.basic()
        return ""

    def challenged(self, given: list[Challenge], scopes: tuple[str, ...]) -> bool:
        """Learn from a 401; whether another attempt makes sense."""
        with self._lock:
            known = sorted(
                (item for item in given if item[0] in ("bearer", "basic")), key=lambda item: item[0] != "bearer"
            )
            # a bearer token that was refused: a new one helps only if this one had grown old
            fresh = known != self._challenges
            stale = self._tokens.pop(scopes, None) is not None and not fresh
            self._challenges = known
            return bool(known) and (fresh or stale)

    def _token(self, parameters: dict[str, str], scopes: tuple[str, ...], cancellation: Cancellation) -> str:
        with self._lock:
            token, until = self._tokens.get(scopes, ("", 0.0))
            if token and time.monotonic() < until:
                return token
        token, seconds = self.fetch(parameters, scopes, cancellation)
        with self._lock:
            self._tokens[scopes] = (token, time.monotonic() + max(seconds, _LEAST_SECONDS) * 0.9)
        return token

    def fetch(
        self, parameters: dict[str, str], scopes: Iterable[str], cancellation: Cancellation, *, offline: bool = False
    ) -> tuple[str, float]:
        """A token and its life in seconds. offline: ask for an identity token too."""
        realm = parameters.get("realm", "")
        self._check_realm(realm)
        query: list[tuple[str, str]] = []
        headers = {"Accept": "application/json"}
        if parameters.get("service"):
            query.append(("service", parameters["service"]))
        body = None
        if self.identity_token:
            form = [*query, ("client_id", _CLIENT), ("grant_type", "refresh_token")]
            form += [("refresh_token", self.identity_token), ("scope", " ".join(scopes))]
            method, url, body = "POST", realm, urlencode(form).encode()
            headers |= {"Content-Type": "application/x-www-form-urlencoded", "Content-Length": str(len(body))}
        else:
            query += [("scope", scope) for scope in scopes]
            if self._credentials.username:
                query.append(("account", self._credentials.username))
                headers["Authorization"] = self._credentials.basic()
            if offline:
                query += [("client_id", _CLIENT), ("offline_token", "true")]
            method, url = "GET", f"{realm}{'&' if '?' in realm else '?'}{urlencode(query)}"
        with self._transport.exchange(
            method,
            url,
            headers=headers,
            cancellation=cancellation,
            body=None if body is None else lambda: io.BytesIO(body),
            verify=self._verify,
        ) as answer:
            raw = answer.body(_MAX_TOKEN)
            if answer.status >= 300:  # redirects included: the credentials were for this server
                raise refusal(answer.status, answer.reason, raw)
        return self._read(raw, realm)

    def _check_realm(self, realm: str) -> None:
        try:
            parts = urlsplit(realm)
        except ValueError:
            parts = urlsplit("")
        if parts.scheme not in ("https", "http") or not parts.hostname or parts.username is not None:
            raise Internal(f"the registry {self._origin} names no usable token server: {realm!r}")
        if parts.scheme == "http" and self._origin.startswith("https:") and self._credentials:
            raise Internal(f"the registry {self._origin} wants credentials sent without TLS to {realm}: refused")

    def _read(self, raw: bytes, realm: str) -> tuple[str, float]:
        try:
            document = json.loads(raw)
            token = str(document.get("token") or document.get("access_token") or "")
            seconds = float(document.get("expires_in") or _LEAST_SECONDS)
            if document.get("refresh_token"):
                self.identity_token = str(document["refresh_token"])
        except (ValueError, AttributeError, TypeError, RecursionError) as error:
            raise Internal(f"unable to decode token response of {realm}: {error}") from error
        if not token or not token.isascii() or not token.isprintable():
            raise Internal(f"authorization server {realm} did not include a token in the response")
        return token, seconds
