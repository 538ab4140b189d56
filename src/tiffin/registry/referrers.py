"""What refers to a manifest: signatures, attestations and other artifacts with a `subject`.

A registry lists them (`GET …/referrers/DIGEST`, in pages); for one that can't, clients keep an index under the tag
`sha256-<hex>` (distribution specification 1.1, "Referrers Tag Schema").
"""

import json
from collections.abc import Iterator, Mapping
from typing import Any

from tiffin.errors import Invalid
from tiffin.model.descriptor import MAX_DOCUMENT, OCI_INDEX, Descriptor, document, parse_descriptor
from tiffin.model.digest import Digest
from tiffin.registry.failures import Refused
from tiffin.registry.repository import Repository, following
from tiffin.registry.session import Call

_MAX_LIST = 16 << 20  # bytes of all pages
_PAGE = 4096  # bytes that a page counts for at least
_NO_API = (400, 404, 405, 406)


def tag_of(subject: Digest) -> str:
    """The tag of the list that clients keep."""
    return subject.replace(":", "-")


def listed(repository: Repository, subject: Digest) -> list[Descriptor]:
    """What refers to a manifest, by the registry's list, else by the tag's. Invalid for a list that is none."""
    found = [item for page in pages(repository, subject) for item in page]
    return [parse_descriptor(item, f"the list of what refers to {subject}") for item in found]


def pages(repository: Repository, subject: Digest, artifact_type: str = "") -> Iterator[list[Any]]:
    """Descriptors as they stand in the list, page by page. Invalid for a list that has no end."""
    url = repository.url(f"referrers/{subject}", artifactType=artifact_type)
    left = _MAX_LIST
    while url:
        call = Call("GET", url, repository.scopes, {"Accept": OCI_INDEX}, accept=_NO_API)
        with repository.session.call(call) as answer:
            if answer.status in _NO_API:
                yield _tagged(repository, subject)[1]
                return
            raw, url = answer.body(MAX_DOCUMENT), following(answer, url, repository.session.endpoint.url)
        left -= len(raw) + _PAGE
        if left < 0:
            raise Invalid(f"the list of what refers to {subject} has more than {_MAX_LIST} bytes")
        yield _items(raw, subject)


def _items(raw: bytes, subject: Digest) -> list[Any]:
    items = document(raw, f"the list of what refers to {subject}").get("manifests")
    if items is not None and not isinstance(items, list):
        raise Invalid(f"the list of what refers to {subject} is no image index")
    return items or []


def _tagged(repository: Repository, subject: Digest) -> tuple[dict[str, Any], list[Any]]:
    try:
        found = repository.manifest(tag_of(subject))
    except Refused as error:
        if error.status != 404:
            raise
        return {}, []
    return document(found.raw, "the list"), _items(found.raw, subject) if found.is_index else []


def publish(repository: Repository, subject: Digest, raw: bytes, described: Mapping[str, Any]) -> None:
    """Put a manifest that refers to a subject. described: its descriptor, for a registry that keeps no list itself."""
    kept = repository.put_manifest(described["digest"], raw, described["mediaType"])
    if kept == subject:
        return
    index, items = _tagged(repository, subject)
    if any(isinstance(item, dict) and item.get("digest") == described["digest"] for item in items):
        return
    body = {"schemaVersion": 2, "mediaType": OCI_INDEX, **index, "manifests": [*items, dict(described)]}
    repository.put_manifest(tag_of(subject), json.dumps(body, separators=(",", ":")).encode(), OCI_INDEX)
