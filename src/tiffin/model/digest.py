"""Content digests: `sha256:` and 64 hexadecimal digits, checked where they enter (OCI descriptor.md)."""

import hashlib
import re
from typing import NewType

from tiffin.errors import Invalid

Digest = NewType("Digest", str)
"""`sha256:<64 lower-case hex>`, verified by `parse_digest`. Safe as a file name after the colon."""

_DIGEST = re.compile(r"sha256:[0-9a-f]{64}", re.ASCII)


def parse_digest(text: str) -> Digest:
    """The digest, or Invalid: whatever comes from outside must pass here before it may name a file."""
    if not isinstance(text, str) or not _DIGEST.fullmatch(text):
        raise Invalid(f"invalid checksum digest format: {text!r} is not sha256:<64 hexadecimal digits>")
    return Digest(text)


def digest_of(data: bytes) -> Digest:
    return Digest("sha256:" + hashlib.sha256(data).hexdigest())


def hex_of(digest: Digest) -> str:
    return digest.partition(":")[2]


def chain_ids(diff_ids: tuple[Digest, ...]) -> tuple[Digest, ...]:
    """The chain ID of every layer, lowest first (OCI image specification, config.md, "Layer ChainID")."""
    chain: list[Digest] = []
    for diff_id in diff_ids:
        chain.append(digest_of(f"{chain[-1]} {diff_id}".encode()) if chain else diff_id)
    return tuple(chain)
