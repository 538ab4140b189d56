"""Repository names, tags and digests as they come in: whatever names a file has passed here."""

import hashlib
import re
from typing import TYPE_CHECKING

from tiffin.model.digest import Digest
from tiffin.registry.server.refusals import Refusal, manifest_unknown, name_invalid

if TYPE_CHECKING:
    from hashlib import _Hash

_COMPONENT = r"[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*"
_NAME = re.compile(rf"{_COMPONENT}(?:/{_COMPONENT})*", re.ASCII)
_TAG = re.compile(r"[a-zA-Z0-9_][a-zA-Z0-9._-]{0,127}", re.ASCII)
_DIGEST = re.compile(r"[a-z0-9]+(?:[.+_-][a-z0-9]+)*:[a-zA-Z0-9=_-]+", re.ASCII)
_KNOWN = {"sha256": re.compile(r"[0-9a-f]{64}", re.ASCII), "sha512": re.compile(r"[0-9a-f]{128}", re.ASCII)}
MAX_NAME = 255
ALGORITHMS = tuple(_KNOWN)


def repository(text: str) -> str:
    """A repository's name. Refusal NAME_INVALID for anything else."""
    if len(text) > MAX_NAME or not _NAME.fullmatch(text):
        raise name_invalid(text)
    return text


def is_digest(text: str) -> bool:
    """Whether it looks like one rather than like a tag."""
    return ":" in text


def digest(text: str) -> Digest:
    """sha256 or sha512. Refusal DIGEST_INVALID for anything else."""
    algorithm, _, encoded = text.partition(":")
    known = _KNOWN.get(algorithm)
    if known is None and _DIGEST.fullmatch(text):
        raise Refusal("DIGEST_INVALID", 400, f"digest algorithm {algorithm} is not supported; use sha256 or sha512")
    if known is None or not known.fullmatch(encoded):
        raise Refusal("DIGEST_INVALID", 400, "invalid checksum digest format", {"digest": text[:200]})
    return Digest(text)


def tag(text: str) -> str:
    """A tag. What can't be one is one that nobody has pushed."""
    if not _TAG.fullmatch(text):
        raise manifest_unknown("invalid tag", {"tag": text[:200]})
    return text


def new_hash(algorithm: str) -> "_Hash":
    """Of a digest's algorithm: sha256 or sha512."""
    if algorithm not in _KNOWN:
        raise Refusal("DIGEST_INVALID", 400, f"digest algorithm {algorithm[:40]!r} is not supported")
    return hashlib.new(algorithm)


def digest_of(data: bytes, algorithm: str = "sha256") -> Digest:
    return Digest(f"{algorithm}:{hashlib.new(algorithm, data).hexdigest()}")


def algorithm_of(digest: Digest) -> str:
    return digest.partition(":")[0]
