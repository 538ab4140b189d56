"""Requests to one endpoint: authorized, redirected, repeated where that helps."""

import random
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from email.utils import parsedate_to_datetime
from urllib.parse import urljoin, urlsplit

from tiffin.errors import TiffinError
from tiffin.registry.authorization import Authorizer, NoCredentials, challenges
from tiffin.registry.cancellation import Cancellation
from tiffin.registry.credentials import Credentials
from tiffin.registry.failures import Busy, Refused, Unreachable, refusal
from tiffin.registry.hosts import Endpoint
from tiffin.registry.transport import Answer, Body, Transport, encoded, verb

_REDIRECTS = (301, 302, 303, 307, 308)
_MAX_REDIRECTS = 10
_MAX_ERROR = 64 << 10
_LONGEST_WAIT = 60.0


@dataclass(frozen=True, slots=True)
class Retries:
    """attempts in all; pause: seconds before the second, doubled before each further one."""

    attempts: int = 5
    pause: float = 1.0

    def delay(self, attempt: int) -> float:
        # half of it random, so that those who failed together don't come back together
        return min(_LONGEST_WAIT, self.pause * 2.0**attempt) * (0.5 + random.random() / 2)


@dataclass(frozen=True, slots=True)
class Call:
    """One request. scopes: what a token must allow. retry: whether it may be sent twice."""

    method: str
    url: str
    scopes: tuple[str, ...]
    headers: Mapping[str, str] = field(default_factory=dict)
    body: Callable[[], Body] | None = None
    retry: bool = True
    accept: tuple[int, ...] = ()
    """Statuses above 299 that are no error."""


class Session:
    """One endpoint, one user. Used by several threads."""

    def __init__(
        self,
        endpoint: Endpoint,
        credentials: Credentials,
        transport: Transport,
        cancellation: Cancellation,
        retries: Retries,
    ) -> None:
        self.endpoint = endpoint
        self.cancellation = cancellation
        self.retries = retries
        self.transport = transport
        self.authorizer = Authorizer(endpoint.url, credentials, transport, verify=endpoint.verify)

    def ping(self) -> Answer:
        """`GET /v2/`: learns what the registry wants of its users. Raises Unreachable. The answer is closed."""
        url = f"{self.endpoint.url}/v2/"
        with self._exchange(Call("GET", url, ()), url, {}) as answer:
            if answer.status == 401:
                self.authorizer.challenged(challenges(answer), ())
        return answer

    def call(self, call: Call, cancellation: Cancellation | None = None) -> Answer:
        """The answer, below 300 or accepted. Raises Refused, Unreachable, Cancelled."""
        attempt = 0
        while True:
            try:
                return self._attempt(call, cancellation)
            except (Unreachable, Busy) as error:
                attempt += 1
                asked = error.wait if isinstance(error, Busy) else None
                wait = self.retries.delay(attempt - 1) if asked is None else asked
                if not call.retry or attempt >= self.retries.attempts or wait > _LONGEST_WAIT or _hopeless(error):
                    raise
                (cancellation or self.cancellation).wait(wait)

    def _attempt(self, call: Call, cancellation: Cancellation | None) -> Answer:
        answer = self._authorized(call, cancellation)
        if answer.status < 300 or answer.status in call.accept:
            return answer
        with answer:
            foreign = not same_origin(answer.url, self.endpoint.url)
            raw = b"" if call.method == "HEAD" or foreign else _beginning(answer)
            error = refusal(answer.status, answer.reason, raw, [] if foreign else challenges(answer))
            error.wait = _retry_after(answer)
        raise error

    def _authorized(self, call: Call, cancellation: Cancellation | None) -> Answer:
        for _ in range(3):
            answer = self._redirected(call, cancellation)
            own = same_origin(answer.url, self.endpoint.url)
            # whoever is reached by a redirect gets no credentials, however nicely it asks
            if answer.status != 401 or not own:
                return answer
            if not self.authorizer.challenged(challenges(answer), call.scopes):
                return answer
            answer.close()
        return answer

    def _redirected(self, call: Call, cancellation: Cancellation | None) -> Answer:
        url = call.url
        for _ in range(_MAX_REDIRECTS):
            headers = dict(call.headers)
            if same_origin(url, self.endpoint.url):
                try:
                    value = self.authorizer.header(call.scopes, cancellation or self.cancellation)
                except (NoCredentials, Refused) as error:
                    raise Unauthorized(f'{verb(call.method)} "{url}": {error}', error) from error
                if value:
                    headers["Authorization"] = value
            answer = self._exchange(call, url, headers, cancellation)
            if answer.status not in _REDIRECTS or call.method not in ("GET", "HEAD"):
                return answer
            answer.close()
            target = _target(call.method, url, answer.headers.get("Location") or "")
            if urlsplit(target).scheme == "http" and self.endpoint.url.startswith("https:") and self.endpoint.verify:
                raise Unreachable(f'{verb(call.method)} "{url}": redirected to {target}, which has no TLS: refused')
            url = target
        raise Unreachable(f'{verb(call.method)} "{call.url}": stopped after {_MAX_REDIRECTS} redirects')

    def _exchange(
        self, call: Call, url: str, headers: Mapping[str, str], cancellation: Cancellation | None = None
    ) -> Answer:
        return self.transport.exchange(
            call.method,
            url,
            headers=headers,
            cancellation=cancellation or self.cancellation,
            body=call.body,
            verify=self.endpoint.verify,
        )


class Unauthorized(Unreachable):
    """No way to authorize: another attempt is of no use. `why` is the reason without the request."""

    def __init__(self, text: str, why: TiffinError) -> None:
        super().__init__(text)
        self.why = why


def _hopeless(error: TiffinError) -> bool:
    """What is the same a second later: names, certificates, a closed port."""
    text = str(error)
    final = ("x509:", "tls:", "lookup ", "connection refused", "network is unreachable", "no TLS", "redirects")
    return isinstance(error, Unauthorized) or any(word in text for word in final)


def _target(method: str, url: str, location: str) -> str:
    try:
        target = urljoin(url, encoded(location, "latin-1"))  # http.client reads headers so
        _ = urlsplit(target).port
    except ValueError as error:
        raise Unreachable(f'{verb(method)} "{url}": redirects to {location[:200]!r}: {error}') from error
    return target


def same_origin(url: str, other: str) -> bool:
    """Scheme, host and port agree."""
    mine, theirs = urlsplit(url), urlsplit(other)
    default = {"https": 443, "http": 80}
    return (mine.scheme, mine.hostname, mine.port or default.get(mine.scheme)) == (
        theirs.scheme,
        theirs.hostname,
        theirs.port or default.get(theirs.scheme),
    )


def _beginning(answer: Answer) -> bytes:
    parts, size = [], 0
    while size < _MAX_ERROR and (data := answer.read(_MAX_ERROR - size)):
        parts.append(data)
        size += len(data)
    return b"".join(parts)


def _retry_after(answer: Answer) -> float | None:
    """Seconds (RFC 9110, 10.2.3: a number or a date)."""
    text = (answer.headers.get("Retry-After") or "").strip()
    if text.isdecimal():
        return float(min(int(text[:10]), 1 << 31))
    try:
        moment = parsedate_to_datetime(text) if text else None
    except ValueError:
        return None
    if moment is None:
        return None
    from datetime import UTC, datetime

    try:
        return max(0.0, (moment.astimezone(UTC) - datetime.now(UTC)).total_seconds())
    except OverflowError:  # a day in the first year, or in the last
        return None
