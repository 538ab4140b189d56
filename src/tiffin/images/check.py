"""What `system check` looks at in images: documents, blobs, layers, and what belongs to none of them.

A blob that is damaged is set aside and fetched from where its image came from; a layer's files are made again from its
blob.
"""

import io
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from pathlib import Path

from tiffin.content.blobs import file_digest
from tiffin.content.compression import Readable, decompressed
from tiffin.content.verified import Verified
from tiffin.errors import NotFound, TiffinError
from tiffin.images.arrival import Parts
from tiffin.images.catalog import Held
from tiffin.images.events import silent
from tiffin.images.service import Images
from tiffin.model.digest import Digest, chain_ids
from tiffin.model.finding import Finding
from tiffin.model.image import Image
from tiffin.model.reference import Reference
from tiffin.snapshots import Layer

Fetch = Callable[[Reference, Digest], None]
"""Brings what is missing of an image: its name with a digest, its ID. Raises TiffinError."""


class ImagesCheck:
    """Blocks; may be used from any thread while images come and go."""

    domain = "images"

    def __init__(self, images: Images, fetch: Fetch) -> None:
        self._images = images
        self._blobs = images.blobs
        self._snapshots = images.snapshots
        self._fetch = fetch

    def counted(self) -> dict[str, int]:
        """How much there is to look at."""
        return {
            "Images": len(self._images.catalog.held()),
            "Blobs": len(list(self._blobs.digests())),
            "Layers": len(self._snapshots.layers()),
        }

    def findings(self, *, thorough: bool) -> Iterator[Finding]:
        """thorough: contents are read, not only looked for."""
        held = self._images.catalog.held()
        problems = {
            blob: problem
            for blob in sorted(set().union(*(one.blobs for one in held)))
            if (problem := self._blobs.examine(blob, thorough=thorough))
        }
        yield from self._of_blobs(held, problems)
        yield from self._beside(set(problems).union(*(one.blobs for one in held)), thorough)
        yield from self._of_layers(problems, thorough)
        yield from self._left_over()
        if not self._blobs.has_index(self._images.index_entries()):
            yield self._finding(
                "index-wrong", str(self._blobs.root), "index.json does not name the images that there are",
                "it is written again with --repair", self._write_index, certain=False,
            )  # fmt: skip

    def _write_index(self) -> None:
        self._blobs.write_layout()
        self._images.written()

    # -- blobs -------------------------------------------------------------------------------------------------------

    def _of_blobs(self, held: list[Held], problems: dict[Digest, str]) -> Iterator[Finding]:
        for blob, problem in problems.items():
            owners = [one for one in held if blob in one.blobs]
            named = ", ".join(_shown(one) for one in owners)
            origins = [name.familiar for one in owners for name in one.names if name.digest]
            advice = "load it again, or remove the image"
            if origins:
                advice = f"--repair fetches it again as a part of {origins[0]}"
            damaged = problem.startswith("is damaged")
            yield self._finding(
                "blob-damaged" if damaged else "blob-missing",
                blob,
                f"blob {blob} of {named} {problem}",
                advice,
                lambda blob=blob, owners=owners: self._restore(blob, owners),  # type: ignore[misc]
                certain=damaged,
            )

    def _beside(self, seen: set[Digest], thorough: bool) -> Iterator[Finding]:
        """Indexes, attestations in them, and what refers to images: no image runs by them, so they are not fetched."""
        images = self._images
        for blob in sorted({*images.indexes.blobs(), *images.referrers.blobs()} - seen):
            problem = self._blobs.examine(blob, thorough=thorough)
            if not problem:
                continue
            damaged = problem.startswith("is damaged")
            yield self._finding(
                "blob-damaged" if damaged else "blob-missing",
                blob,
                f"blob {blob} of an index, an attestation or a signature {problem}",
                "--repair sets it aside; then pull the image again"
                if damaged
                else "pull the image again, or remove it",
                lambda blob=blob: self._set_aside(blob),  # type: ignore[misc]
                certain=damaged,
            )

    def _set_aside(self, blob: Digest) -> None:
        if self._blobs.exists(blob):
            self._blobs.quarantine(blob)
        raise NotFound(f"blob {blob} is not here any more: pull its image again, as it was pulled before")

    def _restore(self, blob: Digest, owners: list[Held]) -> None:
        if self._blobs.exists(blob):
            self._blobs.quarantine(blob)
        tar = self._snapshots.tar(blob)
        if tar is not None and file_digest(tar) == blob:
            self._blobs.adopt(tar, blob)
            return
        failure: TiffinError = NotFound(
            f"blob {blob} was not pulled from a registry: load {_shown(owners[0])} again, or remove it"
        )
        for owner in owners:
            for name in owner.names:
                if name.digest is None:
                    continue
                try:
                    self._fetch(name, owner.id)
                    return
                except TiffinError as error:
                    failure = error
        raise failure

    # -- layers ------------------------------------------------------------------------------------------------------

    def _of_layers(self, problems: dict[Digest, str], thorough: bool) -> Iterator[Finding]:
        sources: dict[Digest, Digest] = {}
        for image in self._images.catalog.images():
            if image.reserved:
                continue
            sources |= zip(image.config.diff_ids, (layer.digest for layer in image.manifest.layers), strict=False)
            for chain in chain_ids(image.config.diff_ids):
                if self._snapshots.layer(chain) is None:
                    yield self._finding(
                        "layer-missing", chain, f"layer {chain} of {_named(image)} is not recorded",
                        "--repair makes it again from its blob",
                        lambda image=image: self._arrive(image), certain=False,  # type: ignore[misc]
                    )  # fmt: skip

        def sound(tar: Path, layer: Layer) -> bool:
            blob = self._blobs.path(layer.diff)
            return layer.diff not in problems and blob.exists() and blob.samefile(tar)

        damaged: set[Digest] = set()
        layers = {layer.chain: layer for layer in self._snapshots.layers()}
        for layer in sorted(layers.values(), key=lambda layer: _depth(layer, layers)):
            if layer.parent in damaged and not self._snapshots.independent:
                damaged.add(layer.chain)  # made from that one's files: looked at when these are right
                continue
            blob = sources.get(layer.diff)
            content = partial(self._plain, blob) if blob is not None and blob not in problems else None
            try:
                problem = self._snapshots.problem(
                    layer,
                    lambda tar, layer=layer: sound(tar, layer),  # type: ignore[misc]
                    content,
                    thorough=thorough,
                )
            except FileNotFoundError as error:
                problem = f"is missing: {error.filename}"
            if problem and self._snapshots.layer(layer.chain) is not None:
                damaged.add(layer.chain)
                yield self._finding(
                    "layer-damaged", layer.chain, f"layer {layer.diff} {problem}",
                    "--repair makes it again from its blob",
                    lambda layer=layer: self._rebuild(layer, sources.get(layer.diff)),  # type: ignore[misc]
                )  # fmt: skip

    @contextmanager
    def _plain(self, blob: Digest) -> Iterator[Readable]:
        with self._blobs.open(blob) as file:
            yield decompressed(file)[1]

    def _arrive(self, image: Image) -> None:
        manifest = image.manifest
        with self._blobs.lease() as lease, self._images.arrivals.arriving():
            layers = tuple(layer.digest for layer in manifest.layers)
            self._images.arrivals.add(Parts(image.config, layers, manifest.raw, manifest.media_type), lease, silent)

    def _rebuild(self, layer: Layer, blob: Digest | None) -> None:
        what = f"layer {layer.diff[7:19]}"
        if blob is None or not self._blobs.exists(blob):
            # its own tar may be whole
            self._snapshots.rebuild(layer, Verified(io.BytesIO(), layer.diff, f"{what}: its blob is not here"))
            return
        with self._blobs.open(blob) as file:
            plain = self._blobs.path(blob) if blob == layer.diff else None
            _, stream = decompressed(file)
            self._snapshots.rebuild(layer, Verified(stream, layer.diff, what), plain=plain)

    # -- what belongs to nothing -------------------------------------------------------------------------------------

    def _left_over(self) -> Iterator[Finding]:
        images, snapshots, blobs = self._images, self._snapshots, self._blobs
        advice = "--repair removes it"
        if not images.arrivals.busy:
            for layer in snapshots.unused(images.wanted_chains()):
                problem = f"layer {layer.chain} belongs to no image and no container"
                yield self._finding("layer-unused", layer.chain, problem, advice, images.collect, certain=False)
        known = images.wanted_blobs() | blobs.leased()
        for digest in set(blobs.digests()) - known:
            problem = f"blob {digest} belongs to no image"
            yield self._finding("blob-unused", digest, problem, advice, images.collect, certain=False)
        for path in blobs.strays():
            problem = f"{path} is a blob's remains"
            yield self._finding("leftover", str(path), problem, advice, path.unlink, certain=False)
        for path in snapshots.strays():
            problem = f"{path} belongs to no layer and no container"
            yield self._finding(
                "leftover", str(path), problem, advice, lambda path=path: snapshots.clear(path), certain=False  # type: ignore[misc]
            )  # fmt: skip

    def _finding(
        self, kind: str, subject: str, problem: str, advice: str, repair: Callable[[], object], *, certain: bool = True
    ) -> Finding:
        return Finding(self.domain, kind, subject, problem, advice, certain, repair)


def _depth(layer: Layer, layers: Mapping[Digest, Layer]) -> int:
    depth = 0
    while layer.parent is not None and layer.parent in layers:
        layer, depth = layers[layer.parent], depth + 1
    return depth


def _shown(held: Held) -> str:
    return f"image {held.names[0].familiar if held.names else held.id[7:19]}"


def _named(image: Image) -> str:
    return f"image {image.repo_tags[0] if image.repo_tags else image.short_id}"
