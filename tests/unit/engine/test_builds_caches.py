"""Attributes of `--cache-to`."""

from __future__ import annotations

import pytest

from tiffin.build.solve.request import CachePlace
from tiffin.engine.builds_caches_out import Options, options_of
from tiffin.errors import Invalid, TiffinError, Unsupported


def options(kind: str = "registry", **attributes: str) -> Options:
    given = {name.replace("_", "-"): value for name, value in attributes.items()}
    return options_of(CachePlace(kind, {"ref": "x", **given}))


def test_what_is_not_said_is_as_buildkit_has_it() -> None:
    assert options() == Options(whole=False, manifest=True, oci=True, compression="gzip", level=None)
    assert not options(oci_mediatypes="false").manifest
    assert options(mode="max", compression="zstd", compression_level="99").level == 22
    assert options(force_compression="", ignore_error="true") == Options(force=True, ignore_error=True)


@pytest.mark.parametrize(
    ("kind", "given", "words"),
    [
        ("gha", {}, 'unknown cache exporter: "gha"'),
        ("s3", {"bucket": "b"}, 'unknown cache exporter: "s3"'),
        ("azblob", {}, 'unknown cache exporter: "azblob"'),
        ("local", {}, "failed to configure local cache exporter: local cache exporter requires dest"),
        ("registry", {"ref": ""}, "failed to configure registry cache exporter: missing ref"),
        ("registry", {"mode": "most"}, "unsupported cache export mode 'most'"),
        ("registry", {"compression": "lzip"}, "unsupported compression type lzip"),
        ("registry", {"compression_level": "high"}, "non-integer value high specified for compression-level"),
        ("registry", {"image_manifest": "perhaps"}, "failed to parse image-manifest"),
        ("registry", {"oci_mediatypes": "false", "image_manifest": "true"}, "OCI mediatypes are required"),
    ],
)
def test_what_cannot_be_understood_is_said(kind: str, given: dict[str, str], words: str) -> None:
    with pytest.raises(Invalid) as refused:
        options(kind, **given)
    assert words in str(refused.value)


def test_what_is_not_done_is_said() -> None:
    with pytest.raises(Unsupported):
        options(compression="estargz")
    assert issubclass(Unsupported, TiffinError)


def test_places_are_named_as_progress_shows_them() -> None:
    assert str(CachePlace("registry", {"ref": "a/b:c"})) == "a/b:c"
    name = str(CachePlace("local", {"src": "/x"}))
    assert name.startswith("local:") and name.partition(":")[2].isdecimal()
    assert name != str(CachePlace("local", {"src": "/y"}))
