"""How big a container's own layer is."""

from __future__ import annotations

from tiffin.engine.container_context import Context
from tiffin.errors import NotFound
from tiffin.model.container import Container


def layer_size(context: Context, container: Container) -> int:
    """Bytes of its writable layer (`SizeRw`), 0 when it was removed meanwhile; blocks."""
    try:
        return context.snapshots.usage(container.id).size
    except (FileNotFoundError, NotFound):
        return 0


def root_size(context: Context, container: Container) -> int:
    """Bytes of its image and its layer together (`SizeRootFs`); blocks."""
    return context.images.get(container.image_id).size + layer_size(context, container)
