"""What goes along with an image about how it was made and what is in it: in-toto statements in their own manifest.

Source: in-toto statement v0.1, SLSA provenance v0.2, SPDX 2.3; BuildKit's docs/attestations (slsa-provenance.md,
attestation-storage.md) for build type, media types and annotations.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any
from urllib.parse import quote

from tiffin.build.plan import BuildPlan
from tiffin.build.steps import GitSource, HttpSource, ImageSource
from tiffin.http.buildkit.sbom import Package
from tiffin.model.digest import Digest, digest_of
from tiffin.model.platform import Platform
from tiffin.model.reference import Reference, parse_reference

PROVENANCE = "https://slsa.dev/provenance/v0.2"
SBOM = "https://spdx.dev/Document"
STATEMENT = "application/vnd.in-toto+json"

_STATEMENT_TYPE = "https://in-toto.io/Statement/v0.1"
_BUILD_TYPE = "https://mobyproject.org/buildkit@v1"
_MANIFEST = "application/vnd.oci.image.manifest.v1+json"
_CONFIG = "application/vnd.oci.image.config.v1+json"


@dataclass(frozen=True, slots=True)
class Made:
    """How a build went. `given` are the frontend's attributes; times in nanoseconds."""

    ref: str
    plan: BuildPlan
    platform: Platform
    filename: str
    dockerfile: bytes
    given: Mapping[str, str]
    began: int
    ended: int


def provenance(made: Made, mode: str) -> dict[str, Any]:
    """The predicate. Only mode `max` tells of build arguments, labels and the Dockerfile: they may hold secrets."""
    parameters: dict[str, Any] = {
        "frontend": "dockerfile.v0",
        "locals": [{"name": "context"}, {"name": "dockerfile"}],
    }
    metadata: dict[str, Any] = {
        "buildInvocationID": made.ref,
        "buildStartedOn": _time(made.began),
        "buildFinishedOn": _time(made.ended),
        "completeness": {"parameters": mode == "max", "environment": True, "materials": False},
        "reproducible": False,
    }
    if mode == "max":
        parameters["args"] = {name: value for name, value in made.given.items() if not name.startswith("attest:")}
        data = base64.b64encode(made.dockerfile).decode()
        source = {"filename": made.filename, "language": "Dockerfile", "data": data}
        metadata[f"{_BUILD_TYPE}#metadata"] = {"source": {"infos": [source]}}
    return {
        "builder": {"id": ""},
        "buildType": _BUILD_TYPE,
        "materials": materials(made),
        "invocation": {
            "configSource": {"entryPoint": made.filename},
            "parameters": parameters,
            "environment": {"platform": str(made.platform)},
        },
        "metadata": metadata,
    }


def materials(made: Made) -> list[dict[str, Any]]:
    """What was fetched for it: images, repositories, files."""
    found: list[dict[str, Any]] = []
    for step in made.plan.steps.values():
        if isinstance(step, ImageSource):
            entry: dict[str, Any] = {"uri": image_url(parse_reference(step.reference.partition("@")[0]), step.platform)}
            if step.digest:
                entry["digest"] = {"sha256": step.digest.partition(":")[2]}
            found.append(entry)
        elif isinstance(step, GitSource):
            found.append({"uri": f"{step.remote}#{step.ref}" if step.ref else step.remote})
        elif isinstance(step, HttpSource):
            algorithm, _, value = step.checksum.partition(":")
            found.append({"uri": step.url} | ({"digest": {algorithm: value}} if value else {}))
    return found


def document(packages: Sequence[Package], name: str, created: int) -> dict[str, Any]:
    """The SPDX document: each package, described by the image's root."""
    listed, relations = [], []
    for number, package in enumerate(packages):
        id = f"SPDXRef-Package-{number}"
        reference = {
            "referenceCategory": "PACKAGE-MANAGER",
            "referenceType": "purl",
            "referenceLocator": package.url,
        }
        listed.append(
            {
                "SPDXID": id,
                "name": package.name,
                "versionInfo": package.version,
                "downloadLocation": "NOASSERTION",
                "filesAnalyzed": False,
                "licenseConcluded": "NOASSERTION",
                "licenseDeclared": "NOASSERTION",
                "copyrightText": "NOASSERTION",
                "sourceInfo": f"from {package.source}",
                "externalRefs": [reference],
            }
        )
        relations.append(
            {"spdxElementId": "SPDXRef-DOCUMENT", "relationshipType": "DESCRIBES", "relatedSpdxElement": id}
        )
    return {
        "spdxVersion": "SPDX-2.3",
        "dataLicense": "CC0-1.0",
        "SPDXID": "SPDXRef-DOCUMENT",
        "name": name or "image",
        "documentNamespace": f"https://spdx.org/spdxdocs/{digest_of(repr(packages).encode())[7:]}",
        "creationInfo": {"creators": ["Tool: tiffin"], "created": _time(created)},
        "packages": listed,
        "relationships": relations,
    }


def statement(kind: str, predicate: Any, names: Sequence[Reference], manifest: Digest, platform: Platform) -> bytes:
    """What is said about an image, by the digest of its manifest."""
    digest = {"sha256": manifest.partition(":")[2]}
    urls = [image_url(name, platform) for name in names] or ["_"]
    subject = [{"name": url, "digest": digest} for url in urls]
    body = {"_type": _STATEMENT_TYPE, "predicateType": kind, "subject": subject, "predicate": predicate}
    return json.dumps(body, separators=(",", ":")).encode()


def attached(statements: Sequence[tuple[str, bytes]]) -> tuple[bytes, bytes]:
    """Manifest and configuration that hold statements, given with their predicates' types."""
    layers = [
        {
            "mediaType": STATEMENT,
            "digest": digest_of(data),
            "size": len(data),
            "annotations": {"in-toto.io/predicate-type": kind},
        }
        for kind, data in statements
    ]
    rootfs = {"type": "layers", "diff_ids": [layer["digest"] for layer in layers]}
    config = _json({"architecture": "unknown", "os": "unknown", "config": {}, "rootfs": rootfs})
    described = {"mediaType": _CONFIG, "digest": digest_of(config), "size": len(config)}
    return _json({"schemaVersion": 2, "mediaType": _MANIFEST, "config": described, "layers": layers}), config


def descriptor(manifest: bytes, image: Digest) -> dict[str, Any]:
    """How an index refers to them: no platform, and the image that they are about."""
    return {
        "mediaType": _MANIFEST,
        "digest": digest_of(manifest),
        "size": len(manifest),
        "annotations": {
            "vnd.docker.reference.digest": image,
            "vnd.docker.reference.type": "attestation-manifest",
        },
        "platform": {"architecture": "unknown", "os": "unknown"},
    }


def image_url(name: Reference, platform: Platform) -> str:
    """A package URL of type docker."""
    tag = f"@{name.tag}" if name.tag else ""
    return f"pkg:docker/{name.familiar_name}{tag}?platform={quote(str(platform), safe='')}"


def _time(nanoseconds: int) -> str:
    return datetime.fromtimestamp(nanoseconds // 1_000_000_000, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _json(value: Any) -> bytes:
    return json.dumps(value, separators=(",", ":")).encode()
