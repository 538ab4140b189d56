"""How an image gets into the store: its layers applied, then one transaction that makes it visible."""

import os
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass

from tiffin.content import crash
from tiffin.content.blobs import BlobStore, Lease
from tiffin.content.compression import Readable, decompressed
from tiffin.content.verified import Verified
from tiffin.errors import Internal, Invalid
from tiffin.images.catalog import Catalog, Record
from tiffin.images.events import Progress, Report
from tiffin.model.descriptor import OCI_CONFIG, OCI_LAYER, Descriptor, manifest_bytes, parse_manifest
from tiffin.model.digest import Digest, chain_ids, digest_of
from tiffin.model.image import ImageConfig
from tiffin.model.reference import Reference
from tiffin.snapshots import Snapshotter

_WORKERS = 4
_SUFFIXES = {"": "", "gzip": "+gzip", "zstd": "+zstd"}


@dataclass(frozen=True, slots=True)
class Parts:
    """An image whose blobs are in the store. manifest: as received, None where one is to be made."""

    config: ImageConfig
    layers: tuple[Digest, ...]
    manifest: bytes | None = None
    manifest_type: str = ""
    names: tuple[Reference, ...] = ()
    parent: Digest | None = None


class Arrivals:
    """Images on their way. A sweep of layers waits for none of them: it is left to the last that arrives."""

    def __init__(self, catalog: Catalog, blobs: BlobStore, snapshots: Snapshotter) -> None:
        self._catalog = catalog
        self._blobs = blobs
        self._snapshots = snapshots
        self._changed = threading.Condition()
        self._arriving = 0
        self._sweeping = False

    @contextmanager
    def arriving(self) -> Iterator[None]:
        """Around everything between the first layer applied and the image that needs it in the catalog."""
        with self._changed:
            self._changed.wait_for(lambda: not self._sweeping)
            self._arriving += 1
        try:
            yield
        finally:
            with self._changed:
                self._arriving -= 1

    @contextmanager
    def sweeping(self) -> Iterator[bool]:
        """Whether layers may be swept now; if not, whoever is arriving sweeps afterwards."""
        with self._changed:
            self._changed.wait_for(lambda: not self._sweeping)
            free = self._sweeping = not self._arriving
        try:
            yield free
        finally:
            if free:
                with self._changed:
                    self._sweeping = False
                    self._changed.notify_all()

    @property
    def busy(self) -> bool:
        """Whether an image is on its way, so that there are layers that none has yet."""
        return self._arriving > 0

    def add(self, parts: Parts, lease: Lease, report: Report) -> bool:
        """Unpack what is missing, then register. True where the image is new. Invalid leaves no image behind."""
        config = parts.config
        if len(parts.layers) != len(config.diff_ids):
            raise Invalid(
                f"invalid manifest, layers length mismatch: expected {len(config.diff_ids)}, got {len(parts.layers)}"
            )
        chains = chain_ids(config.diff_ids)
        with self.arriving():
            self._apply_all(config, chains, parts.layers, report)
            crash.point("layers-applied")
            raw = parts.manifest or self._made_manifest(parts)
            manifest = parse_manifest(raw, parts.manifest_type)
            digest = self._blobs.put(raw, lease)
            self._blobs.put(config.raw, lease)
            size = sum(layer.size for chain in chains if (layer := self._snapshots.layer(chain)))
            return self._catalog.add(Record(config, manifest, digest, size, parts.parent, parts.names))

    def _apply_all(
        self, config: ImageConfig, chains: tuple[Digest, ...], layers: tuple[Digest, ...], report: Report
    ) -> None:
        jobs = []
        for index, diff in enumerate(config.diff_ids):
            job = (chains[index - 1] if index else None, diff, layers[index])
            if self._snapshots.layer(chains[index]) is None:
                jobs.append(job)
            elif self._is_plain(layers[index], diff):
                # nothing is unpacked: a thread would cost more
                self._apply(*job, report)
        if not self._snapshots.independent or len(jobs) < 2:
            for job in jobs:
                self._apply(*job, report)
            return
        with ThreadPoolExecutor(min(_WORKERS, len(jobs), os.cpu_count() or 1), "layers") as pool:
            # the first error ends it: what the others unpacked meanwhile is swept
            for result in [pool.submit(self._apply, *job, report) for job in jobs]:
                result.result()

    def _is_plain(self, blob: Digest, diff: Digest) -> bool:
        """Whether a layer that is there may stand on this very blob, which then may have been renewed."""
        return blob == diff and self._blobs.exists(blob)

    def _apply(self, parent: Digest | None, diff: Digest, blob: Digest, report: Report) -> None:
        if not self._blobs.exists(blob):
            raise Internal(f"layer {diff}: its blob {blob} is missing; load or pull the image again")
        total = self._blobs.size(blob)
        with self._blobs.open(blob) as file:
            counted = Counted(file, lambda done: report(Progress(diff[7:19], "Loading layer", done, total)))
            _, plain = decompressed(counted)
            # a plain blob is the layer's tar, verified as it came in
            tar = self._blobs.path(blob) if blob == diff else None
            self._snapshots.apply(parent, diff, Verified(plain, diff, f"layer {diff[7:19]}"), plain=tar)
        report(Progress(diff[7:19], "Loading layer", total, total))

    def _made_manifest(self, parts: Parts) -> bytes:
        layers = []
        for digest in parts.layers:
            with self._blobs.open(digest) as file:
                compression, _ = decompressed(file)
            if compression not in _SUFFIXES:
                raise Invalid(
                    f"layer {digest} is compressed with {compression}: gzip, zstd or nothing can be an image's"
                )
            layers.append(Descriptor(OCI_LAYER + _SUFFIXES[compression], digest, self._blobs.size(digest)))
        config = parts.config
        return manifest_bytes(Descriptor(OCI_CONFIG, digest_of(config.raw), len(config.raw)), tuple(layers))


class Counted:
    """Calls back with the bytes read so far, every few MiB."""

    def __init__(self, stream: Readable, progress: Callable[[int], None], step: int = 4 << 20) -> None:
        self._stream = stream
        self._progress = progress
        self._step = step
        self._next = step
        self._done = 0

    def read(self, size: int = -1, /) -> bytes:
        data = self._stream.read(size)
        self._done += len(data)
        if self._done >= self._next:
            self._next = self._done + self._step
            self._progress(self._done)
        return data
