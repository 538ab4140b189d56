"""An image's configuration (OCI image specification, config.md, with Docker's additions) and the image itself."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

from tiffin.errors import Invalid
from tiffin.model.descriptor import MAX_LAYERS, Manifest, document
from tiffin.model.digest import Digest, chain_ids, digest_of, parse_digest
from tiffin.model.platform import Platform, normalized


@dataclass(frozen=True, slots=True)
class ImageConfig:
    """The configuration document. `raw` is kept as received, for the image ID is its digest.

    `run` is the `config` object with the document's names (Env, Cmd, Entrypoint, WorkingDir, User, ExposedPorts,
    Volumes, Labels, StopSignal, Healthcheck, OnBuild, Shell).
    """

    raw: bytes
    platform: Platform
    diff_ids: tuple[Digest, ...]
    run: Mapping[str, Any]
    history: tuple[Mapping[str, Any], ...] = ()
    created: str | None = None
    author: str = ""
    comment: str = ""
    docker_version: str = ""

    @property
    def id(self) -> Digest:
        return digest_of(self.raw)

    @property
    def chain(self) -> Digest | None:
        """The chain ID of the topmost layer; None for an image without layers."""
        chain = chain_ids(self.diff_ids)
        return chain[-1] if chain else None

    def texts(self, key: str) -> tuple[str, ...]:
        return tuple(str(item) for item in self.run.get(key) or ())

    @property
    def labels(self) -> Mapping[str, str]:
        return self.run.get("Labels") or {}


def parse_config(raw: bytes) -> ImageConfig:
    """Invalid where the document has no layers of type `layers` or wrong shapes."""
    body = document(raw, "image configuration")
    rootfs = body.get("rootfs")
    if not isinstance(rootfs, dict) or rootfs.get("type") != "layers":
        raise Invalid("image configuration: rootfs.type must be layers")
    diff_ids = rootfs.get("diff_ids") or []
    if not isinstance(diff_ids, list) or len(diff_ids) > MAX_LAYERS:
        raise Invalid(f"image configuration: rootfs.diff_ids must be a list of at most {MAX_LAYERS}")
    run = body.get("config") or {}
    history = body.get("history") or []
    if not isinstance(run, dict) or not isinstance(history, list) or not all(isinstance(h, dict) for h in history):
        raise Invalid("image configuration: config must be an object and history a list of objects")
    _check_run(run)
    system, architecture = body.get("os") or "linux", body.get("architecture") or ""
    return ImageConfig(
        raw=raw,
        platform=normalized(str(system), str(architecture), str(body.get("variant") or "")),
        diff_ids=tuple(parse_digest(item) for item in diff_ids),
        run=MappingProxyType(run),
        history=tuple(MappingProxyType(item) for item in history),
        created=str(body["created"]) if body.get("created") else None,
        author=str(body.get("author") or ""),
        comment=str(body.get("comment") or ""),
        docker_version=str(body.get("docker_version") or ""),
    )


_LISTS = ("Env", "Cmd", "Entrypoint", "OnBuild", "Shell")
_MAPS = ("ExposedPorts", "Volumes", "Labels", "Healthcheck")
_TEXTS = ("User", "WorkingDir", "StopSignal")
_NUMBERS = ("Interval", "Timeout", "StartPeriod", "StartInterval", "Retries")  # of the health check


def _check_run(run: Mapping[str, Any]) -> None:
    # what a container is started from must have its shape here, or the first use of it fails far away
    for key in _LISTS:
        value = run.get(key)
        if value is not None and not (isinstance(value, list) and all(isinstance(item, str) for item in value)):
            raise Invalid(f"image configuration: {key} must be a list of strings")
    for key in _MAPS:
        if not isinstance(run.get(key), dict | None):
            raise Invalid(f"image configuration: {key} must be an object")
    for key in _TEXTS:
        if not isinstance(run.get(key), str | None):
            raise Invalid(f"image configuration: {key} must be a string")
    health = run.get("Healthcheck") or {}
    if any(not isinstance(health.get(key), int | None) for key in _NUMBERS) or not isinstance(
        health.get("Test"), list | None
    ):
        raise Invalid("image configuration: Healthcheck must have whole numbers, and a list as its Test")


def config_bytes(
    platform: Platform,
    diff_ids: tuple[Digest, ...],
    run: Mapping[str, Any],
    history: tuple[Mapping[str, Any], ...],
    *,
    created: str,
    author: str = "",
    comment: str = "",
) -> bytes:
    """A configuration document for a new image, in a fixed order of keys."""
    body: dict[str, Any] = {"architecture": platform.architecture}
    if author:
        body["author"] = author
    if comment:
        body["comment"] = comment
    body["config"] = dict(run)
    body["created"] = created
    body["history"] = [dict(item) for item in history]
    body["os"] = platform.os
    body["rootfs"] = {"type": "layers", "diff_ids": list(diff_ids)}
    if platform.variant:
        body["variant"] = platform.variant
    return json.dumps(body, separators=(",", ":"), ensure_ascii=False).encode()


@dataclass(frozen=True, slots=True)
class Image:
    """An image of the local store.

    id            digest of the configuration
    repo_tags     familiar names with tags, sorted; repo_digests familiar names with manifest digests
    size          bytes of all layers, unpacked
    parent        ID of the local image it was committed or built from
    tagged        seconds since the epoch of the last tag or load; 0 if never
    """

    config: ImageConfig
    manifest: Manifest
    repo_tags: tuple[str, ...] = ()
    repo_digests: tuple[str, ...] = ()
    size: int = 0
    parent: Digest | None = None
    tagged: float = 0.0
    reserved: bool = False
    warnings: tuple[str, ...] = field(default=())

    @property
    def id(self) -> Digest:
        return self.config.id

    @property
    def short_id(self) -> str:
        return self.id[7:19]

    @property
    def chain(self) -> Digest | None:
        return self.config.chain

    @property
    def created(self) -> str | None:
        return self.config.created
