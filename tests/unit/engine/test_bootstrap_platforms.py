"""Which architectures a second stage can run for."""

from pathlib import Path

import pytest

from tiffin.engine import bootstrap
from tiffin.errors import Unsupported
from tiffin.model.platform import Platform, parse_platform

ARM64 = "7f454c460201010000000000000000000200b700"


def test_another_architecture_needs_an_emulator_that_containers_find(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bootstrap, "host_platform", lambda: Platform("linux", "amd64"))
    foreign, registered = parse_platform("linux/arm64"), tmp_path / "qemu-aarch64"
    for own in ("linux/amd64", "linux/386"):
        bootstrap.require(parse_platform(own), tmp_path)
    with pytest.raises(Unsupported, match="knows no emulator for it"):
        bootstrap.require(foreign, tmp_path)
    for state, flags, words in (("disabled", "F", "knows no emulator"), ("enabled", "OC", "one without flag F")):
        registered.write_text(f"{state}\ninterpreter /x\nflags: {flags}\noffset 0\nmagic {ARM64}\n")
        with pytest.raises(Unsupported, match=words):
            bootstrap.require(foreign, tmp_path)
    registered.write_text(f"enabled\ninterpreter /x\nflags: OCF\noffset 0\nmagic {ARM64}\n")
    bootstrap.require(foreign, tmp_path)
