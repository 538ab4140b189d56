"""Documents that the OCI runtime CLI writes: a starter config.json, and what this runtime can do."""

import json
import os
from typing import Any

from tiffin import __version__
from tiffin.errors import Conflict
from tiffin.linux import capabilities, seccomp, seccomp_numbers
from tiffin.runtime import compile_linux, compile_options
from tiffin.runtime.compile import HOOKS
from tiffin.runtime.oci_bundle import CONFIG
from tiffin.runtime.oci_options import Parsed

SPECIFICATION = "1.2.0"
STARTER_CAPABILITIES = ["CAP_AUDIT_WRITE", "CAP_KILL", "CAP_NET_BIND_SERVICE"]


def starter(rootless: bool = False) -> dict[str, Any]:
    """The specification runc begins with: a shell on a terminal, in namespaces of its own, read-only."""
    spec: dict[str, Any] = {
        "ociVersion": SPECIFICATION,
        "process": {
            "terminal": True,
            "user": {"uid": 0, "gid": 0},
            "args": ["sh"],
            "env": ["PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "TERM=xterm"],
            "cwd": "/",
            "capabilities": {
                name: list(STARTER_CAPABILITIES) for name in ("bounding", "effective", "permitted", "ambient")
            },
            "rlimits": [{"type": "RLIMIT_NOFILE", "hard": 1024, "soft": 1024}],
            "noNewPrivileges": True,
        },
        "root": {"path": "rootfs", "readonly": True},
        "hostname": "runc",
        "mounts": [
            _mount("/proc", "proc", "proc"),
            _mount("/dev", "tmpfs", "tmpfs", "nosuid", "strictatime", "mode=755", "size=65536k"),
            _mount(
                "/dev/pts",
                "devpts",
                "devpts",
                "nosuid",
                "noexec",
                "newinstance",
                "ptmxmode=0666",
                "mode=0620",
                "gid=5",
            ),
            _mount("/dev/shm", "tmpfs", "shm", "nosuid", "noexec", "nodev", "mode=1777", "size=65536k"),
            _mount("/dev/mqueue", "mqueue", "mqueue", "nosuid", "noexec", "nodev"),
            _mount("/sys", "sysfs", "sysfs", "nosuid", "noexec", "nodev", "ro"),
            _mount("/sys/fs/cgroup", "cgroup", "cgroup", "nosuid", "noexec", "nodev", "relatime", "ro"),
        ],
        "linux": {
            "resources": {"devices": [{"allow": False, "access": "rwm"}]},
            "namespaces": [{"type": name} for name in ("pid", "network", "ipc", "uts", "mount")],
            "maskedPaths": [
                *("/proc/" + name for name in ("acpi", "asound", "kcore", "keys", "latency_stats", "timer_list")),
                *("/proc/timer_stats", "/proc/sched_debug", "/sys/firmware", "/proc/scsi"),
            ],
            "readonlyPaths": ["/proc/" + name for name in ("bus", "fs", "irq", "sys", "sysrq-trigger")],
        },
    }
    if os.path.exists("/sys/fs/cgroup/cgroup.controllers"):
        spec["linux"]["namespaces"].append({"type": "cgroup"})
    return _without_privileges(spec) if rootless else spec


def _mount(destination: str, kind: str, source: str, *options: str) -> dict[str, Any]:
    found: dict[str, Any] = {"destination": destination, "type": kind, "source": source}
    return found | ({"options": list(options)} if options else {})


def _without_privileges(spec: dict[str, Any]) -> dict[str, Any]:
    """For a user without root: own user namespace, host's network, no group of devpts, no limits."""
    linux = spec["linux"]
    linux["namespaces"] = [one for one in linux["namespaces"] if one["type"] not in ("network", "user")]
    linux["namespaces"].append({"type": "user"})
    for key, identity in (("uidMappings", os.geteuid()), ("gidMappings", os.getegid())):
        linux[key] = [{"containerID": 0, "hostID": identity, "size": 1}]
    del linux["resources"]
    mounts = []
    for entry in spec["mounts"]:
        if entry["destination"] == "/sys":
            # a new sysfs belongs to who owns the network namespace
            entry = _mount("/sys", "none", "/sys", "rbind", "nosuid", "noexec", "nodev", "ro")
        elif "options" in entry:
            entry["options"] = [one for one in entry["options"] if not one.startswith(("gid=", "uid="))]
        mounts.append(entry)
    spec["mounts"] = mounts
    return spec


def write_starter(root: str, options: Parsed) -> int:
    path = os.path.join(options.text("bundle") or ".", CONFIG)
    if os.path.lexists(path):
        raise Conflict(f"File {CONFIG} exists. Remove it first")
    with open(path, "x", encoding="utf-8") as file:
        json.dump(starter(options.on("rootless")), file, indent="\t")
    return 0


def features(root: str, options: Parsed) -> int:
    """See https://github.com/opencontainers/runtime-spec/blob/main/features.md."""
    found = {
        "ociVersionMin": "1.0.0",
        "ociVersionMax": SPECIFICATION,
        "hooks": list(HOOKS),
        "mountOptions": sorted(compile_options.known()),
        "linux": {
            "namespaces": sorted(compile_linux.NAMESPACES),
            "capabilities": list(capabilities.NAMES),
            "cgroup": {"v1": True, "v2": True, "systemd": False, "systemdUser": False, "rdma": True},
            "seccomp": {
                "enabled": True,
                "actions": sorted(seccomp.ACTIONS),
                "operators": sorted(seccomp.OPERATORS),
                "archs": sorted(name for name in seccomp_numbers.SCMP if name != "SCMP_ARCH_NATIVE"),
                "knownFlags": sorted(seccomp.FLAGS),
                "supportedFlags": sorted(seccomp.FLAGS),
            },
            "apparmor": {"enabled": True},
            "selinux": {"enabled": True},
            "intelRdt": {"enabled": False},
            "mountExtensions": {"idmap": {"enabled": True}},
        },
        "annotations": {"org.tiffin.version": __version__, "run.oci.checkpoint.enabled": "false"},
    }
    print(json.dumps(found, indent=4))
    return 0
