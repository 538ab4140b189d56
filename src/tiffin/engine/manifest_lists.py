"""What `manifest` asks of registries: a document as it lies there, and a list published with the manifests it names."""

import json
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, replace

from tiffin.engine.transfers import Transfers
from tiffin.errors import Invalid, NotFound, Unsupported
from tiffin.model.descriptor import INDEX_TYPES, MAX_DOCUMENT, MAX_LAYERS, parse_manifest
from tiffin.model.digest import Digest, digest_of
from tiffin.model.reference import Reference
from tiffin.registry import uploads
from tiffin.registry.access import Registries
from tiffin.registry.cancellation import Cancellation
from tiffin.registry.credentials import Credentials
from tiffin.registry.failures import Refused
from tiffin.registry.repository import Document, Repository

MAX_SOURCES = MAX_LAYERS


@dataclass(frozen=True, slots=True)
class Found:
    """A manifest or index. config: the image's configuration document, empty for an index."""

    document: Document
    config: bytes = b""


@dataclass(frozen=True, slots=True)
class Published:
    """digest: the list's. sources: those that were put into its repository from others."""

    digest: Digest
    sources: tuple[Reference, ...]


async def find(transfers: Transfers, reference: Reference, credentials: Credentials, *, insecure: bool) -> Found:
    """What the registry itself has under a name, no mirror. Raises NotFound, Unauthorized, Forbidden, Unreachable."""
    registries = _registries(transfers, reference, insecure)

    def work(cancellation: Cancellation) -> Found:
        session = registries.answering(registries.hosts.pushing(reference.domain), credentials, cancellation)
        repository = Repository(session, reference.path)
        document = repository.manifest(reference.digest or reference.with_default_tag().tag or "latest")
        config = b""
        if not document.is_index:
            manifest = parse_manifest(document.raw, document.media_type)
            answer, _ = repository.blob(manifest.config.digest, 0, cancellation)
            with answer:
                config = answer.body(min(manifest.config.size, MAX_DOCUMENT))
            if digest_of(config) != manifest.config.digest:
                raise Invalid(f"{reference.familiar}: its configuration is not what its digest says")
        return Found(document, config)

    return await transfers.asked(work)


async def publish(
    transfers: Transfers,
    target: Reference,
    raw: bytes,
    media_type: str,
    sources: Sequence[Reference],
    credentials: Credentials,
    *,
    insecure: bool,
) -> Published:
    """Put a list under a tag, after the manifests that it names.

    sources: those that lie in other repositories of the same registry, with their digests; blobs are mounted from
    there. Invalid for a source of another registry, and what the registry answers.
    """
    if media_type not in INDEX_TYPES:
        raise Invalid(f"manifest list: {media_type or 'nothing'} is not the media type of a list")
    if len(sources) > MAX_SOURCES:
        raise Invalid(f"manifest list: more than {MAX_SOURCES} manifests")
    for source in sources:
        if source.domain != target.domain:
            raise Invalid(
                "cannot use source images from a different registry than the target image: "
                f"{source.domain} != {target.domain}"
            )
    registries = _registries(transfers, target, insecure)

    def work(cancellation: Cancellation) -> Published:
        repository = registries.writing(target, credentials, cancellation)
        for source in sources:
            _copy(registries, repository, source, credentials, cancellation)
        repository.put_manifest(target.with_default_tag().tag or "latest", raw, media_type)
        return Published(digest_of(raw), tuple(sources))

    return await transfers.asked(work)


def _registries(transfers: Transfers, reference: Reference, insecure: bool) -> Registries:
    registries = transfers.registries
    if not insecure:
        return registries
    hosts = replace(registries.hosts, insecure=(*registries.hosts.insecure, reference.domain))
    return replace(registries, hosts=hosts)


def _copy(
    registries: Registries,
    repository: Repository,
    source: Reference,
    credentials: Credentials,
    cancellation: Cancellation,
) -> None:
    """Have one manifest with its blobs in the repository too."""
    session = registries.answering(registries.hosts.pushing(source.domain), credentials, cancellation)
    document = Repository(session, source.path).manifest(str(source.digest))
    body = json.loads(document.raw)
    if document.is_index or "layers" not in body:
        raise Unsupported(f"{source.familiar}: a list can't be copied from another repository; push it there first")
    manifest = parse_manifest(document.raw, document.media_type)
    for digest in dict.fromkeys(item.digest for item in (manifest.config, *manifest.layers)):
        if repository.has_blob(digest) is not None:
            continue
        mounted: str | None = "refused"
        with suppress(Refused):
            mounted = uploads.mount(repository, digest, source.path, cancellation)
        if mounted is not None:
            raise NotFound(
                f"{source.familiar_name}: {repository.session.endpoint.authority} does not mount blob {digest[:19]}… "
                f"from there; pull the image and push it to {repository.path}"
            )
    repository.put_manifest(document.digest, document.raw, document.media_type)
