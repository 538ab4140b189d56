"""GET /events."""

from collections.abc import AsyncIterator

import msgspec

from tiffin.engine import events
from tiffin.engine.events import Event
from tiffin.errors import Invalid
from tiffin.http import response
from tiffin.http.request import Request
from tiffin.http.response import Response
from tiffin.http.router import route
from tiffin.wire.events import EventActor, EventMessage

_SECOND = 1_000_000_000
_encoder = msgspec.json.Encoder()


@route("GET", "/events")
async def follow(request: Request) -> Response:
    """Replay since, follow until; without until for ever. One JSON object a line."""
    since, until = (_moment(request.query.text(key), key) for key in ("since", "until"))
    if since is not None and until is not None and since > until:
        raise Invalid(f"`since` time ({since // 10**9}) cannot be after `until` time ({until // 10**9})")
    wanted = events.matches(request.query.filters())
    bus: events.Events = request.services.events
    return response.stream(_lines(bus.follow(since, until, wanted)), response.JSON)


async def _lines(followed: AsyncIterator[Event]) -> AsyncIterator[bytes]:
    async for event in followed:
        yield _encoder.encode(message(event)) + b"\n"


def message(event: Event) -> EventMessage:
    """An event in the API's shape."""
    told = EventMessage(
        type=event.type,
        action=event.action,
        actor=EventActor(event.actor, dict(event.attributes)),
        scope=event.scope,
        time=event.time // _SECOND,
        time_nano=event.time,
    )
    if event.type in ("container", "image"):
        told.status, told.id = event.action, event.actor
    if event.type == "container":
        told.from_ = event.attributes.get("image", "")
    return told


def _moment(text: str, key: str) -> int | None:
    """`seconds[.nanoseconds]` as nanoseconds, None for none."""
    if not text:
        return None
    seconds, _, fraction = text.partition(".")
    try:
        return int(seconds) * _SECOND + (int(fraction[:9].ljust(9, "0")) if fraction else 0)
    except ValueError as error:
        raise Invalid(f"{key}={text}: not a time; give seconds[.nanoseconds] since 1970") from error
