"""Digests, platforms, manifests and configurations: what is taken, what is refused."""

import json

import pytest

from tiffin.errors import Invalid
from tiffin.model.descriptor import (
    DOCKER_MANIFEST,
    OCI_CONFIG,
    OCI_LAYER,
    OCI_MANIFEST,
    Descriptor,
    manifest_bytes,
    parse_index,
    parse_manifest,
)
from tiffin.model.digest import chain_ids, digest_of, parse_digest
from tiffin.model.image import config_bytes, parse_config
from tiffin.model.platform import choose, normalized, parse_platform

ONE, TWO = digest_of(b"one"), digest_of(b"two")


@pytest.mark.parametrize(
    "text", ["", "sha256:", "sha256:" + "A" * 64, "sha512:" + "a" * 128, "../../etc", "sha256:" + "a" * 63]
)
def test_only_sha256_in_lower_case_is_a_digest(text: str) -> None:
    with pytest.raises(Invalid, match="invalid checksum digest format"):
        parse_digest(text)


def test_the_chain_id_of_the_lowest_layer_is_its_diff_id() -> None:
    chain = chain_ids((ONE, TWO))
    assert chain == (ONE, digest_of(f"{ONE} {TWO}".encode()))


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("linux/amd64", "linux/amd64"),
        ("linux/x86_64", "linux/amd64"),
        ("linux/arm64/v8", "linux/arm64"),
        ("linux/arm", "linux/arm/v7"),
        ("linux/arm/v6", "linux/arm/v6"),
        ("arm64", "linux/arm64"),
    ],
)
def test_platforms_have_go_s_names(text: str, shown: str) -> None:
    assert str(parse_platform(text)) == shown


@pytest.mark.parametrize("text", ["", "a/b/c/d", "linux/", "beos", "linux/am d64"])
def test_what_is_no_platform_is_refused(text: str) -> None:
    with pytest.raises(Invalid):
        parse_platform(text)


def test_the_exact_platform_wins_and_an_unknown_one_is_the_last_choice() -> None:
    offered = [None, normalized("linux", "arm", "v6"), normalized("linux", "arm", "v7"), normalized("linux", "amd64")]
    assert choose(normalized("linux", "arm", "v7"), offered) == 2
    assert choose(normalized("linux", "arm64"), offered) == 2
    assert choose(normalized("linux", "amd64"), offered) == 3
    assert choose(normalized("linux", "s390x"), offered) == 0
    assert choose(normalized("linux", "s390x"), offered[1:]) is None


def test_a_manifest_keeps_its_bytes_and_its_parts() -> None:
    raw = manifest_bytes(Descriptor(OCI_CONFIG, ONE, 3), (Descriptor(OCI_LAYER, TWO, 3),))
    manifest = parse_manifest(raw)
    assert (manifest.raw, manifest.media_type) == (raw, OCI_MANIFEST)
    assert manifest.config.digest == ONE
    assert [layer.digest for layer in manifest.layers] == [TWO]


def test_a_document_that_is_index_and_manifest_at_once_is_refused() -> None:
    both = json.loads(manifest_bytes(Descriptor(OCI_CONFIG, ONE, 3), ())) | {"manifests": []}
    with pytest.raises(Invalid, match="unexpected media type or content"):
        parse_manifest(json.dumps(both).encode())
    with pytest.raises(Invalid, match="unexpected content"):
        parse_index(json.dumps(both).encode())


def test_a_manifest_must_be_of_the_type_it_was_announced_as() -> None:
    raw = manifest_bytes(Descriptor(OCI_CONFIG, ONE, 3), ())
    with pytest.raises(Invalid, match="unexpected media type"):
        parse_manifest(raw, DOCKER_MANIFEST)


@pytest.mark.parametrize("raw", [b"", b"[]", b"{", b"[" * 100_000, b'{"rootfs":{"type":"other"}}', b"\xff"])
def test_a_broken_configuration_is_refused(raw: bytes) -> None:
    with pytest.raises(Invalid, match="image configuration"):
        parse_config(raw)


@pytest.mark.parametrize(
    "run",
    [
        *({"Cmd": "sh"}, {"Env": [1]}, {"Labels": ["a"]}, {"User": {}}, {"Volumes": "x"}),
        *({"Healthcheck": {"Interval": "1s"}}, {"Healthcheck": {"Retries": 1.5}}, {"Healthcheck": {"Test": "x"}}),
    ],
)
def test_a_configuration_with_wrong_shapes_is_refused(run: dict[str, object]) -> None:
    raw = config_bytes(normalized("linux", "amd64"), (), run, (), created="2026-01-01T00:00:00Z")
    with pytest.raises(Invalid, match="image configuration"):
        parse_config(raw)


def test_the_id_of_an_image_is_the_digest_of_its_configuration_as_received() -> None:
    raw = b'{ "rootfs": {"type": "layers", "diff_ids": []},  "os":"linux","architecture":"x86_64", "unknown": 1 }'
    config = parse_config(raw)
    assert config.id == digest_of(raw)
    assert config.chain is None
    assert str(config.platform) == "linux/amd64"
