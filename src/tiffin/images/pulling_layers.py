"""The layers of one image that is pulled: fetched and applied at once, an archive while it still comes."""

import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import FIRST_EXCEPTION, Future, ThreadPoolExecutor, wait
from contextlib import contextmanager
from dataclasses import dataclass

from tiffin.content.blobs import BlobStore
from tiffin.content.compression import Readable, decompressed
from tiffin.content.partials import Following
from tiffin.content.verified import Verified
from tiffin.errors import Invalid, TiffinError
from tiffin.images.arrival import Counted
from tiffin.images.events import Message, Progress, Report
from tiffin.images.fetching import Damaged, Fetch, Fetches, Origins
from tiffin.model.descriptor import Descriptor, Manifest
from tiffin.model.digest import Digest, chain_ids
from tiffin.model.image import ImageConfig
from tiffin.registry.cancellation import Cancellation
from tiffin.registry.failures import out_of_space
from tiffin.snapshots import Snapshotter

_AT_ONCE = 4


@dataclass(frozen=True, slots=True)
class _Layer:
    parent: Digest | None
    chain: Digest
    diff: Digest
    blob: Descriptor

    @property
    def plain(self) -> bool:
        """Whether the blob is the layer's tar itself: a driver may take it as it lies, once it is whole."""
        return self.blob.digest == self.diff

    @property
    def name(self) -> str:
        return self.blob.digest[7:19]


class Layers:
    """Shared by all pulls: each layer is applied once, whoever comes first."""

    def __init__(self, blobs: BlobStore, snapshots: Snapshotter, fetches: Fetches) -> None:
        self._blobs = blobs
        self._snapshots = snapshots
        self._fetches = fetches
        self._lock = threading.Lock()
        self._applying: dict[Digest, threading.Lock] = {}

    def bring(
        self, manifest: Manifest, config: ImageConfig, origins: Origins, report: Report, cancellation: Cancellation
    ) -> None:
        """Have every layer applied and its blob in the store. The caller holds a lease on the blobs.

        Raises what befell the first that failed; the others are broken off.
        """
        missing = []
        for layer in _layers(manifest, config):
            if self._blobs.exists(layer.blob.digest) and self._snapshots.layer(layer.chain) is not None:
                report(Progress(layer.name, "Already exists"))
            else:
                report(Progress(layer.name, "Pulling fs layer"))
                missing.append(layer)
        if not missing:
            return
        mine = Cancellation()
        with cancellation.ending(mine.cancel), ThreadPoolExecutor(min(_AT_ONCE, len(missing)), "layer") as pool:
            futures: list[Future[None]] = []
            for layer in missing:
                # drivers that copy the parent need it first; it has begun before, so that it needs no other thread
                first = futures[-1] if futures and not self._snapshots.independent else None
                futures.append(pool.submit(self._one, layer, origins, report, mine, first))
            done, _ = wait(futures, return_when=FIRST_EXCEPTION)
            failure = next((error for future in done if (error := future.exception())), None)
            if failure is not None:
                mine.cancel()
                raise failure

    def _one(
        self,
        layer: _Layer,
        origins: Origins,
        report: Report,
        cancellation: Cancellation,
        first: "Future[None] | None",
    ) -> None:
        cancellation.check()
        try:
            try:
                self._fetched(layer, origins, report, cancellation, first)
            except Damaged:
                self._fetched(layer, origins, report, cancellation, first)
        except OSError as error:
            raise out_of_space(error, f"failed to register layer {layer.name}") from error
        report(Progress(layer.name, "Pull complete"))

    def _fetched(
        self,
        layer: _Layer,
        origins: Origins,
        report: Report,
        cancellation: Cancellation,
        first: "Future[None] | None",
    ) -> None:
        wanted = self._fetches.want(layer.blob, origins, report)
        if wanted is None:
            _await(first)
            self._apply_stored(layer, report, cancellation)
            return
        fetch, watcher = wanted
        try:
            with cancellation.ending(lambda: _abandon(fetch, watcher)):
                fetch.begun.wait()
                _await(first)
                try:
                    if fetch.partial is not None and not fetch.done.is_set() and not layer.plain:
                        self._apply_coming(layer, fetch, report, cancellation)
                except TiffinError as error:
                    cancellation.check()
                    fetch.done.wait()  # what is wrong with the download explains what is wrong with the layer
                    raise fetch.error or error from error
                fetch.done.wait()
                cancellation.check()
            if fetch.error is not None:
                raise fetch.error
        finally:
            fetch.leave(watcher)
        self._apply_stored(layer, report, cancellation)

    def _apply_coming(self, layer: _Layer, fetch: Fetch, report: Report, cancellation: Cancellation) -> None:
        assert fetch.partial is not None
        try:
            following = Following(fetch.partial, cancellation.check)
        except OSError:  # it has ended meanwhile
            return

        # the bar of extraction belongs behind that of the download
        def shown(progress: Progress | Message) -> None:
            if fetch.done.is_set():
                report(progress)

        try:
            with cancellation.ending(fetch.partial.wake):
                self._apply(layer, following, shown)
        finally:
            following.close()

    def _apply_stored(self, layer: _Layer, report: Report, cancellation: Cancellation) -> None:
        with self._blobs.open(layer.blob.digest) as file:
            self._apply(layer, _Checked(file, cancellation), report)

    def _apply(self, layer: _Layer, stream: Readable, report: Report) -> None:
        if self._snapshots.layer(layer.chain) is not None:
            return
        with self._alone(layer.chain):
            if self._snapshots.layer(layer.chain) is not None:
                return
            total = layer.blob.size
            counted = Counted(stream, lambda done: report(Progress(layer.name, "Extracting", done, total)))
            _, plain = decompressed(counted)
            verified = Verified(plain, layer.diff, "layers from manifest don't match image configuration")
            tar = self._blobs.path(layer.blob.digest) if layer.plain else None
            try:
                self._snapshots.apply(layer.parent, layer.diff, verified, plain=tar)
            except Invalid as error:
                raise type(error)(f"failed to register layer: {error}") from error
            report(Progress(layer.name, "Extracting", total, total))

    @contextmanager
    def _alone(self, chain: Digest) -> Iterator[None]:
        with self._lock:
            lock = self._applying.setdefault(chain, threading.Lock())
        with lock:
            yield
        with self._lock:
            self._applying.pop(chain, None)


class _Checked:
    """A stream that ends with its pull."""

    def __init__(self, stream: Readable, cancellation: Cancellation) -> None:
        self._stream = stream
        self._cancellation = cancellation

    def read(self, size: int = -1, /) -> bytes:
        self._cancellation.check()
        return self._stream.read(size)


def _layers(manifest: Manifest, config: ImageConfig) -> Sequence[_Layer]:
    chains = chain_ids(config.diff_ids)
    parents: list[Digest | None] = [None, *chains]
    return [_Layer(*parts) for parts in zip(parents, chains, config.diff_ids, manifest.layers, strict=False)]


def _await(first: "Future[None] | None") -> None:
    if first is not None:
        first.result()


def _abandon(fetch: Fetch, watcher: int) -> None:
    fetch.leave(watcher)
    if fetch.partial is not None:
        fetch.partial.wake()
