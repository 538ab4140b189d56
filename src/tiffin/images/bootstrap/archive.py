"""From an archive's address to the packages it is trusted for: signature → Release → Packages → .deb."""

import mmap
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from threading import Lock

from tiffin.content.compression import decompressed
from tiffin.errors import Forbidden, NotFound
from tiffin.images.bootstrap import release
from tiffin.images.bootstrap.downloads import Downloads
from tiffin.images.bootstrap.packages import Index, Listing, Package
from tiffin.images.bootstrap.release import File, Release
from tiffin.images.bootstrap.signatures import Keyring
from tiffin.images.bootstrap.suites import Source
from tiffin.images.events import Message, Progress, Report
from tiffin.registry.cancellation import Cancellation

_MAX_RELEASE = 8 << 20
_MAX_INDEX = 512 << 20  # of plain text; Debian's and Ubuntu's largest have 70 MB
_COMPRESSIONS = (".xz", ".gz", "")
_AT_ONCE = 6
_STEP = 1 << 20


@dataclass(frozen=True, slots=True)
class Opened:
    """A source whose Release is verified."""

    source: Source
    release: Release


class Archive:
    """What one bootstrap asks of archives. Every method blocks and raises Cancelled when nobody waits any more."""

    def __init__(self, downloads: Downloads, keyring: Keyring, report: Report, cancellation: Cancellation) -> None:
        self._downloads = downloads
        self._keyring = keyring
        self._report = report
        self._cancellation = cancellation

    def open(self, sources: Sequence[Source], *, now: float, allow_expired: bool) -> list[Opened]:
        """Their Releases. Raises NotFound, Unavailable, Forbidden (signature), Invalid (expired, of another suite)."""
        opened = []
        for source in sources:
            where = str(source)
            text = self._release(source)
            if text is None and source.optional:
                self._report(Message("not in this archive, left out", status=True, id=source.suite))
                continue
            if text is None:
                raise NotFound(
                    f"{where}: no such suite: {source.url}/dists/{source.suite} has no InRelease and no Release"
                )
            found = release.parse(text, where)
            release.check(found, source.suite, where, now=now, allow_expired=allow_expired)
            status = f"Release of {release.shown(found.date)} verified"
            self._report(Message(status, status=True, id=source.suite))
            opened.append(Opened(source, found))
        return opened

    def _release(self, source: Source) -> str | None:
        directory = f"{source.url}/dists/{source.suite}"
        signed = self._document(f"{directory}/InRelease")
        if signed is not None:
            return self._keyring.inline(signed, f"{directory}/InRelease")
        plain = self._document(f"{directory}/Release")
        if plain is None:
            return None
        signature = self._document(f"{directory}/Release.gpg")
        if signature is None:
            raise Forbidden(f"{directory}/Release is not signed: there is no InRelease and no Release.gpg")
        return self._keyring.detached(plain, signature, f"{directory}/Release")

    def _document(self, url: str) -> bytes | None:
        return self._downloads.document(url, _MAX_RELEASE, self._cancellation)

    def index(self, opened: Sequence[Opened], architecture: str, pins: Mapping[str, str]) -> Index:
        """All they offer; of packages with a pin only that version.

        Raises NotFound for a component or an architecture that one does not have, Invalid.
        """
        wanted = [job for one in opened for job in _indices(one, architecture)]
        fetched = self._fetch([(url, file) for url, file, _ in wanted], "index")
        listings = [
            Listing(_mapped(path, url), archive) for path, (url, _, archive) in zip(fetched, wanted, strict=True)
        ]
        index = Index(listings, architecture, self._cancellation.check, pins)
        self._report(Message(f"{len(index)} packages to choose from", status=True, id="index"))
        return index

    def packages(self, wanted: Sequence[Package]) -> list[Path]:
        """Their .debs. Raises Unavailable, Forbidden (other bytes than the index promises), Invalid."""
        return self._fetch([(f"{one.archive}/{_relative(one)}", one.file) for one in wanted], "packages")

    def _fetch(self, wanted: Sequence[tuple[str, File]], what: str) -> list[Path]:
        """Several at once, told as one; the first failure ends it."""
        missing = sum(file.size for _, file in wanted if not self._downloads.has(file))
        count = _Count(missing, lambda done: self._report(Progress(what, "Downloading", done, missing)))
        with ThreadPoolExecutor(_AT_ONCE, "bootstrap") as pool:
            futures = [
                pool.submit(self._downloads.fetch, url, file, self._cancellation, count.add) for url, file in wanted
            ]
            try:
                done = [future.result() for future in futures]
            except BaseException:
                pool.shutdown(wait=False, cancel_futures=True)
                raise
        told = f"{len(wanted)} files, {missing} bytes fetched" if missing else f"{len(wanted)} files, all here already"
        self._report(Message(told, status=True, id=what))
        return done


class _Count:
    """Bytes from several threads, told every MiB."""

    def __init__(self, total: int, tell: Callable[[int], None]) -> None:
        self._lock = Lock()
        self._tell = tell
        self._total = total
        self._done = self._told = 0

    def add(self, size: int) -> None:
        with self._lock:
            self._done += size
            if self._done - self._told < _STEP and self._done < self._total:
                return
            self._told = self._done
            self._tell(self._done)


def _indices(opened: Opened, architecture: str) -> Iterator[tuple[str, File, str]]:
    """Address, checksum and archive of each index that a source has for an architecture."""
    found, source = opened.release, opened.source
    if found.architectures and architecture not in found.architectures:
        raise NotFound(f"{source}: nothing for {architecture}: there are {', '.join(found.architectures)}")
    for component in source.components:
        for one in (architecture, "all") if found.separate_all else (architecture,):
            for compression in _COMPRESSIONS:
                name = f"{component}/binary-{one}/Packages{compression}"
                if name in found.files:
                    directory, _, base = name.rpartition("/")
                    file = found.files[name]
                    path = f"{directory}/by-hash/SHA256/{file.sha256}" if found.by_hash else f"{directory}/{base}"
                    yield f"{source.url}/dists/{source.suite}/{path}", file, source.url
                    break
            else:
                if one == architecture:
                    raise NotFound(f"{source}: no index of the component {component} for {architecture}")


def _mapped(path: Path, url: str) -> bytes | mmap.mmap:
    """An index, decompressed into a file without a name, which goes with the mapping."""
    with path.open("rb") as file, tempfile.TemporaryFile(dir=path.parent) as plain:
        _, stream = decompressed(file)
        while data := stream.read(_STEP):
            plain.write(data)
            if plain.tell() > _MAX_INDEX:
                raise Forbidden(f"{url}: an index of more than {_MAX_INDEX} bytes")
        plain.flush()
        return mmap.mmap(plain.fileno(), 0, prot=mmap.PROT_READ) if plain.tell() else b""


def _relative(package: Package) -> str:
    """The path of a .deb below the archive. Raises Forbidden for one that leads out of it."""
    path = package.path.removeprefix("./")
    if path.startswith("/") or "://" in path or ".." in path.split("/"):
        raise Forbidden(f"package {package.name}: its file {package.path!r} is not in the archive")
    return path
