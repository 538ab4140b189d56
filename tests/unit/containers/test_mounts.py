"""`-v`, `--mount`, volumes of images."""

from pathlib import Path

import pytest

from tiffin.containers.mounts import parse_bind, parse_request, settle
from tiffin.errors import Invalid
from tiffin.model.container import Config, Container
from tiffin.model.container_host import (
    BindOptions,
    HostConfig,
    MountRequest,
    TmpfsOptions,
    VolumeOptions,
)


def nobody(reference: str) -> Container:
    raise AssertionError(reference)


def test_a_bind_has_source_destination_and_mode() -> None:
    point = parse_bind("/srv/:/data/:ro,rshared")
    assert (point.type, point.source, point.destination) == ("bind", "/srv", "/data")
    assert not point.rw and point.propagation == "rshared" and point.create


def test_a_name_is_a_volume_that_is_filled_from_the_image() -> None:
    point = parse_bind("data:/data")
    assert (point.type, point.name, point.mode, point.copy_up) == ("volume", "data", "z", True)
    assert not parse_bind("data:/data:nocopy").copy_up


def test_a_destination_alone_is_an_anonymous_volume() -> None:
    point = parse_bind("/data")
    assert point.anonymous and len(point.name) == 64


@pytest.mark.parametrize("text", ["", ":", "/a:", ":/a", "/a:/b:", "/a:/b:ro:x", "a::ro"])
def test_malformed_specifications_are_refused(text: str) -> None:
    with pytest.raises(Invalid, match="invalid volume specification"):
        parse_bind(text)


@pytest.mark.parametrize("mode", ["bogus", "ro,rw", "z,Z", "nocopy", "shared,private"])
def test_modes_that_contradict_or_do_not_exist_are_refused(mode: str) -> None:
    with pytest.raises(Invalid, match=f"invalid mode: {mode}"):
        parse_bind(f"/a:/b:{mode}")


def test_nothing_is_mounted_on_the_root() -> None:
    with pytest.raises(Invalid, match="destination can't be '/'"):
        parse_bind("/a:/../..")


def test_a_relative_source_is_no_volume_name() -> None:
    with pytest.raises(Invalid, match="includes invalid characters for a local volume name"):
        parse_bind("./here:/a")


def test_a_mount_needs_its_source(tmp_path: Path) -> None:
    missing = tmp_path / "missing"
    with pytest.raises(
        Invalid, match=f'invalid mount config for type "bind": bind source path does not exist: {missing}'
    ):
        parse_request(MountRequest("bind", str(missing), "/a"))
    assert parse_request(
        MountRequest("bind", str(missing), "/a", bind_options=BindOptions(create_mountpoint=True))
    ).create


@pytest.mark.parametrize("subpath", ["/etc", "../x", "a/../../x"])
def test_a_subpath_stays_in_its_volume(subpath: str) -> None:
    with pytest.raises(Invalid, match="subpath"):
        parse_request(MountRequest("volume", "data", "/a", volume_options=VolumeOptions(subpath=subpath)))


def test_options_of_another_type_are_refused() -> None:
    with pytest.raises(Invalid, match="field VolumeOptions must not be specified"):
        parse_request(MountRequest("tmpfs", "", "/a", volume_options=VolumeOptions()))


def test_a_tmpfs_has_size_and_mode() -> None:
    point = parse_request(MountRequest("tmpfs", "", "/a", tmpfs_options=TmpfsOptions(size_bytes=4096, mode=0o700)))
    assert point.options == ("nosuid", "nodev", "noexec", "mode=700", "size=4096")


def test_one_destination_is_mounted_once() -> None:
    with pytest.raises(Invalid, match="Duplicate mount point: /a"):
        settle(Config(), HostConfig(binds=("/x:/a", "/y:/a")), nobody)


def test_what_the_image_declares_only_fills_in() -> None:
    config = Config(volumes={"/a": {}, "/b": {}, "/c": {}})
    points = settle(config, HostConfig(binds=("/x:/a",), tmpfs={"/b": ""}), nobody)
    assert [(one.destination, one.type) for one in points] == [("/a", "bind"), ("/c", "volume")]
