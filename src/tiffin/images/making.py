"""Images made here: `import` from a root file system, `commit` from what a container changed."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from tiffin.content.blobs import BlobStore, Lease
from tiffin.content.compression import Readable, decompressed
from tiffin.content.verified import Hashed
from tiffin.errors import Unsupported
from tiffin.images.arrival import Arrivals, Parts
from tiffin.images.events import silent
from tiffin.images.instructions import changed
from tiffin.model.digest import Digest, digest_of
from tiffin.model.image import Image, config_bytes, parse_config
from tiffin.model.platform import Platform, host_platform
from tiffin.model.reference import Reference
from tiffin.snapshots import Snapshotter
from tiffin.snapshots.tar import END

_CHUNK = 1 << 20
_EMPTY = digest_of(END)


@dataclass(frozen=True, slots=True)
class Commit:
    """What `commit` is asked for.

    run      the container's configuration in the document's names; changes are laid over it
    ignore   paths in the container that the engine made (mount points); they don't get into the layer
    """

    key: str
    run: Mapping[str, Any]
    name: Reference | None = None
    author: str = ""
    comment: str = ""
    changes: Sequence[str] = ()
    command: str = ""
    ignore: Collection[bytes] = ()


def now() -> str:
    """RFC 3339 with nanoseconds, as Go writes it."""
    return datetime.now(UTC).isoformat().replace("+00:00", "Z")


class Making:
    def __init__(self, blobs: BlobStore, snapshots: Snapshotter, arrivals: Arrivals) -> None:
        self._blobs = blobs
        self._snapshots = snapshots
        self._arrivals = arrivals

    def imported(
        self,
        stream: Readable,
        name: Reference | None,
        *,
        changes: Sequence[str] = (),
        message: str = "",
        platform: Platform | None = None,
    ) -> Digest:
        """A tar of a root file system, compressed or not, becomes an image of one layer."""
        run = changed({}, changes)
        with self._blobs.lease() as lease:
            blob, diff = self._layer(stream, lease)
            created = now()
            history = {"created": created, "comment": message or "Imported from -"}
            raw = config_bytes(
                platform or host_platform(), (diff,), run, (history,), created=created, comment=history["comment"]
            )
            names = (name,) if name else ()
            self._arrivals.add(Parts(parse_config(raw), (blob,), names=names), lease, silent)
        return digest_of(raw)

    def _layer(self, stream: Readable, lease: Lease) -> tuple[Digest, Digest]:
        """The blob (as it came) and the digest of its plain content, in one pass."""
        with self._blobs.writer(lease) as writer:
            tee = _Tee(stream, writer.write)
            compression, plain = decompressed(tee)
            # xz and bzip2 can't be an image's layer: what is inside is kept
            keeps = compression in ("", "gzip", "zstd")
            if not keeps:
                return self._plain_layer(plain, lease)
            hashed = Hashed(plain)
            while hashed.read(_CHUNK):
                pass
            while tee.read(_CHUNK):
                pass
            return writer.commit(), hashed.digest

    def _plain_layer(self, plain: Readable, lease: Lease) -> tuple[Digest, Digest]:
        with self._blobs.writer(lease) as writer:
            while data := plain.read(_CHUNK):
                writer.write(data)
            digest = writer.commit()
        return digest, digest

    def committed(self, image: Image | None, commit: Commit) -> Digest:
        """A snapshot's changes on top of its image (None: of nothing)."""
        run = changed(commit.run, commit.changes)
        with self._blobs.lease() as lease:
            with self._blobs.writer(lease) as writer:
                for data in self._snapshots.diff(commit.key, commit.ignore):
                    writer.write(data)
                diff = writer.commit()
            created = now()
            entry: dict[str, Any] = {"created": created}
            for key, value in (("author", commit.author), ("created_by", commit.command), ("comment", commit.comment)):
                if value:
                    entry[key] = value
            diffs, layers = self._below(image)
            if diff == _EMPTY:
                entry["empty_layer"] = True
            else:
                diffs, layers = (*diffs, diff), (*layers, diff)
            raw = config_bytes(
                image.config.platform if image else host_platform(),
                diffs,
                run,
                (*(image.config.history if image else ()), entry),
                created=created,
                author=commit.author,
                comment=commit.comment,
            )
            names = (commit.name,) if commit.name else ()
            parts = Parts(parse_config(raw), layers, names=names, parent=image.id if image else None)
            self._arrivals.add(parts, lease, silent)
        return digest_of(raw)

    def _below(self, image: Image | None) -> tuple[tuple[Digest, ...], tuple[Digest, ...]]:
        if image is None:
            return (), ()
        if image.reserved:
            raise Unsupported(
                f"{image.repo_tags[0]} is this machine's own root file system: it can't be a stored image's base"
            )
        return image.config.diff_ids, tuple(layer.digest for layer in image.manifest.layers)


class _Tee:
    def __init__(self, stream: Readable, sink: Any) -> None:
        self._stream = stream
        self._sink = sink

    def read(self, size: int = -1, /) -> bytes:
        data = self._stream.read(size)
        if data:
            self._sink(data)
        return data
