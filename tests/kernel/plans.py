"""Plans by hand for the tests of stage and monitor: a small root of busybox, all namespaces."""

import os
import shutil
from pathlib import Path
from typing import Any

from tiffin.linux import mounts
from tiffin.linux import namespaces as ns
from tiffin.runtime import plan

DEFAULT_CAPABILITIES = 0xA80425FB
NAMESPACES = ns.CLONE_NEWNS | ns.CLONE_NEWPID | ns.CLONE_NEWIPC | ns.CLONE_NEWUTS | ns.CLONE_NEWNET | ns.CLONE_NEWCGROUP
_NO_EXEC = mounts.MOUNT_ATTR_NOSUID | mounts.MOUNT_ATTR_NODEV | mounts.MOUNT_ATTR_NOEXEC


def make_root(place: Path) -> Path:
    """A root file system with busybox."""
    root = place / "root"
    (root / "bin").mkdir(parents=True)
    for name in ("etc", "tmp", "work"):
        (root / name).mkdir()
    shutil.copy("/bin/busybox", root / "bin/busybox")
    for applet in (
        "sh",
        "cat",
        "echo",
        "sleep",
        "ls",
        "id",
        "true",
        "seq",
        "grep",
        "mount",
        "stty",
        "kill",
        "ps",
        "wc",
    ):
        (root / "bin" / applet).symlink_to("busybox")
    (root / "etc/passwd").write_text("root:x:0:0:root:/:/bin/sh\n")
    (place / "at").mkdir()
    return root


def operations(place: Path, *, terminal: bool = False, user: bool = False) -> tuple[plan.Operation, ...]:
    """Docker's mounts, without cgroups. user: the root's owners are shifted into the container's user namespace."""
    idmap = (b"", b"") if user else None
    return (
        plan.propagation(mounts.MS_SLAVE | mounts.MS_REC),
        plan.rootfs(b"bind", os.fsencode(place / "root"), os.fsencode(place / "at"), idmap=idmap),
        plan.mount(b"/proc", b"proc", b"proc", attributes=(_NO_EXEC, 0)),
        plan.mount(
            b"/dev",
            b"tmpfs",
            b"tmpfs",
            options=(b"mode=755", b"size=65536k"),
            attributes=(mounts.MOUNT_ATTR_NOSUID | mounts.MOUNT_ATTR_STRICTATIME, 0),
        ),
        plan.mount(
            b"/dev/pts",
            b"devpts",
            b"devpts",
            options=(b"newinstance", b"gid=5", b"mode=620", b"ptmxmode=0666"),
            attributes=(mounts.MOUNT_ATTR_NOSUID | mounts.MOUNT_ATTR_NOEXEC, 0),
        ),
        plan.mount(b"/sys", b"sysfs", b"sysfs", attributes=(_NO_EXEC | mounts.MOUNT_ATTR_RDONLY, 0)),
        *(plan.device(b"/dev/" + name, b"c", 1, minor, 0o666) for name, minor in ((b"null", 3), (b"zero", 5))),
        plan.device(b"/dev/tty", b"c", 5, 0, 0o666),
        plan.symlink(b"/dev/ptmx", b"pts/ptmx"),
        *((plan.console(),) if terminal else ()),
        plan.hostname(b"box"),
        plan.loopback(),
        plan.pivot(),
        plan.sysctl(b"net.ipv4.ip_unprivileged_port_start", b"0"),
        plan.mask(b"/proc/version"),
        plan.mask(b"/proc/acpi"),
        plan.mask(b"/proc/no-such-thing"),
        plan.readonly(b"/proc/sys"),
    )


def process(*argv: str, **more: Any) -> dict[str, Any]:
    """A process with Docker's capabilities."""
    held = DEFAULT_CAPABILITIES
    values = {
        "argv": tuple(map(os.fsencode, argv)),
        "env": (b"PATH=/bin", b"HOME=/"),
        "capabilities": (held, held, 0, held, 0),
    }
    return plan.process_defaults({**values, **more})


def container(place: Path, *argv: str, name: str = "box", **more: Any) -> dict[str, Any]:
    """A whole plan; more overrides its keys, "process" is updated."""
    state = place / name
    state.mkdir(mode=0o700, exist_ok=True)
    which = process(*argv, **more.pop("process", {}))
    stdio = {"terminal": False, "stdin": False, "stdin_once": False, "size": None, **more.pop("stdio", {})}
    values = {
        "id": name,
        "state": str(state),
        "unshare": NAMESPACES,
        "operations": operations(place, terminal=stdio["terminal"], user="user" in more),
        "process": which,
        "stdio": stdio,
    }
    return plan.defaults({**values, **more})


def json_log(place: Path, **more: Any) -> dict[str, Any]:
    """Settings of a json-file log at place/log."""
    return {"driver": "json-file", "path": str(place / "log"), "max_size": 0, "max_file": 1, "compress": False, **more}
