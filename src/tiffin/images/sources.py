"""Where `import` reads from: the request's body, or an http(s) URL."""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

from tiffin.content import web
from tiffin.content.compression import Readable
from tiffin.errors import Invalid, Unavailable


@contextmanager
def opened(source: str, body: Readable | None) -> Iterator[Readable]:
    """A stream of bytes. Invalid for what is no URL, Unavailable where it can't be fetched."""
    if body is not None:
        yield body
        return
    url = source if "://" in source else f"http://{source}"
    if not url.startswith(("http://", "https://")):
        raise Invalid(f"cannot import {source!r}: only http and https URLs can be fetched")
    with ExitStack() as undo:
        try:
            answer = undo.enter_context(web.opened(url))
        except OSError as error:
            raise Unavailable(f"cannot fetch {url}: {error}") from error
        yield answer
