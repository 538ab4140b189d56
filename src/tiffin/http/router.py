"""Paths and methods to handlers, with the API's versions.

    @route("GET", "/images/{name:.*}/json")
    async def inspect(request: Request) -> Response: ...

`{id}` takes one segment, `{name:.*}` whatever the expression says, slashes and colons included. A path without
parameters wins over one with them, then the longer literal text wins. `Router` collects a module's marked functions.
"""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass
from types import ModuleType
from typing import TypeVar

from tiffin.errors import Invalid
from tiffin.http.errors import PageNotFound
from tiffin.http.request import Request, Version
from tiffin.http.response import Response

MAXIMUM: Version = (1, 51)
MINIMUM: Version = (1, 24)

Handler = Callable[[Request], Awaitable[Response | None]]
H = TypeVar("H", bound=Handler)

_VERSIONED = re.compile(r"/v([0-9.]+)(/.*)")
_PARAMETER = re.compile(r"\{(\w+)(?::([^{}]+))?\}")


@dataclass(frozen=True, slots=True)
class Route:
    """One method and path, and who answers."""

    method: str
    path: str
    handler: Handler
    since: Version = MINIMUM
    cancel: bool = False
    """Whether the handler is cancelled when the client goes away before it has answered. Streams always are."""


def version(text: str) -> Version:
    """`1.44` as numbers. Raises ValueError."""
    major, _, minor = text.partition(".")
    return int(major), int(minor or "0")


def spelled(number: Version) -> str:
    """Numbers as `1.44`."""
    return f"{number[0]}.{number[1]}"


def route(method: str, path: str, *, since: str = "1.24", cancel: bool | None = None) -> Callable[[H], H]:
    """Mark a handler; a handler may carry several marks. `since` hides the route from older clients.

    Half-done work is worse than unwanted work, so only GET and HEAD are cancelled by a client that goes away, unless
    `cancel` says otherwise.
    """

    def mark(handler: H) -> H:
        routes = handler.__dict__.setdefault("routes", [])
        gone = method in ("GET", "HEAD") if cancel is None else cancel
        routes.append(Route(method, path, handler, version(since), gone))
        return handler

    return mark


class Router:
    """The table of routes. `later` gives the modules that are imported when somebody asks for what no other has."""

    def __init__(self, modules: Iterable[ModuleType] = (), later: Callable[[], Iterable[ModuleType]] = tuple) -> None:
        self._exact: dict[tuple[str, str], Route] = {}
        self._patterns: dict[tuple[str, str], list[tuple[int, re.Pattern[str], Route]]] = {}
        self._later: Callable[[], Iterable[ModuleType]] | None = later
        self._collect(modules)

    def _collect(self, modules: Iterable[ModuleType]) -> None:
        for module in modules:
            for value in vars(module).values():
                # imported handlers belong to the module that defines them
                if getattr(value, "__module__", None) == module.__name__:
                    for one in getattr(value, "routes", ()):
                        self.add(one)

    def add(self, one: Route) -> None:
        """Put a route into the table. Raises ValueError when method and path are taken."""
        if "{" not in one.path:
            if (one.method, one.path) in self._exact:
                raise ValueError(f"{one.method} {one.path} is declared twice")
            self._exact[one.method, one.path] = one
            return
        first = one.path.split("/", 2)[1]
        literal = len(_PARAMETER.sub("", one.path))
        entries = self._patterns.setdefault((one.method, first), [])
        entries.append((literal, _compile(one.path), one))
        entries.sort(key=lambda entry: -entry[0])

    def routes(self) -> list[Route]:
        """Every route that is known so far."""
        return [*self._exact.values(), *(entry[2] for entries in self._patterns.values() for entry in entries)]

    def resolve(self, method: str, path: str) -> tuple[Route, dict[str, str], str, Version]:
        """The route, the path's parameters, the path without its version, and the version.

        `path` is percent-decoded. Raises PageNotFound, also for a wrong method as dockerd does, and Invalid for a
        version out of range.
        """
        asked = MAXIMUM
        if (match := _VERSIONED.fullmatch(path)) is not None:
            asked = _negotiate(match[1])
            path = match[2]
        found = self._found(method, path, asked)
        if found is None and self._later is not None:
            later, self._later = self._later, None
            self._collect(later())
            found = self._found(method, path, asked)
        if found is None:
            raise PageNotFound
        return *found, path, asked

    def _found(self, method: str, path: str, asked: Version) -> tuple[Route, dict[str, str]] | None:
        exact = self._exact.get((method, path))
        if exact is not None and asked >= exact.since:
            return exact, {}
        first = path.split("/", 2)[1] if path.startswith("/") else ""
        for _, pattern, candidate in self._patterns.get((method, first), ()):
            if asked >= candidate.since and (match := pattern.fullmatch(path)) is not None:
                return candidate, match.groupdict()
        return None


def _negotiate(text: str) -> Version:
    try:
        asked = version(text)
    except ValueError as error:
        raise PageNotFound from error
    if asked < MINIMUM:
        raise Invalid(
            f"client version {text} is too old. Minimum supported API version is {spelled(MINIMUM)}, "
            "please upgrade your client to a newer version"
        )
    if asked > MAXIMUM:
        raise Invalid(f"client version {text} is too new. Maximum supported API version is {spelled(MAXIMUM)}")
    return asked


def _compile(path: str) -> re.Pattern[str]:
    pieces = []
    end = 0
    for match in _PARAMETER.finditer(path):
        pieces += [re.escape(path[end : match.start()]), f"(?P<{match[1]}>{match[2] or '[^/]+'})"]
        end = match.end()
    return re.compile("".join(pieces) + re.escape(path[end:]), re.DOTALL)
