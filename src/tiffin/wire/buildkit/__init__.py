"""BuildKit's messages: `message("moby.buildkit.v1.SolveRequest")` is a protobuf class.

protobuf is imported with the first message asked for, which is the first build: it takes 40 ms and 6 MB that a daemon
without builds does without. `schema` is our own table of the names and numbers that the public definitions give
(moby/buildkit's and tonistiigi/fsutil's .proto files).
"""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from google.protobuf.descriptor_pool import DescriptorPool

CONTROL = "moby.buildkit.v1"
GATEWAY = "moby.buildkit.v1.frontend"


@cache
def message(name: str) -> Any:
    """The class of a message, by its full name. Raises KeyError for an unknown one."""
    from google.protobuf.message_factory import GetMessageClass

    return GetMessageClass(_pool().FindMessageTypeByName(name))


@cache
def _pool() -> DescriptorPool:
    from tiffin.wire.buildkit.descriptors import pool

    return pool()


def control(name: str, **fields: Any) -> Any:
    """A message of the Control service."""
    return message(f"{CONTROL}.{name}")(**fields)


def gateway(name: str, **fields: Any) -> Any:
    """A message of the LLBBridge service."""
    return message(f"{GATEWAY}.{name}")(**fields)


def parse(name: str, data: bytes) -> Any:
    """A message from its bytes. Raises ValueError for what is none."""
    from google.protobuf.message import DecodeError

    try:
        return message(name).FromString(data)
    except DecodeError as error:
        raise ValueError(f"not a {name}: {error}") from error


def stamp(target: Any, nanoseconds: int) -> None:
    """Set a google.protobuf.Timestamp field from nanoseconds since the epoch."""
    target.seconds, target.nanos = divmod(nanoseconds, 1_000_000_000)


def nanoseconds(stamped: Any) -> int:
    return int(stamped.seconds) * 1_000_000_000 + int(stamped.nanos)
