"""Directories of the client's as stores of caches: an OCI layout, served as containerd.services.content.v1.

Source: containerd's api/services/content/v1/content.proto; moby/buildkit client/ociindex (index.json and its tags).
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import json
import os
import re
import secrets
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, BinaryIO

from tiffin.wire.buildkit import message, parse
from tiffin.wire.grpc.status import Code, StatusError
from tiffin.wire.grpc.stream import Stream

SERVICE = "/containerd.services.content.v1.Content/"
_PACKAGE = "containerd.services.content.v1."
_ID = "buildkit-attachable-store-id"
_TAG = "org.opencontainers.image.ref.name"
_INDEX = "application/vnd.oci.image.index.v1+json"
_DIGEST = re.compile(r"sha256:([0-9a-f]{64})", re.ASCII)
_STAT, _WRITE, _COMMIT = 0, 1, 2
_PIECE = 1 << 20


@dataclass(frozen=True, slots=True)
class Stores:
    """paths: by the name under which they are offered, `local:PATH`."""

    paths: Mapping[str, str] = field(default_factory=dict)

    def _root(self, stream: Stream) -> str:
        found = self.paths.get(stream.value(_ID))
        if found is None:
            raise StatusError(Code.NOT_FOUND, f"unknown store {stream.value(_ID)}")
        return found

    async def info(self, stream: Stream) -> None:
        asked = parse(_PACKAGE + "InfoRequest", await stream.receive_one())
        answer = message(_PACKAGE + "InfoResponse")()
        answer.info.digest, answer.info.size = asked.digest, _size(self._root(stream), asked.digest)
        await stream.send(answer.SerializeToString())

    async def read(self, stream: Stream) -> None:
        asked = parse(_PACKAGE + "ReadContentRequest", await stream.receive_one())
        root, offset = self._root(stream), max(asked.offset, 0)
        left = _size(root, asked.digest) - offset
        if left < 0:
            raise StatusError(Code.OUT_OF_RANGE, f"read past object length {left + offset} bytes")
        left = min(left, asked.size) if asked.size > 0 else left
        kind = message(_PACKAGE + "ReadContentResponse")
        with open(_path(root, asked.digest), "rb") as file:
            file.seek(offset)
            while data := await asyncio.to_thread(file.read, min(_PIECE, left)):
                await stream.send(kind(offset=offset, data=data).SerializeToString())
                offset, left = offset + len(data), left - len(data)

    async def write(self, stream: Stream) -> None:
        """Each message is answered. What is not committed leaves nothing."""
        root = self._root(stream)
        kind = message(_PACKAGE + "WriteContentResponse")
        with _arriving(root) as (file, path):
            sha256, size = hashlib.sha256(), 0
            async for data in stream:
                asked = parse(_PACKAGE + "WriteContentRequest", data)
                if asked.expected and os.path.exists(_path(root, asked.expected)):
                    raise StatusError(Code.ALREADY_EXISTS, f"blob with expected digest {asked.expected} exists")
                if asked.action != _STAT and asked.data:
                    if asked.offset != size:
                        raise StatusError(Code.OUT_OF_RANGE, f"write @{asked.offset} must occur at offset {size}")
                    await asyncio.to_thread(file.write, asked.data)
                    sha256.update(asked.data)
                    size += len(asked.data)
                digest = f"sha256:{sha256.hexdigest()}"
                if asked.action == _COMMIT:
                    if (asked.expected or digest) != digest or (asked.total or size) != size:
                        raise StatusError(Code.FAILED_PRECONDITION, f"unexpected commit of {size} bytes as {digest}")
                    file.flush()
                    os.rename(path, _path(root, digest))
                answer = kind(action=asked.action, offset=size, total=asked.total, digest=digest)
                await stream.send(answer.SerializeToString())
                if asked.action == _COMMIT:
                    return


@contextlib.contextmanager
def _arriving(root: str) -> Iterator[tuple[BinaryIO, str]]:
    os.makedirs(os.path.join(root, "ingest"), exist_ok=True)
    os.makedirs(os.path.join(root, "blobs", "sha256"), exist_ok=True)
    path = os.path.join(root, "ingest", secrets.token_hex(8))
    with open(path, "xb") as file:
        try:
            yield file, path
        finally:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(path)


def _path(root: str, digest: str) -> str:
    match = _DIGEST.fullmatch(digest)
    if match is None:
        raise StatusError(Code.INVALID_ARGUMENT, f"invalid digest {digest!r}")
    return os.path.join(root, "blobs", "sha256", match[1])


def _size(root: str, digest: str) -> int:
    try:
        return os.stat(_path(root, digest)).st_size
    except FileNotFoundError as error:
        raise StatusError(Code.NOT_FOUND, f"content {digest}: not found") from error


def tagged(root: str, tag: str) -> str:
    """The digest that a directory's index has for a tag. LookupError says why there is none."""
    for one in _read(root):
        if one.get("annotations", {}).get(_TAG) == tag:
            digest = str(one.get("digest"))
            if _DIGEST.fullmatch(digest) and os.path.exists(_path(root, digest)):
                return digest
            raise LookupError(f"digest {digest} is unavailable")
    raise LookupError(f"no digest found for tag {tag}")


def _read(root: str) -> list[Any]:
    try:
        with open(os.path.join(root, "index.json"), encoding="utf-8") as file:
            listed = json.load(file).get("manifests") or []
        return [one for one in listed if isinstance(one, dict)]
    except (OSError, ValueError, AttributeError) as error:
        raise LookupError(f"could not read {os.path.join(root, 'index.json')}: {error}") from error


def tag(root: str, name: str, descriptor: Mapping[str, Any]) -> None:
    """Have a directory's index lead from a tag to what was written."""
    os.makedirs(root, exist_ok=True)
    try:
        listed = _read(root)
    except LookupError:
        listed = []
    kept = [one for one in listed if one.get("annotations", {}).get(_TAG) != name]
    added = {**descriptor, "annotations": {**descriptor.get("annotations", {}), _TAG: name}}
    index = {"schemaVersion": 2, "mediaType": _INDEX, "manifests": [*kept, added]}
    _replace(os.path.join(root, "oci-layout"), {"imageLayoutVersion": "1.0.0"})
    _replace(os.path.join(root, "index.json"), index)


def _replace(path: str, document: Any) -> None:
    beside = f"{path}.{secrets.token_hex(4)}"
    with open(beside, "x", encoding="utf-8") as file:
        json.dump(document, file)
    os.rename(beside, path)
