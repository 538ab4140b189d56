"""Files from the web: ADD of a URL, and contexts. What a server says of a file decides whether it is fetched again."""

import os
from collections.abc import Callable
from email.utils import parsedate_to_datetime
from pathlib import Path
from time import time_ns

from tiffin.build.solve.cache import Cache, Download
from tiffin.build.steps import HttpSource
from tiffin.content import web
from tiffin.content.blobs import BlobStore
from tiffin.errors import Invalid, Unavailable
from tiffin.model.digest import Digest, parse_digest

_CHUNK = 1 << 18
_SECOND = 1_000_000_000


class Fetching:
    """Blocks."""

    def __init__(self, blobs: BlobStore, cache: Cache) -> None:
        self._blobs = blobs
        self._cache = cache

    def fetch(self, step: HttpSource, into: Path, progress: Callable[[int, int], None]) -> Digest:
        """One file in a directory; its digest, name and time as a key. Invalid for a wrong checksum."""
        known = self._cache.download(step.url)
        if known is not None and not self._blobs.exists(known.blob):
            known = None
        if known is None or known.blob != step.checksum:  # a checksum says which content is right
            known = self._ask(step, known, progress)
        if step.checksum and known.blob != parse_digest(step.checksum):
            raise Invalid(f"digest mismatch {known.blob}: {step.checksum}")
        target = into / step.filename
        with self._blobs.open(known.blob) as file, target.open("wb") as copy:
            os.fchmod(copy.fileno(), 0o600)
            while data := file.read(_CHUNK):
                copy.write(data)
        changed = _time(known.facts)
        os.utime(target, ns=(changed, changed))
        return known.blob

    def _ask(self, step: HttpSource, known: Download | None, progress: Callable[[int, int], None]) -> Download:
        headers: dict[str, str] = {}
        if known is not None:
            headers |= {"If-None-Match": known.facts["etag"]} if "etag" in known.facts else {}
            headers |= {"If-Modified-Since": known.facts["modified"]} if "modified" in known.facts else {}
        try:
            with web.opened(step.url, headers) as answer:
                return self._keep(step, answer, progress)
        except web.Refused as error:
            if error.status == 304 and known is not None:
                return known
            raise Invalid(f"invalid response status {error.status} for {step.url}") from error
        except OSError as error:
            raise Unavailable(f"failed to fetch {step.url}: {error}") from error

    def _keep(self, step: HttpSource, answer: web.Answer, progress: Callable[[int, int], None]) -> Download:
        with self._blobs.lease() as lease, self._blobs.writer(lease) as writer:
            length = answer.headers.get("Content-Length") or ""
            total = int(length) if length.isdecimal() else 0
            while data := answer.read(_CHUNK):
                writer.write(data)
                progress(writer.size, total)
            if total and writer.size != total:
                raise Unavailable(f"failed to fetch {step.url}: {writer.size} of {total} bytes came")
            blob = writer.commit()
            facts = {"etag": answer.headers.get("ETag"), "modified": answer.headers.get("Last-Modified")}
            said = {key: value for key, value in facts.items() if value}
            found = Download(step.url, said, blob, writer.size, time_ns())
            self._cache.keep_download(found)
        return found


def _time(facts: dict[str, str]) -> int:
    """Last-Modified in ns, 0 without one."""
    try:
        return int(parsedate_to_datetime(facts["modified"]).timestamp()) * _SECOND
    except (KeyError, ValueError, TypeError):
        return 0
