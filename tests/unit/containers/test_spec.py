"""The OCI specification of a container: its values are security.md's."""

from dataclasses import replace
from typing import Any

import pytest

from tiffin.containers import creation, spec, spec_devices, spec_mounts, spec_resources, spec_security
from tiffin.containers.spec import Surroundings
from tiffin.containers.users import User
from tiffin.errors import Invalid
from tiffin.linux import capabilities
from tiffin.model.container import Config
from tiffin.model.container_host import DeviceMapping, DeviceRequest, HostConfig, LogConfig, MountPoint, Ulimit
from unit.containers.specimens import container

ROOT = User(0, 0, (0,), "/root")


def build(host: HostConfig | None = None, config: Config | None = None, **around: Any) -> dict[str, Any]:
    settled = creation.settle(host or HostConfig(), runtime="tiffin", log=LogConfig(), unified_cgroups=False)
    made = container("web", config=config or Config(hostname="abc"), host=settled, mounts=around.pop("mounts", ()))
    surroundings = Surroundings(
        user=around.pop("user", ROOT),
        root="rootfs",
        devices=spec_devices.devices(settled),
        hostname="abc",
        cgroup_parent="/tiffin",
        unified_cgroups=False,
        **around,
    )
    return spec.build(made, surroundings)


def namespaces(document: dict[str, Any]) -> dict[str, str | None]:
    return {one["type"]: one.get("path") for one in document["linux"]["namespaces"]}


def mounts_of(document: dict[str, Any]) -> dict[str, dict[str, Any]]:
    return {one["destination"]: one for one in document["mounts"]}


def test_the_default_capabilities_are_dockers_and_never_inheritable() -> None:
    sets = build()["process"]["capabilities"]
    expected = capabilities.bits(capabilities.DEFAULT) & capabilities.own()
    assert capabilities.bits(sets["bounding"]) == capabilities.bits(sets["effective"]) == expected
    assert sets["inheritable"] == sets["ambient"] == []


def test_a_user_other_than_root_has_the_bounding_set_alone() -> None:
    sets = build(user=User(1000, 1000, (1000,), "/"))["process"]["capabilities"]
    assert sets["bounding"] and sets["effective"] == sets["permitted"] == []


def test_namespaces_are_private_unless_the_mode_says_otherwise() -> None:
    assert namespaces(build()) == dict.fromkeys(("mount", "network", "pid", "ipc", "uts"))
    shared = build(HostConfig(network_mode="host", pid_mode="host", ipc_mode="host", uts_mode="host"))
    assert namespaces(shared) == {"mount": None}
    joined = build(HostConfig(network_mode="container:x"), joined={"network": 7, "uts": 7})
    assert namespaces(joined)["network"] == "/proc/7/ns/net"
    assert "hostname" not in joined


def test_the_environment_has_dockers_variables_first_and_the_users_win() -> None:
    env = spec.environment(("A=b", "PATH=/x", "HOSTNAME"), hostname="h", tty=True, home="/root")
    assert env == ["PATH=/x", "TERM=xterm", "A=b", "HOME=/root"]


def test_masks_and_read_only_paths_are_dockers() -> None:
    linux = build()["linux"]
    assert "/proc/kcore" in linux["maskedPaths"] and "/sys/firmware" in linux["maskedPaths"]
    assert linux["readonlyPaths"] == ["/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"]
    assert build(HostConfig(privileged=True))["linux"]["maskedPaths"] == []


def test_sys_and_cgroup_are_writable_for_the_privileged_only() -> None:
    for privileged, access in ((False, "ro"), (True, "rw")):
        mounts = mounts_of(build(HostConfig(privileged=privileged)))
        assert access in mounts["/sys"]["options"] and access in mounts["/sys/fs/cgroup"]["options"]


def test_a_users_mount_takes_the_place_of_a_default() -> None:
    mounts = mounts_of(build(HostConfig(tmpfs={"/dev/shm": "size=1m,exec"})))
    assert mounts["/dev/shm"]["options"] == ["nosuid", "nodev", "size=1m", "exec"]
    with pytest.raises(Invalid, match="invalid tmpfs option"):
        spec_mounts.tmpfs("/x", "lowerdir=/etc")


def test_mounts_come_in_the_order_of_their_depth() -> None:
    points = (MountPoint("bind", "/a/b", source="/1"), MountPoint("bind", "/a", source="/2", rw=False))
    document = build(mounts=points)
    destinations = [one["destination"] for one in document["mounts"]]
    assert destinations.index("/a") < destinations.index("/a/b")
    assert mounts_of(document)["/a"]["options"] == ["rbind", "ro", "rro", "rprivate"]


def test_shared_binds_ask_for_a_shared_root() -> None:
    assert spec_mounts.root_propagation((MountPoint("bind", "/a", propagation="rshared"),)) == "shared"
    assert spec_mounts.root_propagation((MountPoint("bind", "/a", propagation="rslave"),)) == "rslave"
    assert spec_mounts.root_propagation(()) is None


def test_device_rules_deny_all_first() -> None:
    rules = build()["linux"]["resources"]["devices"]
    assert rules[0] == {"allow": False, "access": "rwm"}
    assert {"allow": True, "type": "c", "major": 1, "minor": 3, "access": "rwm"} in rules


def test_a_device_is_found_on_the_host_and_allowed() -> None:
    host = HostConfig(devices=(DeviceMapping("/dev/zero", "/dev/nought", "r"),))
    found = spec_devices.devices(host)
    assert (found.nodes[0]["path"], found.nodes[0]["major"], found.nodes[0]["minor"]) == ("/dev/nought", 1, 5)
    assert found.rules[-1]["access"] == "r"
    with pytest.raises(Invalid, match='error gathering device information while adding custom device "/dev/nope"'):
        spec_devices.devices(HostConfig(devices=(DeviceMapping("/dev/nope", "/dev/nope", "rwm"),)))


def test_gpus_without_a_driver_are_refused_in_dockers_words() -> None:
    request = DeviceRequest(count=-1, capabilities=(("gpu",),))
    with pytest.raises(Invalid) as refused:
        spec_devices.devices(HostConfig(device_requests=(request,)))
    assert str(refused.value) == 'could not select device driver "" with capabilities: [[gpu]]'


def test_limits_are_translated() -> None:
    limits = spec_resources.limits(HostConfig(nano_cpus=500_000_000, memory=64 << 20, memory_swap=-1, pids_limit=5))
    assert limits == {
        "cpu": {"period": 100_000, "quota": 50_000},
        "memory": {"limit": 64 << 20, "swap": -1},
        "pids": {"limit": 5},
    }
    assert spec_resources.limits(HostConfig()) == {}


def test_the_default_filter_depends_on_the_capabilities() -> None:
    def allowed(host: HostConfig) -> set[str]:
        bounding = spec_security.capabilities_of(host)
        found = spec_security.seccomp(host, bounding) or {}
        return {name for rule in found["syscalls"] if rule["action"] == "SCMP_ACT_ALLOW" for name in rule["names"]}

    assert "mount" not in allowed(HostConfig())
    assert "mount" in allowed(HostConfig(cap_add=("CAP_SYS_ADMIN",)))
    assert spec_security.seccomp(HostConfig(privileged=True), []) is None
    assert spec_security.seccomp(HostConfig(security_opt=("seccomp=unconfined",)), []) is None
    with pytest.raises(Invalid, match="Decoding seccomp profile failed"):
        spec_security.seccomp(HostConfig(security_opt=("seccomp={",)), [])


def test_ulimits_have_names() -> None:
    document = build(HostConfig(ulimits=(Ulimit("nofile", hard=200, soft=100), Ulimit("core", hard=-1, soft=0))))
    assert document["process"]["rlimits"][0] == {"type": "RLIMIT_NOFILE", "soft": 100, "hard": 200}
    with pytest.raises(Invalid, match="invalid ulimit type: bogus"):
        build(HostConfig(ulimits=(Ulimit("bogus", 1, 1),)))


def test_labels_never_reach_the_specification() -> None:
    assert "annotations" not in build()


def test_the_same_container_gives_the_same_specification() -> None:
    made = container("web")
    around = Surroundings(
        user=ROOT,
        root="r",
        devices=spec_devices.devices(HostConfig()),
        hostname="h",
        cgroup_parent="/t",
        unified_cgroups=True,
    )
    assert spec.build(made, around) == spec.build(replace(made), around)
