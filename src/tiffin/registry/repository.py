"""One repository of a registry: manifests, tags, blobs."""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from urllib.parse import quote, urljoin, urlsplit

from tiffin.errors import Internal, Invalid
from tiffin.model.descriptor import (
    DOCKER_INDEX,
    DOCKER_MANIFEST,
    INDEX_TYPES,
    MANIFEST_TYPES,
    MAX_DOCUMENT,
    OCI_INDEX,
    OCI_MANIFEST,
)
from tiffin.model.digest import Digest, digest_of, parse_digest
from tiffin.registry.cancellation import Cancellation
from tiffin.registry.failures import Refused
from tiffin.registry.session import Call, Session, same_origin
from tiffin.registry.transport import Answer

_SCHEMA_1 = "application/vnd.docker.distribution.manifest.v1+"
ACCEPTED = ", ".join((DOCKER_MANIFEST, OCI_MANIFEST, DOCKER_INDEX, OCI_INDEX, "application/json;q=0.5"))
_MAX_TAGS = 8 << 20
_MAX_PAGES = 10_000


@dataclass(frozen=True, slots=True)
class Document:
    """A manifest or an index, as received and verified. media_type: what its own words or the header say."""

    raw: bytes
    media_type: str
    digest: Digest

    @property
    def is_index(self) -> bool:
        return self.media_type in INDEX_TYPES


class Repository:
    """path: without the registry's name. writing: whether tokens must allow pushing."""

    def __init__(self, session: Session, path: str, *, writing: bool = False) -> None:
        endpoint = session.endpoint
        self.session = session
        self.path = f"{endpoint.prefix}/{path}" if endpoint.prefix else path
        self._query = f"?ns={quote(endpoint.namespace)}" if endpoint.namespace else ""
        actions = "pull,push" if writing else "pull"
        self.scopes: tuple[str, ...] = (f"repository:{self.path}:{actions}",)

    def url(self, what: str, **query: str) -> str:
        """query: what is empty is left out."""
        more = "&".join(f"{key}={quote(value, safe='')}" for key, value in query.items() if value)
        joint = ("&" if self._query else "?") if more else ""
        return f"{self.session.endpoint.url}/v2/{self.path}/{what}{self._query}{joint}{more}"

    def digest(self, reference: str) -> Digest | None:
        """The digest behind a tag without its document (rate limits don't count HEAD); None where unknown."""
        call = Call("HEAD", self.url(f"manifests/{reference}"), self.scopes, {"Accept": ACCEPTED})
        try:
            with self.session.call(call) as answer:
                return parse_digest(answer.headers.get("Docker-Content-Digest") or "")
        except (Refused, Invalid):
            return None  # GET will say why, with a body

    def manifest(self, reference: str) -> Document:
        """By tag or digest. Invalid for what is none, too large, or not what its digest says."""
        call = Call("GET", self.url(f"manifests/{reference}"), self.scopes, {"Accept": ACCEPTED})
        with self.session.call(call) as answer:
            raw = answer.body(MAX_DOCUMENT)
            stated = (answer.headers.get("Content-Type") or "").partition(";")[0].strip()
            header = answer.headers.get("Docker-Content-Digest")
        digest = digest_of(raw)
        if reference.startswith("sha256:") and digest != reference:
            raise Invalid(f"manifest verification failed for digest {reference}: its content has digest {digest}")
        if header and header.startswith("sha256:") and header != digest:
            raise Invalid(f"manifest verification failed for digest {header}: its content has digest {digest}")
        return Document(raw, _media_type(raw, stated), digest)

    def tags(self) -> Iterator[str]:
        """Every tag, page by page."""
        url = self.url("tags/list")
        for _ in range(_MAX_PAGES):
            with self.session.call(Call("GET", url, self.scopes)) as answer:
                raw = answer.body(_MAX_TAGS)
                behind = following(answer, url, self.session.endpoint.url)
            try:
                yield from [str(tag) for tag in json.loads(raw).get("tags") or []]
            except (ValueError, AttributeError, RecursionError) as error:
                raise Internal(f'Get "{url}": the list of tags is no JSON object') from error
            if not behind:
                return
            url = behind

    def has_blob(self, digest: Digest) -> int | None:
        """A blob's size in the registry, None where it has none (or does not say)."""
        with self.session.call(
            Call("HEAD", self.url(f"blobs/{digest}"), self.scopes, accept=(404, 401, 403, 405))
        ) as answer:
            return int(answer.headers.get("Content-Length") or 0) if answer.status == 200 else None

    def blob(self, digest: Digest, offset: int, cancellation: Cancellation) -> tuple[Answer, int]:
        """The answer to read from, and the offset at which it begins: `offset` where the server can, else 0."""
        headers = {"Accept-Encoding": "identity"}
        if offset:
            headers["Range"] = f"bytes={offset}-"
        call = Call("GET", self.url(f"blobs/{digest}"), self.scopes, headers, retry=False, accept=(416,))
        answer = self.session.call(call, cancellation)
        if answer.status == 416:
            answer.close()
            answer = self.session.call(Call("GET", call.url, self.scopes, retry=False), cancellation)
        begins = 0
        if answer.status == 206:
            unit, _, given = (answer.headers.get("Content-Range") or "").partition(" ")
            first = given.partition("-")[0]
            if unit != "bytes" or first != str(offset):
                answer.close()
                raise Internal(f"blob {digest}: asked for bytes from {offset} on, got {unit} {given}")
            begins = offset
        return answer, begins

    def put_manifest(self, reference: str, raw: bytes, media_type: str) -> str:
        """Publish a manifest whose blobs are there; its subject, where the registry lists what refers to that."""
        import io

        headers = {"Content-Type": media_type, "Content-Length": str(len(raw))}
        call = Call("PUT", self.url(f"manifests/{reference}"), self.scopes, headers, lambda: io.BytesIO(raw))
        with self.session.call(call) as answer:
            return answer.headers.get("OCI-Subject") or ""


def _media_type(raw: bytes, stated: str) -> str:
    """What a document is. Its own words win; where they and the header are at odds it is refused (CVE-2021-41190)."""
    try:
        body = json.loads(raw)
    except (ValueError, RecursionError) as error:
        raise Invalid(f"manifest is not valid JSON: {error}") from error
    if not isinstance(body, dict):
        raise Invalid("manifest is not a JSON object")
    known = MANIFEST_TYPES | INDEX_TYPES
    own = body.get("mediaType") if isinstance(body.get("mediaType"), str) else ""
    if body.get("schemaVersion") == 1 or stated.startswith(_SCHEMA_1):
        raise Invalid(
            "[DEPRECATION NOTICE] Docker Image Format v1 and Docker Image manifest version 2, schema 1 support is "
            "not available: push the image again with a newer client"
        )
    if own and stated in known and own != stated:
        raise Invalid(f"manifest: its mediaType {own} is not the Content-Type {stated} it was sent with")
    found = own or stated
    if found not in known:
        # some registries send text/plain or nothing: the shape decides
        found = OCI_INDEX if "manifests" in body else OCI_MANIFEST if "config" in body else found
        if own:
            found = own
    if found not in known:
        raise Invalid(f"unsupported manifest media type and no default available: {found or 'none'}")
    if ("manifests" in body) and ("layers" in body or "config" in body):
        raise Invalid("manifest: it is an image and an index at once: refused")
    return found


def following(answer: Answer, url: str, origin: str) -> str:
    """Where a list goes on (`Link: <…>; rel="next"`, RFC 8288); empty at its end. Internal for another host."""
    link = answer.headers.get("Link") or ""
    if 'rel="next"' not in link.replace(" ", "") and "rel=next" not in link:
        return ""
    target = link.partition("<")[2].partition(">")[0]
    if not target or urlsplit(target).scheme not in ("", "http", "https"):
        return ""
    target = urljoin(url, target)
    if not same_origin(target, origin):
        raise Internal(f'Get "{url}": the list goes on at another host: refused')
    return target
