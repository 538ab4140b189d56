"""Devices by name: a daemon that knows a directory of CDI files gives a container what they say."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from rig import Engine

DOCUMENT = {
    "cdiVersion": "0.6.0",
    "kind": "nvidia.com/gpu",
    "devices": [
        {
            "name": "all",
            "containerEdits": {
                "env": ["VENDOR=acme"],
                "deviceNodes": [{"path": "/dev/gpu0", "type": "c", "major": 10, "minor": 183, "permissions": "r"}],
            },
        }
    ],
}


@pytest.fixture(scope="module")
def knowing(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Engine]:
    directory: Path = tmp_path_factory.mktemp("cdi")
    (directory / "vendor.json").write_text(json.dumps(DOCUMENT))
    engine = Engine("tiffin", options=["--cdi-spec-dir", str(directory)])
    try:
        engine.load("busybox")
        yield engine
    finally:
        engine.close()


@pytest.mark.parametrize("flags", [("--device", "nvidia.com/gpu=all"), ("--gpus", "all")])
def test_a_named_device_is_there_with_what_its_vendor_says(knowing: Engine, flags: tuple[str, str]) -> None:
    docker = knowing.cli("docker")
    script = "refused=$( (exec 3> /dev/gpu0) 2>&1 ); echo $VENDOR; stat -c %t:%T /dev/gpu0; echo $refused"
    done = docker("run", "--rm", "--network", "none", *flags, "busybox", "sh", "-c", script)
    assert done.out.splitlines()[:2] == ["acme", "a:b7"]
    assert "not permitted" in done.out, "only reading is allowed"
