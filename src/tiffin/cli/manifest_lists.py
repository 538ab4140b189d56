"""Lists of manifests that are kept here until they are pushed: `manifests/` beside docker's config.json, its format.

A directory for each list, in it a file for each manifest: `{"Ref", "Descriptor", "Raw", "SchemaV2Manifest"}`.
"""

from __future__ import annotations

import base64
import json
import os
import shutil

from tiffin.errors import Invalid
from tiffin.model.descriptor import DOCKER_INDEX, OCI_INDEX, OCI_MANIFEST
from tiffin.model.reference import Reference, parse_reference

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

_PLATFORM = ("architecture", "os", "os.version", "os.features", "variant")


def _file_name(reference: Reference) -> str:
    return str(reference).replace(":", "-").replace("/", "_")


class Lists:
    """Every list below one configuration folder."""

    def __init__(self, folder: str) -> None:
        self._root = os.path.join(folder, "manifests")

    def _path(self, name: Reference, entry: Reference | None = None) -> str:
        directory = os.path.join(self._root, _file_name(name))
        return os.path.join(directory, _file_name(entry)) if entry else directory

    def entries(self, name: Reference) -> list[dict[str, Any]]:
        """A list's manifests, ordered by their files' names as docker does; empty where there is no such list."""
        try:
            files = sorted(os.listdir(self._path(name)))
        except FileNotFoundError:
            return []
        return [_read(os.path.join(self._path(name), file)) for file in files if not file.startswith(".")]

    def entry(self, name: Reference, manifest: Reference) -> dict[str, Any] | None:
        """One manifest of a list."""
        path = self._path(name, manifest)
        return _read(path) if os.path.exists(path) else None

    def save(self, name: Reference, manifest: Reference, entry: dict[str, Any]) -> None:
        """Put a manifest into a list, which comes to be with its first."""
        path = self._path(name, manifest)
        os.makedirs(os.path.dirname(path), exist_ok=True)
        temporary = os.path.join(os.path.dirname(path), f".{os.getpid()}")
        with open(temporary, "w", encoding="utf-8") as file:
            json.dump(entry, file, separators=(",", ":"), ensure_ascii=False)
        os.replace(temporary, path)

    def remove(self, name: Reference) -> None:
        shutil.rmtree(self._path(name), ignore_errors=True)


def _read(path: str) -> dict[str, Any]:
    try:
        with open(path, encoding="utf-8") as file:
            entry: dict[str, Any] = json.load(file)
        parse_reference(entry["Ref"]), entry["Descriptor"]["digest"], entry["Raw"]
    except (ValueError, KeyError, TypeError) as error:
        raise Invalid(f"{path}: not a manifest of a list ({error}); remove it") from error
    return entry


def platform(values: dict[str, Any]) -> dict[str, Any]:
    """A platform with docker's keys in docker's order, without what is empty."""
    return {key: values[key] for key in _PLATFORM if values.get(key)}


def made(reference: Reference, remote: dict[str, Any], of: dict[str, Any] | None = None) -> dict[str, Any]:
    """A list's entry for a manifest in a registry. of: its platform, where an index says it; else its configuration."""
    if of is None:
        of = json.loads(base64.b64decode(remote["Config"] or "") or "{}")
    raw = base64.b64decode(remote["Document"])
    descriptor = {"mediaType": remote["MediaType"], "digest": remote["Digest"], "size": remote["Size"]}
    key = "OCIManifest" if remote["MediaType"] == OCI_MANIFEST else "SchemaV2Manifest"
    return {
        "Ref": str(reference),
        "Descriptor": {**descriptor, "platform": platform(of if isinstance(of, dict) else {})},
        "Raw": base64.b64encode(raw).decode(),
        key: json.loads(raw),
    }


def index(entries: list[dict[str, Any]]) -> tuple[str, bytes]:
    """Media type and document of a list: docker's, to the byte, so that its digest is the same."""
    described = [entry["Descriptor"] for entry in entries]
    kind = OCI_INDEX if described and described[0]["mediaType"] == OCI_MANIFEST else DOCKER_INDEX
    manifests = [
        {
            "mediaType": item["mediaType"],
            "size": item["size"],
            "digest": item["digest"],
            "platform": {"architecture": "", "os": "", **platform(item.get("platform") or {})},
        }
        for item in described
    ]
    body = {"schemaVersion": 2, "mediaType": kind, "manifests": manifests}
    return kind, json.dumps(body, indent=3, ensure_ascii=False).encode()
