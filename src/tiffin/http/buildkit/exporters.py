"""What becomes of a result: an image here, or files on the client (`-o`)."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from time import time_ns
from typing import Any

from tiffin.build.solve.solved import Solved
from tiffin.engine.builds import Builds
from tiffin.errors import Invalid, Unsupported
from tiffin.http.buildkit.attestations import PROVENANCE, SBOM, Made, document, provenance, statement
from tiffin.http.buildkit.jobs import Job
from tiffin.http.buildkit.layouts import archive
from tiffin.http.buildkit.sbom import packages
from tiffin.http.buildkit.sending import send_file, send_tree
from tiffin.http.buildkit.sessions import Session
from tiffin.http.buildkit.threads import in_thread
from tiffin.model.digest import digest_of
from tiffin.model.image import Image
from tiffin.model.reference import Reference, parse_reference
from tiffin.snapshots.pack import export as packed

Attributes = Mapping[str, str]

_ANNOTATIONS = ("annotation.", "annotation-manifest.")


class Exporter:
    """Runs the exporters of one job."""

    def __init__(self, builds: Builds, images: Any, session: Session, job: Job) -> None:
        self._builds, self._images, self._session, self._job = builds, images, session, job

    async def run(self, number: int, kind: str, attributes: Attributes, solved: Solved) -> dict[str, str]:
        """One exporter's response. Raises Unsupported for a kind that is not known."""
        if kind in ("moby", "image"):
            return await self._image(attributes, solved)
        if kind == "local":
            await self._local(number, solved)
            return {}
        if kind == "tar":
            await self._tar(number, solved)
            return {}
        if kind in ("oci", "docker"):
            return await self._archive(number, kind, attributes, solved)
        raise Unsupported(f"exporter {kind!r} could not be found: there are image, local, tar, oci and docker")

    async def _image(self, attributes: Attributes, solved: Solved) -> dict[str, str]:
        """`push` is the client's part: docker's driver asks for it here, then pushes by the API's own route."""
        names = names_of(attributes)
        exported = await self._builds.export(
            solved, names, self._job.report, annotations=annotations_of(attributes) or None
        )
        response = {
            "containerimage.digest": str(exported.digest),
            "containerimage.config.digest": str(exported.config),
        }
        if names:
            response["image.name"] = ",".join(str(name) for name in names)
        response["containerimage.descriptor"] = _descriptor(self._images.get(str(exported.config)))
        return response

    async def _local(self, number: int, solved: Solved) -> None:
        vertex = self._job.begin("exporting to client directory")
        try:
            with ExitStack() as opened:
                root = await in_thread(opened.enter_context, solved.opened())
                await send_tree(self._session, number, root)
        except Exception as error:
            self._job.complete(vertex, str(error))
            raise
        self._job.complete(vertex)

    async def _tar(self, number: int, solved: Solved) -> None:
        vertex = self._job.begin("exporting to client tarball")
        try:
            with ExitStack() as opened:
                root = await in_thread(opened.enter_context, solved.opened())
                await send_file(self._session, number, packed(root), [])
        except Exception as error:
            self._job.complete(vertex, str(error))
            raise
        self._job.complete(vertex)

    async def _archive(self, number: int, kind: str, attributes: Attributes, solved: Solved) -> dict[str, str]:
        """An image in a tar: OCI's layout, with docker's manifest.json beside it."""
        if attributes.get("tar", "true") not in ("true", "1"):
            raise Unsupported(f"-o type={kind},tar=false is not supported: leave tar to its default")
        response = await self._image(attributes, solved)
        names = [str(name) for name in names_of(attributes)] or [response["containerimage.config.digest"]]
        vertex = self._job.begin(f"exporting to {kind} image format")
        try:
            if self._job.attestations:
                pieces = await in_thread(self._attested, attributes, solved, response)
            else:
                pieces = await in_thread(self._images.save, names)
            header = [(f"exporter-md-{name}", value) for name, value in response.items() if value.isascii()]
            await send_file(self._session, number, iter(pieces), header)
        except Exception as error:
            self._job.complete(vertex, str(error))
            raise
        self._job.complete(vertex)
        return response

    def _attested(self, attributes: Attributes, solved: Solved, response: dict[str, str]) -> Iterator[bytes]:
        """The archive with its statements; `response` learns of them. Blocks."""
        image, names = self._images.get(response["containerimage.config.digest"]), names_of(attributes)
        manifest, platform = digest_of(image.manifest.raw), solved.image.platform
        asked, now, statements = self._job.attestations, time_ns(), []
        if "sbom" in asked:
            with solved.opened() as root:
                found = document(packages(root), ",".join(map(str, names)), now)
            statements.append((SBOM, statement(SBOM, found, names, manifest, platform)))
        if "provenance" in asked:
            filename, dockerfile = self._job.narrator.source
            given, began = self._job.attributes, self._job.began
            made = Made(self._job.ref, solved.plan, platform, filename, dockerfile, given, began, now)
            told = provenance(made, asked["provenance"].get("mode", "min"))
            statements.append((PROVENANCE, statement(PROVENANCE, told, names, manifest, platform)))
            response["buildx.build.provenance"] = json.dumps(told)
        index, pieces = archive(self._images.blobs, image, names, statements)
        response["containerimage.digest"] = str(index)
        return pieces


def names_of(attributes: Attributes) -> list[Reference]:
    """Raises Invalid."""
    found = []
    for text in filter(None, attributes.get("name", "").split(",")):
        try:
            found.append(parse_reference(text).with_default_tag())
        except Invalid as error:
            raise Invalid(f"invalid image name {text!r}: {error}") from error
    return found


def annotations_of(attributes: Attributes) -> dict[str, str]:
    """`annotation.KEY`, `annotation-manifest.KEY`, and with a platform in brackets."""
    found = {}
    for name, value in attributes.items():
        for prefix in _ANNOTATIONS:
            key = name.removeprefix(prefix)
            if key != name:
                found[key] = value
            elif name.startswith(prefix[:-1] + "["):
                found[name.partition("].")[2]] = value
    return found


def _descriptor(image: Image) -> str:
    """The manifest's descriptor as clients put it into --metadata-file."""
    manifest, platform = image.manifest, image.config.platform
    document: dict[str, Any] = {
        "mediaType": manifest.media_type,
        "digest": digest_of(manifest.raw),
        "size": len(manifest.raw),
        "platform": {"architecture": platform.architecture, "os": platform.os},
    }
    return base64.b64encode(json.dumps(document).encode()).decode()
