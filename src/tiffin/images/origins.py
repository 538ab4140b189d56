"""Where a pull asks: a repository's mirrors, then the registry itself."""

import threading
from collections.abc import Callable, Iterator
from typing import TypeVar

from tiffin.errors import TiffinError
from tiffin.model.reference import Reference
from tiffin.registry.failures import Refused, Unreachable, of_pull
from tiffin.registry.repository import Repository

T = TypeVar("T")


class Opened:
    """A repository's endpoints, opened as they are needed, in order, and kept. One thread at a time extends it."""

    def __init__(self, repositories: Iterator[Repository]) -> None:
        self._repositories = repositories
        self._found: list[Repository] = []
        self._lock = threading.Lock()

    def __iter__(self) -> Iterator[Repository]:
        position = 0
        while True:
            with self._lock:
                if position == len(self._found):
                    following = next(self._repositories, None)
                    if following is None:
                        return
                    self._found.append(following)
                repository = self._found[position]
            yield repository
            position += 1


def first(origins: Opened, ask: Callable[[Repository], T], reference: Reference | None = None) -> T:
    """What the first endpoint that knows it answers; the registry's own refusal where none does."""
    failure: TiffinError | None = None
    try:
        for repository in origins:
            try:
                answer = ask(repository)
            except (Refused, Unreachable) as error:
                failure = error
                continue
            if answer is not None or not repository.session.endpoint.mirror:
                return answer
    except Unreachable as error:
        failure = error
    assert failure is not None
    raise of_pull(failure, reference) if reference else failure
