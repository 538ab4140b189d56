"""Files from the web, as streams: http and https, redirects followed. Blocks. Raises OSError and nothing else."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from http import HTTPStatus
from typing import TYPE_CHECKING

from tiffin import __version__

if TYPE_CHECKING:
    from email.message import Message
    from http.client import HTTPResponse

_SECONDS = 60  # without a single byte


class Refused(OSError):
    """The server has something else to say than the file."""

    def __init__(self, status: int) -> None:
        phrase = HTTPStatus(status).phrase if status in set(HTTPStatus) else ""
        super().__init__(f"status {status} {phrase}".rstrip())
        self.status = status


class Answer:
    """The file: `read` until b"", and the server's headers."""

    def __init__(self, response: HTTPResponse) -> None:
        self._response = response
        self.headers: Message = response.headers

    def read(self, size: int = -1, /) -> bytes:
        from http.client import HTTPException

        try:
            return self._response.read(None if size < 0 else size)
        except HTTPException as error:
            raise OSError(f"the answer broke off: {error!r}") from error


@contextmanager
def opened(url: str, headers: Mapping[str, str] = {}) -> Iterator[Answer]:
    """Ask for a file. Raises Refused for any status but success, 304 included."""
    import urllib.error  # with all that they load these are a mebibyte: only who fetches pays
    import urllib.request
    from http.client import HTTPException

    if not url.startswith(("http://", "https://")):
        raise OSError("unsupported protocol: only http and https can be fetched")
    try:
        request = urllib.request.Request(url, headers={"User-Agent": f"tiffin/{__version__}", **headers})
        response = urllib.request.urlopen(request, timeout=_SECONDS)
    except urllib.error.HTTPError as error:
        error.close()
        raise Refused(error.code) from error
    except (HTTPException, ValueError) as error:
        raise OSError(str(error)) from error
    with closing(response):
        yield Answer(response)
