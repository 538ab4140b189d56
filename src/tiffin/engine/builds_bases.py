"""Images as builds stand on them: found here or pulled, and kept until the build has ended."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, aclosing
from typing import Any, Protocol, cast

from tiffin.build.options import ImageRequest, ResolvedImage
from tiffin.build.solve import layouts
from tiffin.build.solve.events import Report, VertexProgress
from tiffin.build.solve.execution import held
from tiffin.build.solve.request import BuildRequest
from tiffin.build.solve.solved import LayerBlob
from tiffin.build.solve.store import Store
from tiffin.build.solve.values import Stack
from tiffin.build.steps import ImageSource
from tiffin.errors import NotFound, Unsupported
from tiffin.images import Images, Message, Progress
from tiffin.images.pulling import Pull
from tiffin.images.pushing import Push
from tiffin.model.digest import Digest, digest_of
from tiffin.model.image import Image
from tiffin.model.platform import Platform
from tiffin.model.reference import Reference, parse_reference


class Transferring(Protocol):
    """`engine.transfers.Transfers`."""

    def pull(self, pull: Pull) -> AsyncIterator[Message | Progress]: ...

    def push(self, push: Push) -> AsyncIterator[Message | Progress]: ...


class Bases:
    """Implements `build.solve.ports.Bases` for one build."""

    def __init__(self, images: Images, transfers: Transferring, store: Store, undo: AsyncExitStack) -> None:
        self._images = images
        self._transfers = transfers
        self._store = store
        self._undo = undo
        self._found: dict[tuple[str, Platform], Image] = {}
        self._by_name: dict[str, Image] = {}

    async def resolve(
        self, asked: ImageRequest, request: BuildRequest, vertex: Digest, report: Report
    ) -> ResolvedImage:
        """Raises NotFound, Unsupported, and what pulls raise."""
        if asked.store:
            return await self._in_layout(asked, request)
        reference = parse_reference(asked.reference).with_default_tag()
        image = None if request.pull else self._local(reference, asked.platform)
        if image is None:
            await self._pull(reference, asked.platform, request, vertex, report)
            image = self._images.find(reference, asked.platform)
        if image.reserved:
            raise Unsupported(f"{asked.written}: this machine's own root file system can't be built upon")
        stack = stack_of(image)
        if not await held(self._store, stack, self._undo):
            raise NotFound(f"{reference.familiar}: a layer is missing; pull or load the image again")
        digest = digest_of(image.manifest.raw) if image.repo_digests else None
        for name in (asked.reference, f"{asked.reference}@{digest}"):
            self._found[name, asked.platform] = image
            self._by_name[name] = image
        return ResolvedImage(image.config, digest)

    async def _in_layout(self, asked: ImageRequest, request: BuildRequest) -> ResolvedImage:
        digest = asked.reference.rpartition("@")[2]
        store = await request.client.store(f"oci:{asked.store}")
        manifest, config = await layouts.described(store, digest, asked.platform)
        return ResolvedImage(config, digest_of(manifest.raw))

    def _local(self, reference: Reference, platform: Platform) -> Image | None:
        try:
            image = self._images.find(reference, platform)
        except NotFound:
            return None
        own = image.config.platform
        same = (own.os, own.architecture) == (platform.os, platform.architecture)
        return image if same or image.reserved else None

    async def _pull(
        self, reference: Reference, platform: Platform, request: BuildRequest, vertex: Digest, report: Report
    ) -> None:
        credentials = await request.client.credentials(reference.domain)
        started = time.time_ns()
        messages = self._transfers.pull(Pull(reference, platform, credentials=credentials))
        async with aclosing(cast(Any, messages)) as following:
            async for message in following:
                if isinstance(message, Progress) and message.total:
                    report(progress_of(message, vertex, started))

    def layers(self, step: ImageSource) -> Stack:
        """Of an image that was resolved."""
        return stack_of(self.image(step))

    def image(self, step: ImageSource) -> Image:
        """The image that a step stands for."""
        return self._found.get((step.reference, step.platform)) or self._by_name[step.reference]


def stack_of(image: Image) -> Stack:
    """The layers of a stored image."""
    pairs = zip(image.config.diff_ids, image.manifest.layers, strict=True)
    return Stack(tuple(LayerBlob(diff, layer.digest) for diff, layer in pairs))


def progress_of(message: Progress, vertex: Digest, started: int = 0) -> VertexProgress:
    """A transfer's as a build tells it. started: ns."""
    return VertexProgress(
        digest=vertex,
        id=f"{message.status.lower()} {message.id}",
        current=message.current,
        total=message.total,
        done=message.current >= message.total,
        started=started,
    )
