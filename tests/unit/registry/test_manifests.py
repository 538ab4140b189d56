"""What the registry reads from manifests, and what it keeps of them."""

import json
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tiffin.registry.server import manifests
from tiffin.registry.server.refusals import Refusal

patient = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
IMAGE = "application/vnd.oci.image.manifest.v1+json"
INDEX = "application/vnd.oci.image.index.v1+json"
ONE, TWO = "sha256:" + "1" * 64, "sha512:" + "2" * 128
json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda some: st.lists(some) | st.dictionaries(st.text(), some),
)


def image(**more: Any) -> dict[str, Any]:
    config = {"mediaType": "application/vnd.oci.image.config.v1+json", "digest": ONE, "size": 2}
    return {"schemaVersion": 2, "mediaType": IMAGE, "config": config, "layers": [], **more}


def test_what_is_kept_of_a_manifest_says_the_same() -> None:
    raw = json.dumps(image(layers=[{"digest": TWO}, {"digest": ONE}], subject={"digest": TWO})).encode()
    found = manifests.describe(raw, f"{IMAGE}; charset=utf-8")
    assert (found.media_type, found.size, found.blobs, found.subject) == (IMAGE, len(raw), (ONE, TWO), TWO)
    kept = manifests.recorded(found.record())
    assert (kept.media_type, kept.size, kept.blobs, kept.subject) == (IMAGE, len(raw), (ONE, TWO), TWO)


def test_types_of_artifacts() -> None:
    def kind(**more: Any) -> str:
        return manifests.describe(json.dumps(image(**more)).encode(), IMAGE).artifact_type

    assert kind(artifactType="application/x") == "application/x"
    assert kind(artifactType="") == kind() == "application/vnd.oci.image.config.v1+json"
    index = {"mediaType": INDEX, "manifests": [{"digest": ONE}]}
    found = manifests.describe(json.dumps(index).encode(), INDEX)
    assert (found.artifact_type, found.manifests) == ("", (ONE,))
    assert "artifactType" not in json.loads(found.referrer(found.manifests[0]))


@patient
@given(
    st.dictionaries(st.sampled_from(["mediaType", "config", "layers", "manifests", "blobs", "subject"]), json_values)
)
def test_no_document_but_a_refusal(document: dict[str, Any]) -> None:
    try:
        found = manifests.describe(json.dumps(document).encode(), "")
    except Refusal as error:
        assert (error.status, error.code) == (400, "MANIFEST_INVALID")
        return
    manifests.recorded(found.record())


@patient
@given(st.binary(max_size=200))
def test_no_bytes_but_a_refusal(raw: bytes) -> None:
    with pytest.raises(Refusal):
        manifests.describe(raw, "application/octet-stream\r\nX: y")


def test_annotations_are_text_in_the_list_of_referrers() -> None:
    found = manifests.describe(json.dumps(image(annotations={"a": 1, "\ud800": "\u0000"})).encode(), IMAGE)
    assert json.loads(found.referrer(found.blobs[0]))["annotations"] == {"a": "1", "\ud800": "\u0000"}
