"""What happened: published by use cases, replayed from a bounded buffer, followed by subscribers.

Types and actions are docker's (`container` `start`, `network` `connect`, …). Times are unix nanoseconds, unique and
rising, so that a client which asks again `since` the last event it saw misses none.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import dataclass
from operator import attrgetter
from types import MappingProxyType

REPLAYED = 2048
"""Events kept for `since`."""

BACKLOG = 4096
"""Events a subscriber may lag behind before it is dropped."""

_SECOND = 1_000_000_000
_PREFIXED = frozenset(("health_status", "exec_create", "exec_start", "exec_detach", "exec_die"))
_BY_NAME = ("container", "volume", "network", "plugin", "daemon", "service", "node", "secret", "config")

"""The keys that `matches` knows."""


@dataclass(frozen=True, slots=True)
class Event:
    """One thing that happened to one object (the actor)."""

    type: str
    action: str
    actor: str
    attributes: Mapping[str, str]
    time: int
    """Unix nanoseconds."""
    scope: str = "local"


class Overrun(Exception):
    """A subscriber fell too far behind; it has to ask again with `since`."""


class Subscription:
    """The events of one follower, in order. Iterate, then close."""

    def __init__(self, wanted: Callable[[Event], bool], forget: Callable[[Subscription], None]) -> None:
        self._wanted = wanted
        self._forget = forget
        self._pending: deque[Event] = deque()
        self._arrived = asyncio.Event()
        self._overrun = False

    def offer(self, event: Event) -> None:
        """Queue an event if it is wanted."""
        if self._overrun or not self._wanted(event):
            return
        if len(self._pending) >= BACKLOG:
            self._overrun = True
        else:
            self._pending.append(event)
        self._arrived.set()

    def close(self) -> None:
        """Follow no longer."""
        self._forget(self)

    async def next(self) -> Event:
        """The next event. Raises Overrun when events were lost."""
        while not self._pending:
            if self._overrun:
                raise Overrun(f"more than {BACKLOG} events are waiting for this client")
            self._arrived.clear()
            await self._arrived.wait()
        return self._pending.popleft()


class Events:
    """The bus. For use from the event loop's thread only."""

    def __init__(self) -> None:
        self._past: deque[Event] = deque(maxlen=REPLAYED)
        self._followers: set[Subscription] = set()
        self._last = 0

    @property
    def followers(self) -> int:
        """How many subscriptions are open."""
        return len(self._followers)

    def publish(
        self, type: str, action: str, actor: str, attributes: Mapping[str, str] | None = None, *, at: int | None = None
    ) -> Event:
        """Tell everyone. `at` (unix ns) is when it happened, if that was not just now. Values must be strings."""
        event = Event(type, action, actor, MappingProxyType(dict(attributes or {})), self._stamp(at))
        self._past.append(event)
        for follower in tuple(self._followers):
            follower.offer(event)
        return event

    def _stamp(self, at: int | None) -> int:
        clock = time.time_ns()
        now = clock if at is None else at
        # a clock set back by more than this is believed, as frozen times would mislead longer than a jump does;
        # what happened long before it is told goes behind what was told meanwhile
        if now <= self._last and clock > self._last - _SECOND:
            now = self._last + 1
        self._last = now
        return now

    def past(self, since: int | None, until: int | None, wanted: Callable[[Event], bool]) -> list[Event]:
        """Kept events with since ≤ time ≤ until (unix ns), none if neither is given."""
        if since is None and until is None:
            return []
        return [
            event
            for event in self._past
            if (since is None or event.time >= since) and (until is None or event.time <= until) and wanted(event)
        ]

    def subscribe(self, wanted: Callable[[Event], bool] = lambda event: True) -> Subscription:
        """Follow from now on."""
        subscription = Subscription(wanted, self._followers.discard)
        self._followers.add(subscription)
        return subscription

    async def follow(
        self,
        since: int | None = None,
        until: int | None = None,
        wanted: Callable[[Event], bool] = lambda event: True,
    ) -> AsyncIterator[Event]:
        """Replay, then follow, up to `until`; without one, for ever. Raises Overrun for a reader that is too slow."""
        subscription = self.subscribe(wanted)
        try:
            for event in self.past(since, until, wanted):
                yield event
            while until is None or time.time_ns() < until:
                left = None if until is None else (until - time.time_ns()) / _SECOND
                try:
                    event = await asyncio.wait_for(subscription.next(), left)
                except TimeoutError:
                    continue
                if until is not None and event.time > until:
                    return
                yield event
        finally:
            subscription.close()


def matches(filters: Mapping[str, Sequence[str]]) -> Callable[[Event], bool]:
    """A predicate for docker's event filters: values of one key are alternatives (labels all have to match).

    Keys that nobody knows choose nothing, as in docker.
    Names and IDs match by prefix; so do `health_status` and `exec_*`, whose actions carry a detail after a colon.
    """
    tests: list[Callable[[Event], bool]] = []
    for key, values in filters.items():
        if not values:
            continue
        if key == "event":
            tests.append(_action_test(values))
        elif key == "label":
            tests.append(_label_test(values))
        elif key == "image":
            tests.append(_image_test(frozenset(values)))
        elif key == "type":
            tests.append(_attribute_test(attrgetter("type"), frozenset(values)))
        elif key == "scope":
            tests.append(_attribute_test(attrgetter("scope"), frozenset(values)))
        elif key in _BY_NAME:
            tests.append(_name_test(tuple(values)))
    return lambda event: all(test(event) for test in tests)


def _attribute_test(read: Callable[[Event], str], values: frozenset[str]) -> Callable[[Event], bool]:
    return lambda event: read(event) in values


def _action_test(values: Sequence[str]) -> Callable[[Event], bool]:
    exact = frozenset(values)
    prefixes = tuple(value for value in values if value in _PREFIXED)
    return lambda event: event.action in exact or event.action.startswith(prefixes)


def _name_test(values: tuple[str, ...]) -> Callable[[Event], bool]:
    return lambda event: event.actor.startswith(values) or event.attributes.get("name", "").startswith(values)


def _label_test(values: Sequence[str]) -> Callable[[Event], bool]:
    wanted = [value.partition("=") for value in values]
    return lambda event: all(
        key in event.attributes and (not equals or event.attributes[key] == value) for key, equals, value in wanted
    )


def _image_test(values: frozenset[str]) -> Callable[[Event], bool]:
    def test(event: Event) -> bool:
        name = event.attributes.get("name" if event.type == "image" else "image", "")
        return not values.isdisjoint((event.actor, name, _untagged(event.actor), _untagged(name)))

    return test


def _untagged(name: str) -> str:
    head, colon, tail = name.rpartition(":")
    return head if colon and "/" not in tail else name
