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
from tiffin.model.platform import Platform, host_platform
from tiffin.model.reference import Reference, parse_reference

PROVENANCE = "https://slsa.dev/provenance/v0.2"
SBOM = "https://spdx.dev/Document"

_STATEMENT_TYPE = "https://in-toto.io/Statement/v0.1"
_BUILD_TYPE = "https://mobyproject.org/buildkit@v1"
_WHEN = ("buildInvocationID", "buildStartedOn", "buildFinishedOn")


@dataclass(frozen=True, slots=True)
class Made:
    """How a build went. `given` are the frontend's attributes; times in nanoseconds."""

    ref: str
    plan: BuildPlan
    filename: str
    dockerfile: bytes
    given: Mapping[str, str]
    began: int
    ended: int


def provenance(made: Made, asked: Mapping[str, str]) -> dict[str, Any]:
    """The predicate. Only mode `max` tells of build arguments, labels and the Dockerfile: they may hold secrets.

    asked: `mode`, `builder-id`, `reproducible`.
    """
    mode = asked.get("mode", "min")
    parameters: dict[str, Any] = {
        "frontend": "dockerfile.v0",
        "locals": [{"name": "context"}, {"name": "dockerfile"}],
    }
    metadata: dict[str, Any] = {
        "buildInvocationID": made.ref,
        "buildStartedOn": _time(made.began),
        "buildFinishedOn": _time(made.ended),
        "completeness": {"parameters": mode == "max", "environment": True, "materials": False},
        "reproducible": asked.get("reproducible", "") in ("true", "1"),
    }
    if mode == "max":
        parameters["args"] = {name: value for name, value in made.given.items() if not name.startswith("attest:")}
        data = base64.b64encode(made.dockerfile).decode()
        source = {"filename": made.filename, "language": "Dockerfile", "data": data}
        metadata[f"{_BUILD_TYPE}#metadata"] = {"source": {"infos": [source]}}
    return {
        "builder": {"id": asked.get("builder-id", "")},
        "buildType": _BUILD_TYPE,
        "materials": materials(made),
        "invocation": {
            "configSource": {"entryPoint": made.filename},
            "parameters": parameters,
            "environment": {"platform": str(host_platform())},
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


def document(packages: Sequence[Package], name: str, created: str) -> dict[str, Any]:
    """The SPDX document: each package, described by the image's root. created: RFC 3339, to the second."""
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
        "creationInfo": {"creators": ["Tool: tiffin"], "created": created},
        "packages": listed,
        "relationships": relations,
    }


def statement(kind: str, predicate: Any, subjects: Mapping[str, str]) -> bytes:
    """What is said about things. subjects: SHA-256 in hex, by name."""
    listed = [{"name": name, "digest": {"sha256": value}} for name, value in subjects.items()]
    body = {"_type": _STATEMENT_TYPE, "predicateType": kind, "subject": listed, "predicate": predicate}
    return json.dumps(body, separators=(",", ":")).encode()


def subjects_of(names: Sequence[Reference], manifest: Digest, platform: Platform) -> dict[str, str]:
    """An image by its names, or "_" without any."""
    urls = [image_url(name, platform) for name in names] or ["_"]
    return {url: manifest.partition(":")[2] for url in urls}


def same_but_for_when(before: bytes, after: bytes) -> bool:
    """Whether two statements of a provenance differ in nothing but times and the build's name."""
    try:
        one, other = json.loads(before), json.loads(after)
        for told in (one, other):
            for name in _WHEN:
                told["predicate"]["metadata"].pop(name, None)
    except (ValueError, KeyError, TypeError, AttributeError):
        return False
    return bool(one == other)


def image_url(name: Reference, platform: Platform) -> str:
    """A package URL of type docker."""
    tag = f"@{name.tag}" if name.tag else ""
    return f"pkg:docker/{name.familiar_name}{tag}?platform={quote(str(platform), safe='')}"


def _time(nanoseconds: int) -> str:
    return datetime.fromtimestamp(nanoseconds // 1_000_000_000, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
