"""What images report while they work, and what they need to know of others."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Protocol

from tiffin.model.digest import Digest


@dataclass(frozen=True, slots=True)
class Progress:
    """A step on one layer; current and total in bytes, total 0 where it is unknown."""

    id: str
    status: str
    current: int = 0
    total: int = 0


@dataclass(frozen=True, slots=True)
class Message:
    """A line for the user, such as `Loaded image: x`. `status` lines are docker's other kind of line.

    id: what a status line is about, such as the tag that is pulled. aux: what programs read of it.
    """

    text: str
    status: bool = False
    id: str = ""
    aux: Mapping[str, object] | None = None


Report = Callable[[Progress | Message], None]
"""Called from worker threads."""

Publish = Callable[[str, str, Mapping[str, str]], None]
"""(action, image ID or name, attributes): to the event bus. Called from worker threads."""


def silent(_: Progress | Message) -> None:
    """Reports nothing."""


@dataclass(frozen=True, slots=True)
class User:
    """A container that needs an image."""

    id: str
    running: bool
    created: float = 0.0


class Users(Protocol):
    """Who uses images; the containers are asked through this."""

    def using(self, image: Digest) -> list[User]: ...


class NoUsers:
    def using(self, image: Digest) -> list[User]:
        return []
