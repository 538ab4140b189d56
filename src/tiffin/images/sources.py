"""Where `import` reads from: the request's body, or an http(s) URL."""

from collections.abc import Iterator
from contextlib import contextmanager

from tiffin.content.compression import Readable
from tiffin.errors import Invalid, Unavailable

_SECONDS = 60


@contextmanager
def opened(source: str, body: Readable | None) -> Iterator[Readable]:
    """A stream of bytes. Invalid for what is no URL, Unavailable where it can't be fetched."""
    if body is not None:
        yield body
        return
    url = source if "://" in source else f"http://{source}"
    if not url.startswith(("http://", "https://")):
        raise Invalid(f"cannot import {source!r}: only http and https URLs can be fetched")
    import urllib.request  # a mebibyte with all that it loads: only who fetches pays

    try:
        answer = urllib.request.urlopen(url, timeout=_SECONDS)
    except (OSError, ValueError) as error:
        raise Unavailable(f"cannot fetch {url}: {error}") from error
    with answer:
        yield answer
