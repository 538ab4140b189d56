"""The event bus: order, replay, filters, and what happens to a slow follower."""

import asyncio
import time

import pytest

from tiffin.engine import events
from tiffin.engine.events import BACKLOG, REPLAYED, Event, Events, Overrun, matches


def test_times_are_unique_and_rise_even_when_the_clock_stands_still() -> None:
    bus = Events()
    now = time.time_ns()
    times = [bus.publish("container", "start", "c", at=now).time for _ in range(100)]
    assert times == sorted(set(times))


def test_what_is_told_late_goes_behind_what_was_told_meanwhile() -> None:
    bus = Events()
    ended = time.time_ns() - 5 * 1_000_000_000
    times = [bus.publish("container", "create", "c").time, bus.publish("container", "die", "d", at=ended).time]
    assert times == sorted(set(times))


def test_a_clock_set_back_is_believed() -> None:
    bus = Events()
    day = 86_400 * 1_000_000_000
    now = time.time_ns()
    bus.publish("container", "start", "c", at=now + day)
    assert bus.publish("container", "die", "c", at=now).time == now


def test_the_replay_buffer_is_bounded() -> None:
    bus = Events()
    for number in range(REPLAYED + 10):
        bus.publish("container", "start", str(number))
    past = bus.past(0, None, lambda event: True)
    assert len(past) == REPLAYED
    assert past[0].actor == "10"


def test_nothing_is_replayed_unless_a_time_is_given() -> None:
    bus = Events()
    bus.publish("container", "start", "c")
    assert bus.past(None, None, lambda event: True) == []


def test_follow_replays_then_continues_without_a_gap() -> None:
    async def scenario() -> list[str]:
        bus = Events()
        bus.publish("container", "create", "c")
        seen = []
        async for event in bus.follow(since=0):
            seen.append(event.action)
            if event.action == "create":
                bus.publish("container", "start", "c")
                bus.publish("container", "die", "c")
            if event.action == "die":
                break
        return seen

    assert asyncio.run(scenario()) == ["create", "start", "die"]


def test_follow_ends_at_until_and_forgets_the_follower() -> None:
    async def scenario() -> tuple[list[Event], int]:
        bus = Events()
        bus.publish("container", "create", "c")
        past = time.time_ns()
        bus.publish("container", "start", "c", at=past + 10**12)
        seen = [event async for event in bus.follow(since=0, until=past)]
        return seen, bus.followers

    seen, followers = asyncio.run(scenario())
    assert [event.action for event in seen] == ["create"]
    assert followers == 0


def test_a_follower_that_lags_is_dropped_rather_than_buffered_for_ever() -> None:
    async def scenario() -> None:
        bus = Events()
        subscription = bus.subscribe()
        for _ in range(BACKLOG + 5):
            bus.publish("container", "exec_start", "c")
        for _ in range(BACKLOG):
            await subscription.next()
        with pytest.raises(Overrun):
            await subscription.next()

    asyncio.run(scenario())


@pytest.mark.parametrize(
    ("filters", "expected"),
    [
        ({}, True),
        ({"type": ["container"]}, True),
        ({"type": ["image"]}, False),
        ({"event": ["exec_start"]}, True),
        ({"event": ["exec_start: sh"]}, True),
        ({"event": ["exec"]}, False),
        ({"event": ["die", "exec_create"]}, False),
        ({"container": ["abc"]}, True),
        ({"container": ["web"]}, True),
        ({"container": ["db"]}, False),
        ({"label": ["tier=front"]}, True),
        ({"label": ["tier"]}, True),
        ({"label": ["tier", "tier=back"]}, False),
        ({"image": ["nginx"]}, True),
        ({"image": ["nginx:1"]}, True),
        ({"image": ["ngin"]}, False),
        ({"type": ["container"], "container": ["db"]}, False),
        ({"scope": ["local"]}, True),
    ],
)
def test_filters_match_as_dockers_do(filters: dict[str, list[str]], expected: bool) -> None:
    attributes = {"name": "web1", "image": "nginx:1", "tier": "front"}
    event = Event("container", "exec_start: sh", "abcdef", attributes, 1)
    assert matches(filters)(event) is expected


def test_a_registry_port_is_not_taken_for_a_tag() -> None:
    event = Event("image", "pull", "localhost:5000/app", {"name": "localhost:5000/app"}, 1)
    assert matches({"image": ["localhost:5000/app"]})(event)
    assert events._untagged("localhost:5000/app:1") == "localhost:5000/app"
