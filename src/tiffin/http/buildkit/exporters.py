"""What becomes of a result: an image here, or files on the client (`-o`)."""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Awaitable, Callable, Iterator, Mapping
from contextlib import ExitStack
from functools import partial

from tiffin.build.solve.solved import Solved
from tiffin.engine.builds import Annotations, Builds, Exported, Wanted
from tiffin.errors import Invalid, Unsupported
from tiffin.http.buildkit.callers import Caller
from tiffin.http.buildkit.jobs import Job
from tiffin.http.buildkit.results import Built
from tiffin.http.buildkit.sending import send_file, send_tree
from tiffin.http.buildkit.sessions import Session
from tiffin.http.buildkit.statements import Statements, metadata
from tiffin.http.buildkit.stores import SessionStore
from tiffin.http.buildkit.threads import in_thread
from tiffin.model.descriptor import INDEX_TYPES
from tiffin.model.platform import parse_platform
from tiffin.model.reference import Reference, parse_reference
from tiffin.snapshots.pack import END, Packer
from tiffin.snapshots.tar import Entry, Kind, entry_header, padding

Attributes = Mapping[str, str]

_ANNOTATION = re.compile(r"annotation(?:-([a-z-]+))?(?:\[([A-Za-z0-9_/-]+)\])?\.(\S+)", re.ASCII)
_YES, _NO = ("", "true", "1"), ("false", "0")


class Exporter:
    """Runs the exporters of one job."""

    def __init__(self, builds: Builds, session: Session, job: Job, built: Built) -> None:
        self._builds, self._session, self._job, self._built = builds, session, job, built

    async def run(self, number: int, kind: str, attributes: Attributes) -> dict[str, str]:
        """One exporter's response. Raises Unsupported for a kind that is not known."""
        if kind in ("moby", "image"):
            return await self._image(attributes)
        if kind == "local":
            await self._told("exporting to client directory", lambda: self._local(number, attributes))
            return {}
        if kind == "tar":
            await self._told("exporting to client tarball", lambda: self._tar(number, attributes))
            return {}
        if kind in ("oci", "docker"):
            return await self._archive(number, kind, attributes)
        raise Unsupported(f"exporter {kind!r} could not be found: there are image, local, tar, oci and docker")

    async def _told(self, name: str, work: Callable[[], Awaitable[None]]) -> None:
        vertex = self._job.begin(name)
        try:
            await work()
        except Exception as error:
            self._job.complete(vertex, str(error))
            raise
        self._job.complete(vertex)

    # Images

    def _wanted(self, attributes: Attributes, *, inline: bool) -> Wanted:
        _check(attributes)
        names = names_of(attributes)
        statements = Statements(self._job, names, inline=inline)
        attest = statements.about if statements else None
        return Wanted(tuple(names), annotations_of(attributes), self._built.several, attest)

    def _response(self, exported: Exported) -> dict[str, str]:
        descriptor = json.dumps(exported.top.document()).encode()
        response = {
            "containerimage.digest": str(exported.digest),
            "containerimage.descriptor": base64.b64encode(descriptor).decode(),
        }
        if self._built.only is not None:
            response["containerimage.config.digest"] = str(exported.config)
        if exported.names:
            response["image.name"] = ",".join(str(name) for name in exported.names)
        return response | metadata(self._job, self._built.results, several=self._built.several)

    async def _image(self, attributes: Attributes) -> dict[str, str]:
        # what is said of every image with a name would be another index with each build without one
        wanted = self._wanted(attributes, inline=bool(names_of(attributes)))
        pushes = "push" in attributes and attributes["push"] in _YES
        if pushes and not wanted.names:
            raise Invalid("tag is needed when pushing to registry")
        exported = await self._builds.export_all(self._built.results, wanted, self._job.report)
        for name in wanted.names if pushes else ():
            await self._builds.push(name, Caller(self._session), self._job.report)
        return self._response(exported)

    async def _archive(self, number: int, kind: str, attributes: Attributes) -> dict[str, str]:
        """An image in a tar, OCI's layout with docker's manifest.json beside it; with tar=false its blobs alone."""
        response: dict[str, str] = {}
        wanted = self._wanted(attributes, inline=False)

        async def send() -> None:
            if attributes.get("tar", "true") in ("false", "0"):
                # the client writes index.json, from the descriptor in our answer
                exported, blobs = await self._builds.laid_out(self._built.results, wanted)
                _check_archive(kind, exported)
                store = SessionStore(self._session, "export")
                for blob, opened in blobs:
                    await store.put(blob, opened)
                response.update(self._response(exported))
                return
            exported, pieces = await self._builds.archived(self._built.results, wanted)
            _check_archive(kind, exported)
            response.update(self._response(exported))
            short = {name: value for name, value in response.items() if name.startswith("containerimage.")}
            header = [(f"exporter-md-{name}", value) for name, value in short.items()]
            await send_file(self._session, number, pieces, header)

        await self._told(f"exporting to {kind} image format", send)
        return response

    # Files

    def _folders(self, attributes: Attributes) -> Iterator[tuple[Solved, bytes, Callable[[int], dict[bytes, bytes]]]]:
        """Each result, the folder that it goes to ("" for none), and what lies beside its files, given its root."""
        statements, prefix = Statements(self._job, inline=False), attributes.get("attestation-prefix", "")
        split = attributes.get("platform-split", str(self._built.several).lower()) in ("true", "1")
        for platform, solved in self._built.results.items():
            told = platform if self._built.several and not split else ""
            beside = partial(statements.files, solved, prefix=prefix, platform=told)
            yield solved, platform.replace("/", "_").encode() if split else b"", beside

    async def _local(self, number: int, attributes: Attributes) -> None:
        for solved, folder, beside in self._folders(attributes):
            with ExitStack() as opened:
                root = await in_thread(opened.enter_context, solved.opened())
                await send_tree(self._session, number, root, folder, await in_thread(beside, root))

    async def _tar(self, number: int, attributes: Attributes) -> None:
        await send_file(self._session, number, self._packed(attributes), [])

    def _packed(self, attributes: Attributes) -> Iterator[bytes]:
        made = self._job.began // 10**9 * 10**9
        for solved, folder, beside in self._folders(attributes):
            moment = made if solved.plan.epoch is None else solved.plan.epoch * 10**9
            if folder:
                yield entry_header(Entry(folder + b"/", Kind.DIRECTORY, 0o755, mtime=moment))
                folder += b"/"
            with solved.opened() as root:
                yield from Packer(precise=False).tree(root, folder)
                for name, data in beside(root).items():
                    yield entry_header(Entry(folder + name, Kind.FILE, 0o600, size=len(data), mtime=moment))
                    yield data + padding(len(data))
        yield END


def _check_archive(kind: str, exported: Exported) -> None:
    if kind == "docker" and exported.top.media_type in INDEX_TYPES:
        raise Invalid("docker exporter does not support exporting manifest lists, use the oci exporter instead")


def _check(attributes: Attributes) -> None:
    """Raises Unsupported for what would make another image than is made here."""
    compression = attributes.get("compression", "")
    if compression not in ("", "uncompressed"):
        raise Unsupported(f"compression={compression} is not supported: an image's layers stay as the build made them")
    if attributes.get("oci-mediatypes", "") in _NO:
        raise Unsupported("oci-mediatypes=false is not supported: images are described in OCI's media types")
    if attributes.get("push-by-digest", "") in ("true", "1"):
        raise Unsupported("push-by-digest is not supported: push by a name, its digest is in the metadata")


def names_of(attributes: Attributes) -> list[Reference]:
    """Raises Invalid."""
    found = []
    for text in filter(None, attributes.get("name", "").split(",")):
        try:
            found.append(parse_reference(text).with_default_tag())
        except Invalid as error:
            raise Invalid(f"invalid image name {text!r}: {error}") from error
    return found


def annotations_of(attributes: Attributes) -> Annotations:
    """`annotation.KEY`, `annotation-manifest[linux/arm64].KEY` and so on. Raises Invalid for a kind that is unknown."""
    manifests: dict[str, dict[str, str]] = {}
    descriptors: dict[str, dict[str, str]] = {}
    index: dict[str, str] = {}
    index_descriptor: dict[str, str] = {}
    for name, value in attributes.items():
        match = _ANNOTATION.fullmatch(name)
        if match is None:
            continue
        kind, platform, key = match[1] or "manifest", match[2] or "", match[3]
        platform = str(parse_platform(platform)) if platform else ""
        places = {
            "manifest": manifests.setdefault(platform, {}),
            "manifest-descriptor": descriptors.setdefault(platform, {}),
            "index": index,
            "index-descriptor": index_descriptor,
        }
        if kind not in places:
            raise Invalid(f"unrecognized annotation type {kind}")
        places[kind][key] = value
    return Annotations(manifests, descriptors, index, index_descriptor)
