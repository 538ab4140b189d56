"""Images of several platforms, made here and put into a registry."""

from __future__ import annotations

import io
import json
import os
import tarfile
from collections.abc import Sequence
from typing import Any

from rig import archives
from rig.served import OCI_CONFIG, OCI_INDEX, OCI_LAYER, OCI_MANIFEST, Client, digest_of

DOCKER_MANIFEST = "application/vnd.docker.distribution.manifest.v2+json"
IN_TOTO = "application/vnd.in-toto+json"


def image(client: Client, name: str, tag: str, platform: str, *, kind: str = OCI_MANIFEST) -> dict[str, Any]:
    """An image of one platform with busybox of this machine, its platform in /platform; its descriptor.

    Any of them runs here, whatever it says it is for.
    """
    config, layers = _parts(platform)
    document = {
        "schemaVersion": 2,
        "mediaType": kind,
        "config": {"mediaType": OCI_CONFIG, "digest": client.push_blob(name, config), "size": len(config)},
        "layers": [
            {"mediaType": OCI_LAYER, "digest": client.push_blob(name, layer), "size": len(layer)} for layer in layers
        ],
    }
    if kind == DOCKER_MANIFEST:
        document["config"]["mediaType"] = "application/vnd.docker.container.image.v1+json"
        for layer in document["layers"]:
            layer["mediaType"] = "application/vnd.docker.image.rootfs.diff.tar"
    return {**_put(client, name, tag, document), "platform": platform_of(platform)}


def index(
    client: Client, name: str, tag: str, platforms: Sequence[str], *, attested: bool = False
) -> tuple[str, dict[str, dict[str, Any]]]:
    """An index of images for these platforms: its digest, and the descriptors in it by platform.

    attested: each with an attestation as BuildKit attaches it, under `attestation of <platform>`.
    """
    found = {platform: image(client, name, "", platform) for platform in platforms}
    for platform in platforms if attested else ():
        found[f"attestation of {platform}"] = _attestation(client, name, str(found[platform]["digest"]))
    document = {"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": list(found.values())}
    return str(_put(client, name, tag, document)["digest"]), found


def platform_of(text: str) -> dict[str, str]:
    return dict(zip(("os", "architecture", "variant"), text.split("/"), strict=False))


def _put(client: Client, name: str, tag: str, document: dict[str, Any]) -> dict[str, Any]:
    raw = json.dumps(document).encode()
    answer = client.push_manifest(name, tag or digest_of(raw), document)
    assert answer.status == 201, (answer, answer.body)
    return {"mediaType": document["mediaType"], "digest": digest_of(raw), "size": len(raw)}


def _parts(platform: str) -> tuple[bytes, list[bytes]]:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        archives.add(tar, "platform", platform.encode())
        archives.add(tar, "unique", os.urandom(2000))
    archives.busybox()
    layers = [(archives.cache() / "busybox-1.layer.tar").read_bytes(), buffer.getvalue()]
    config = {
        **platform_of(platform),
        "config": {"Cmd": ["cat", "/platform"], "Env": [archives.PATH], "Labels": {"platform": platform}},
        "rootfs": {"type": "layers", "diff_ids": [digest_of(layer) for layer in layers]},
        "history": [{"created_by": "busybox"}, {"created_by": f"platform {platform}"}],
    }
    return json.dumps(config).encode(), layers


def _attestation(client: Client, name: str, subject: str) -> dict[str, Any]:
    statement = json.dumps({"_type": "https://in-toto.io/Statement/v0.1", "subject": [], "of": subject}).encode()
    diff = digest_of(statement)
    config = json.dumps(
        {"architecture": "unknown", "os": "unknown", "config": {}, "rootfs": {"type": "layers", "diff_ids": [diff]}}
    ).encode()
    layer = {
        "mediaType": IN_TOTO,
        "digest": client.push_blob(name, statement),
        "size": len(statement),
        "annotations": {"in-toto.io/predicate-type": "https://slsa.dev/provenance/v0.2"},
    }
    document = {
        "schemaVersion": 2,
        "mediaType": OCI_MANIFEST,
        "config": {"mediaType": OCI_CONFIG, "digest": client.push_blob(name, config), "size": len(config)},
        "layers": [layer],
    }
    return {
        **_put(client, name, "", document),
        "annotations": {
            "vnd.docker.reference.digest": subject,
            "vnd.docker.reference.type": "attestation-manifest",
        },
        "platform": {"architecture": "unknown", "os": "unknown"},
    }
