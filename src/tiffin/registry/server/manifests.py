"""What a manifest says of itself and refers to. It is stored as it came; nothing here changes a byte."""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from tiffin.errors import Invalid
from tiffin.model import descriptor
from tiffin.model.descriptor import INDEX_TYPES, MANIFEST_TYPES, MAX_DOCUMENT
from tiffin.model.digest import Digest
from tiffin.registry.server import names
from tiffin.registry.server.refusals import Refusal, manifest_invalid, too_large

_SCHEMA_1 = "application/vnd.docker.distribution.manifest.v1+"
_MAX_REFERENCES = 10_000
_FOREIGN = ("nondistributable", "foreign")


@dataclass(frozen=True, slots=True)
class Described:
    """blobs, manifests: digests that must be in the same repository. foreign: layers that lie elsewhere."""

    media_type: str
    size: int
    blobs: tuple[Digest, ...] = ()
    manifests: tuple[Digest, ...] = ()
    subject: Digest | None = None
    artifact_type: str = ""
    annotations: Mapping[str, str] = field(default_factory=dict)

    def record(self) -> bytes:
        """What a repository keeps of it. Annotations are in the referrers' list only."""
        known = {"mediaType": self.media_type, "size": self.size, "blobs": self.blobs, "manifests": self.manifests}
        if self.subject:
            known["subject"] = self.subject
        return json.dumps(known, separators=(",", ":")).encode()

    def referrer(self, digest: Digest) -> bytes:
        """The descriptor that the subject's list of referrers has (specification, "Listing Referrers")."""
        known: dict[str, Any] = {"mediaType": self.media_type, "digest": digest, "size": self.size}
        if self.artifact_type:
            known["artifactType"] = self.artifact_type
        if self.annotations:
            known["annotations"] = dict(self.annotations)
        return json.dumps(known, separators=(",", ":")).encode()


def recorded(record: bytes) -> Described:
    """The opposite of `record`."""
    known = json.loads(record)
    return Described(
        known["mediaType"], known["size"], tuple(known["blobs"]), tuple(known["manifests"]), known.get("subject")
    )


def describe(raw: bytes, content_type: str) -> Described:
    """Read a manifest. Refusal MANIFEST_INVALID for what is none, or is two things at once (CVE-2021-41190)."""
    if len(raw) > MAX_DOCUMENT:
        raise too_large("MANIFEST_INVALID", MAX_DOCUMENT)
    try:
        body = descriptor.document(raw, "the body")
    except Invalid as error:
        raise manifest_invalid(str(error)) from error
    media_type = _media_type(body, content_type.partition(";")[0].strip())
    subject = body.get("subject")
    blobs = list(_digests(body, "config", "layers", "blobs"))
    manifests = list(_digests(body, "manifests"))
    if len(blobs) + len(manifests) > _MAX_REFERENCES:
        raise manifest_invalid(f"more than {_MAX_REFERENCES} descriptors")
    return Described(
        media_type,
        len(raw),
        tuple(dict.fromkeys(blobs)),
        tuple(dict.fromkeys(manifests)),
        _digest(subject) if subject is not None else None,
        _artifact_type(body),
        {str(key): str(value) for key, value in _object(body.get("annotations") or {}).items()},
    )


def _media_type(body: dict[str, Any], stated: str) -> str:
    own = body.get("mediaType")
    if body.get("schemaVersion") == 1 or stated.startswith(_SCHEMA_1):
        raise manifest_invalid("images of schema 1 are not taken; push with a newer client")
    if own is not None and (not isinstance(own, str) or (stated and own != stated)):
        raise manifest_invalid(f"its mediaType is {str(own)[:100]}, its Content-Type {stated[:100]}")
    found = own or stated
    if not found or not found.isascii() or not found.isprintable() or len(found) > 255:
        raise manifest_invalid("it says nowhere of which media type it is")
    image, index = "layers" in body or "config" in body, "manifests" in body
    if (image and index) or (image and found in INDEX_TYPES) or (index and found in MANIFEST_TYPES):
        raise manifest_invalid("it is an image and an index at once")
    if found in MANIFEST_TYPES and not ("config" in body and isinstance(body.get("layers"), list)):
        raise manifest_invalid("an image has a config and a list of layers")
    if found in INDEX_TYPES and not isinstance(body.get("manifests"), list):
        raise manifest_invalid("an index has a list of manifests")
    return found


def _digests(body: dict[str, Any], *keys: str) -> Iterator[Digest]:
    for key in keys:
        value = body.get(key)
        for item in value if isinstance(value, list) else [] if value is None else [value]:
            kind = str(_object(item).get("mediaType") or "")
            if not (item.get("urls") and any(word in kind for word in _FOREIGN)):
                yield _digest(item)


def _digest(value: object) -> Digest:
    try:
        return names.digest(str(_object(value).get("digest") or ""))
    except Refusal as error:
        raise manifest_invalid(f"a descriptor's digest: {error}") from error


def _object(value: object) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise manifest_invalid("a descriptor is no JSON object")
    return value


def _artifact_type(body: dict[str, Any]) -> str:
    own = body.get("artifactType")
    if isinstance(own, str) and own:
        return own
    config = body.get("config")
    return str(config.get("mediaType") or "") if isinstance(config, dict) else ""
