"""A tar of a root file system into the store, as an image of one layer that says nothing of when it was made."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from tiffin.images.arrival import Parts
from tiffin.images.bootstrap.release import shown
from tiffin.images.events import silent
from tiffin.images.service import Images
from tiffin.model.image import Image, config_bytes, parse_config
from tiffin.model.platform import Platform, host_platform
from tiffin.model.reference import Reference


@dataclass(frozen=True, slots=True)
class Product:
    """run: the configuration in the document's names. seconds: the moment the image is of. made_by: for its history."""

    run: Mapping[str, Any]
    seconds: int
    made_by: str
    name: Reference | None = None
    platform: Platform | None = None
    """None for this machine's."""


Write = Callable[[bytes], object]


def stored(images: Images, fill: Callable[[Write], None], product: Product) -> Image:
    """fill writes the tar. Blocks. Raises what filling raises, and then leaves nothing."""
    created = shown(product.seconds)
    history = {"created": created, "created_by": product.made_by}
    try:
        with images.blobs.lease() as lease:
            with images.blobs.writer(lease) as writer:
                fill(writer.write)
                layer = writer.commit()
            raw = config_bytes(product.platform or host_platform(), (layer,), product.run, (history,), created=created)
            config = parse_config(raw)
            names = (product.name,) if product.name else ()
            images.arrivals.add(Parts(config, (layer,), names=names), lease, silent)
    finally:
        images.collect()
    images.written()
    if product.name:
        images.publish("import", config.id, {"name": product.name.familiar})
    return images.catalog.image(config.id)
