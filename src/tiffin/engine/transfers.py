"""Pull, push and what else asks a registry: blocking work in threads of its own, followed from the event loop.

The loop's own pool of threads is small and shared with everything that must be quick, so transfers stay out of it.
"""

import asyncio
import json
import threading
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, TypeVar

from tiffin.errors import Forbidden, NotFound, Unauthorized
from tiffin.images.events import Message, Progress, Report
from tiffin.images.pulling import Pull, Pulls
from tiffin.images.pushing import Push, Pushes
from tiffin.model.digest import Digest
from tiffin.model.reference import Reference
from tiffin.registry.access import Registries
from tiffin.registry.cancellation import Cancellation
from tiffin.registry.credentials import Credentials
from tiffin.registry.failures import Refused
from tiffin.registry.repository import Document

T = TypeVar("T")
Work = Callable[[Report, Cancellation], T]
_FULL = 1000  # messages; what is only progress is left out above


@dataclass(frozen=True, slots=True)
class Remote:
    """A manifest or index in a registry. platforms: objects as the index or the image's configuration has them."""

    document: Document
    platforms: tuple[dict[str, Any], ...]


class Transfers:
    """What talks to registries. Constructed by the daemon, closed with it."""

    def __init__(self, registries: Registries, pulls: Pulls, pushes: Pushes) -> None:
        self.registries = registries
        self.pulls = pulls
        self.pushes = pushes
        self._running: set[Cancellation] = set()

    def close(self) -> None:
        """Break off everything. What pulls have fetched is kept for the next attempt."""
        for cancellation in tuple(self._running):
            cancellation.cancel()
        self.pulls.close()
        self.registries.transport.close()

    def pull(self, pull: Pull) -> AsyncIterator[Message | Progress]:
        """Broken off when nobody iterates any more, unless another pull needs the same layers."""
        return self.following(lambda report, cancellation: self.pulls.pull(pull, report, cancellation))

    def again(self, reference: Reference, image: Digest, credentials: Credentials) -> None:
        """Fetch what is missing of an image; see `Pulls.again`. Blocks."""
        cancellation = Cancellation()
        self._running.add(cancellation)
        try:
            self.pulls.again(reference, image, credentials, cancellation)
        finally:
            self._running.discard(cancellation)

    def push(self, push: Push) -> AsyncIterator[Message | Progress]:
        """As `pull`."""
        return self.following(lambda report, cancellation: self.pushes.push(push, report, cancellation))

    async def login(self, domain: str, credentials: Credentials) -> str:
        """An identity token, or nothing, for credentials that the registry takes. Raises Refused, Unreachable."""
        return await self._done(lambda _, cancellation: self.registries.login(domain, credentials, cancellation))

    async def remote(self, reference: Reference, credentials: Credentials) -> Remote:
        """What a registry holds under a name. Raises NotFound, Unauthorized, Forbidden, Unreachable."""
        return await self._done(lambda _, cancellation: self._remote(reference, credentials, cancellation))

    async def asked(self, question: Callable[[Cancellation], T]) -> T:
        """What a registry answers to something that reports nothing meanwhile. Refusals have dockerd's status."""

        def work(_: Report, cancellation: Cancellation) -> T:
            try:
                return question(cancellation)
            except Refused as error:
                raise _status_of(error) from error

        return await self._done(work)

    def _remote(self, reference: Reference, credentials: Credentials, cancellation: Cancellation) -> Remote:
        wanted = reference.digest or reference.with_default_tag().tag or "latest"
        failure: Refused | None = None
        for repository in self.registries.reading(reference, credentials, cancellation):
            try:
                document = repository.manifest(wanted)
                body = json.loads(document.raw)
                if document.is_index:
                    items = [item.get("platform") for item in body.get("manifests") or [] if isinstance(item, dict)]
                    return Remote(document, tuple(item for item in items if isinstance(item, dict)))
                answer, _ = repository.blob(body["config"]["digest"], 0, cancellation)
                with answer:
                    config = json.loads(answer.body(4 << 20))
                return Remote(document, (config,))
            except Refused as error:
                failure = error
        assert failure is not None
        raise _status_of(failure)

    async def _done(self, work: Work[T]) -> T:
        """The result of work that reports nothing."""
        result: list[T] = []

        def run(report: Report, cancellation: Cancellation) -> None:
            result.append(work(report, cancellation))

        async for _ in self.following(run):
            pass
        return result[0]

    async def following(self, work: Work[None]) -> AsyncGenerator[Message | Progress, None]:
        """What the work reports, until it is done. Raises what it raises."""
        loop = asyncio.get_running_loop()
        messages: asyncio.Queue[Message | Progress | None] = asyncio.Queue()
        outcome: list[BaseException] = []
        cancellation = Cancellation()

        def report(message: Message | Progress) -> None:
            if messages.qsize() > _FULL and isinstance(message, Progress) and message.current:
                return
            with suppress(RuntimeError):  # the loop has gone
                loop.call_soon_threadsafe(messages.put_nowait, message)

        def run() -> None:
            try:
                work(report, cancellation)
            except BaseException as error:
                outcome.append(error)
            with suppress(RuntimeError):
                loop.call_soon_threadsafe(ended)

        def ended() -> None:
            self._running.discard(cancellation)
            messages.put_nowait(None)

        self._running.add(cancellation)
        threading.Thread(target=run, name="transfer", daemon=True).start()
        try:
            while (message := await messages.get()) is not None:
                yield message
            if outcome:
                raise outcome[0]
        finally:
            # the thread takes itself off `_running` when it has tidied up
            cancellation.cancel()


def _status_of(failure: Refused) -> Exception:
    """A refusal with the status that dockerd gives it."""
    match failure.code:
        case "UNAUTHORIZED":
            return Unauthorized(str(failure))
        case "DENIED":
            return Forbidden(str(failure))
        case "MANIFEST_UNKNOWN" | "NAME_UNKNOWN" | "NOT_FOUND":
            return NotFound(str(failure))
    return failure
