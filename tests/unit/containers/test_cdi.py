"""Devices by name: which files count, what is asked for, and what it changes in a specification."""

import json
from pathlib import Path
from typing import Any

import pytest

from tiffin.containers import cdi
from tiffin.errors import Invalid
from tiffin.model.container_host import DeviceRequest

NODE = {"path": "/dev/acme0", "hostPath": "/dev/null", "permissions": "rw"}


def write(directory: Path, name: str, kind: str = "acme.com/gpu", **devices: Any) -> Path:
    directory.mkdir(exist_ok=True)
    document = {
        "cdiVersion": "0.6.0",
        "kind": kind,
        "containerEdits": {"env": ["SHARED=1"], "additionalGids": [44]},
        "devices": [{"name": key, "containerEdits": edits} for key, edits in devices.items()],
    }
    (directory / name).write_text(json.dumps(document))
    return directory


def spec() -> dict[str, Any]:
    return {
        "process": {"env": ["PATH=/bin", "SHARED=0"], "user": {"uid": 7, "gid": 8, "additionalGids": []}},
        "linux": {"devices": [], "resources": {}},
        "mounts": [{"destination": "/old", "source": "tmpfs", "type": "tmpfs", "options": []}],
    }


def changed(directories: list[Path], *requests: DeviceRequest) -> dict[str, Any]:
    known = cdi.find([str(one) for one in directories])
    document = spec()
    cdi.apply(document, cdi.edits(cdi.wanted(requests, known), known))
    return document


def named(*names: str) -> DeviceRequest:
    return DeviceRequest(driver="cdi", device_ids=names)


def test_a_named_device_changes_the_specification(tmp_path: Path) -> None:
    edits = {
        "deviceNodes": [NODE],
        "mounts": [{"hostPath": "/usr/lib", "containerPath": "/old", "options": ["ro", "rbind"]}],
        "hooks": [{"hookName": "createContainer", "path": "/usr/bin/hook", "args": ["hook", "go"]}],
    }
    document = changed([write(tmp_path / "cdi", "a.json", one=edits)], named("acme.com/gpu=one"))
    assert document["process"]["env"] == ["PATH=/bin", "SHARED=1"]
    assert document["process"]["user"]["additionalGids"] == [44]
    assert document["linux"]["devices"] == [
        {"path": "/dev/acme0", "type": "c", "major": 1, "minor": 3, "fileMode": 0o666, "uid": 7, "gid": 8}
    ]
    rule = {"allow": True, "type": "c", "major": 1, "minor": 3, "access": "rw"}
    assert document["linux"]["resources"]["devices"] == [rule]
    assert document["mounts"] == [
        {"destination": "/old", "source": "/usr/lib", "type": "bind", "options": ["ro", "rbind"]}
    ]
    assert document["hooks"] == {"createContainer": [{"path": "/usr/bin/hook", "args": ["hook", "go"]}]}


def test_what_a_file_says_for_all_its_devices_comes_once(tmp_path: Path) -> None:
    directory = write(tmp_path / "cdi", "a.json", one={"env": ["SHARED=own"]}, two={})
    document = changed([directory], named("acme.com/gpu=one", "acme.com/gpu=two"))
    assert document["process"]["env"] == ["PATH=/bin", "SHARED=own"]


def test_files_may_be_yaml(tmp_path: Path) -> None:
    (tmp_path / "gpu.yaml").write_text(
        "cdiVersion: 0.5.0\nkind: nvidia.com/gpu\ndevices:\n- name: '0'\n  containerEdits:\n    env: [WHICH=zero]\n"
    )
    assert "WHICH=zero" in changed([tmp_path], named("nvidia.com/gpu=0"))["process"]["env"]


@pytest.mark.parametrize(
    ("request_", "expected"),
    [
        (DeviceRequest(count=-1, capabilities=(("gpu",),)), "all"),
        (DeviceRequest(device_ids=("1",), capabilities=(("gpu",),)), "1"),
        (DeviceRequest(count=1, driver="nvidia", capabilities=(("gpu", "compute"),)), "0"),
    ],
)
def test_gpus_are_the_devices_of_the_vendor_that_is_there(
    tmp_path: Path, request_: DeviceRequest, expected: str
) -> None:
    ids = {name: {"env": [f"WHICH={name}"]} for name in ("0", "1", "all")}
    directory = write(tmp_path / "cdi", "n.json", "nvidia.com/gpu", **ids)
    assert f"WHICH={expected}" in changed([directory], request_)["process"]["env"]


def test_a_later_directory_overrides_an_earlier_one(tmp_path: Path) -> None:
    first = write(tmp_path / "etc", "a.json", one={"env": ["FROM=etc"]})
    second = write(tmp_path / "run", "a.json", one={"env": ["FROM=run"]})
    assert "FROM=run" in changed([first, second], named("acme.com/gpu=one"))["process"]["env"]


def test_a_device_that_two_files_of_a_directory_describe_is_none(tmp_path: Path) -> None:
    write(tmp_path / "cdi", "a.json", one={})
    directory = write(tmp_path / "cdi", "b.json", one={}, two={})
    with pytest.raises(Invalid, match=r"unresolvable CDI devices acme.com/gpu=one$"):
        changed([directory], named("acme.com/gpu=one", "acme.com/gpu=two"))


def test_what_is_not_there_is_refused_in_dockers_words(tmp_path: Path) -> None:
    with pytest.raises(Invalid, match=r"^CDI device injection failed: unresolvable CDI devices acme.com/gpu=x$"):
        changed([tmp_path / "absent"], named("acme.com/gpu=x"))
    with pytest.raises(Invalid, match=r'^could not select device driver "" with capabilities: \[\[gpu\]\]$'):
        changed([tmp_path], DeviceRequest(count=-1, capabilities=(("gpu",),)))


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("a.json", "{", "cannot read .*a.json"),
        ("a.json", '{"kind": "nothing"}', 'no valid "kind"'),
        ("a.yaml", "a: [", "cannot read .*a.yaml"),
        ("a.json", '{"kind": "acme.com/gpu", "devices": [{}]}', "a device without a name"),
    ],
)
def test_a_malformed_file_is_named(tmp_path: Path, name: str, content: str, words: str) -> None:
    (tmp_path / name).write_text(content)
    with pytest.raises(Invalid, match=words):
        changed([tmp_path], named("acme.com/gpu=one"))


@pytest.mark.parametrize(
    "edits",
    [
        {"deviceNodes": [{"path": "/dev/acme0", "hostPath": "/dev/acme-nope"}]},
        {"deviceNodes": [{"path": "/dev/acme0", "hostPath": "/etc/passwd"}]},
        {"deviceNodes": [{}]},
        {"hooks": [{"hookName": "whenever", "path": "/bin/true"}]},
        {"mounts": [{"hostPath": "/"}]},
        {"env": 3},
    ],
)
def test_edits_that_cannot_be_made_are_refused(tmp_path: Path, edits: dict[str, Any]) -> None:
    with pytest.raises(Invalid, match="CDI device injection failed"):
        changed([write(tmp_path / "cdi", "a.json", one=edits)], named("acme.com/gpu=one"))
