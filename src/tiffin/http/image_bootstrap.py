"""Images composed from a distribution's signed packages: a route of tiffin's own."""

from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing

from tiffin.engine.bootstrap import Bootstraps
from tiffin.errors import Invalid
from tiffin.http import image_shapes as shapes
from tiffin.http import response
from tiffin.http.request import Request
from tiffin.http.response import Response
from tiffin.http.router import route
from tiffin.images import Message, Progress
from tiffin.images.bootstrap import recipes
from tiffin.model.platform import parse_platform
from tiffin.wire import bootstrap as wire
from tiffin.wire.images import Line


@route("POST", "/images/bootstrap")
async def bootstrapped(request: Request) -> Response:
    """Compose an image; progress as a pull has it, the image's ID at last."""
    asked = await request.json(wire.Bootstrap)
    if not asked.base:
        raise Invalid("nothing to compose: give Base, such as debian:trixie")
    bootstraps: Bootstraps = request.services.bootstraps
    wanted = recipes.Request(
        base=asked.base,
        name=asked.name,
        variant=asked.variant,
        include=tuple(asked.include),
        mirror=asked.mirror,
        security=asked.security,
        components=tuple(asked.components),
        keyring=asked.keyring,
        allow_expired=asked.allow_expired,
        network=asked.network or "none",
        platform=parse_platform(asked.platform) if asked.platform else None,
    )
    return response.progress(_lines(bootstraps.run(wanted)))


async def _lines(messages: AsyncGenerator[Message | Progress, None]) -> AsyncIterator[Line]:
    async with aclosing(messages):
        async for message in messages:
            yield shapes.line(message)
