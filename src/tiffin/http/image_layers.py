"""What the layers of an image are made of: a route of tiffin's own.

GET /images/{name}/layers   query: top (largest files that are named of each kind, 5), platform. `images.layers` says
                            what is counted; the tars are read, so it takes as long as decompressing them does
"""

from __future__ import annotations

import asyncio

from tiffin.errors import Invalid
from tiffin.http import registry, response
from tiffin.http.request import Request
from tiffin.http.response import Response
from tiffin.http.router import route
from tiffin.images import Images, layers
from tiffin.wire import image_layers as wire

_TOP = 5
_MOST = 1000


@route("GET", "/images/{name:.+}/layers")
async def listed(request: Request) -> Response:
    images: Images = request.services.images
    top = request.query.integer("top") if request.query.text("top") else _TOP
    if not 0 <= top <= _MOST:
        raise Invalid(f"top: {top} is not between 0 and {_MOST}")
    image = images.chosen(request["name"], registry.platform(request))
    found = await asyncio.to_thread(layers.contents, image, images.blobs, images.snapshots, top)
    return response.json([_shown(one) for one in found])


def _shown(layer: layers.LayerContent) -> wire.Layer:
    return wire.Layer(
        id=layer.diff,
        instruction=layer.instruction,
        size=layer.size,
        adds=_tally(layer.added),
        changes=_tally(layer.changed),
        hides=_tally(layer.hidden),
        wastes=_tally(layer.wasted),
    )


def _tally(tally: layers.Tally) -> wire.Tally:
    # names of files are bytes, JSON is not
    named = ((path.encode("utf-8", "surrogateescape").decode("utf-8", "replace"), size) for path, size in tally.largest)
    return wire.Tally(tally.names, tally.size, [wire.File(path, size) for path, size in named])
