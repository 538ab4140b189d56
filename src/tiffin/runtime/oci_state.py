"""Containers as the OCI runtime CLI keeps them: a directory below --root with state.json, and a FIFO until started."""

import json
import os
import re
import time
from dataclasses import asdict, dataclass, field
from typing import Any

from tiffin.errors import Conflict, Invalid, NotFound
from tiffin.linux import cgroups, cgroups_live

STATE, FIFO = "state.json", "exec.fifo"
_ID = re.compile(r"[\w+.-]+\Z")
MAX_ID = 1024
ALLOWED_ROOT_MODE = 0o711


@dataclass(slots=True)
class Container:
    """directory: where it is kept. start_time: of the process, in ticks since boot (/proc/PID/stat), against pid reuse.

    plan: those parts of the plan that an exec and a removal need.
    """

    directory: str
    id: str
    bundle: str
    rootfs: str
    spec: dict[str, Any]
    created: str
    pid: int = 0
    start_time: int = 0
    groups: dict[str, str] = field(default_factory=dict)
    cgroup_version: int = 1
    join_user: bool = False

    @property
    def cgroup(self) -> cgroups.Cgroup:
        return cgroups.Cgroup(self.groups, self.cgroup_version)

    @property
    def fifo(self) -> str:
        return os.path.join(self.directory, FIFO)

    def status(self) -> str:
        """created, running, paused or stopped."""
        if not self.pid or process_start_time(self.pid) != self.start_time:
            return "stopped"
        if cgroups_live.frozen(self.cgroup):
            return "paused"
        return "created" if os.path.exists(self.fifo) else "running"

    def save(self) -> None:
        record = asdict(self)
        del record["directory"]
        temporary = os.path.join(self.directory, "." + STATE)
        with open(temporary, "w", encoding="utf-8") as file:
            json.dump(record, file)
        os.rename(temporary, os.path.join(self.directory, STATE))

    def oci_state(self) -> dict[str, Any]:
        """The OCI state object, in runc's order and with its additions."""
        status = self.status()
        found: dict[str, Any] = {
            "ociVersion": self.spec.get("ociVersion", ""),
            "id": self.id,
            "pid": 0 if status == "stopped" else self.pid,
            "status": status,
            "bundle": self.bundle,
            "rootfs": self.rootfs,
            "created": self.created,
        }
        if self.spec.get("annotations"):
            found["annotations"] = self.spec["annotations"]
        found["owner"] = ""
        return found


def check_id(container_id: str) -> None:
    """Raises Invalid: the id becomes a file name."""
    if not container_id:
        raise Invalid("container id cannot be empty")
    if len(container_id) > MAX_ID or not _ID.match(container_id) or container_id in (".", ".."):
        raise Invalid(f"invalid container ID format: {container_id}")


def reserve(root: str, container_id: str) -> str:
    """Make the container's directory. Raises Conflict where there is one."""
    check_id(container_id)
    os.makedirs(root, 0o700, exist_ok=True)
    directory = os.path.join(root, container_id)
    try:
        os.mkdir(directory, ALLOWED_ROOT_MODE)
    except FileExistsError:
        raise Conflict("container with given ID already exists") from None
    return directory


def load(root: str, container_id: str) -> Container:
    """Raises NotFound."""
    check_id(container_id)
    directory = os.path.join(root, container_id)
    try:
        with open(os.path.join(directory, STATE), encoding="utf-8") as file:
            return Container(directory=directory, **json.load(file))
    except FileNotFoundError:
        raise NotFound("container does not exist") from None


def process_start_time(pid: int) -> int:
    """Field 22 of /proc/PID/stat; 0 where there is no such process or only its zombie."""
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:
            fields = file.read().rpartition(b")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return 0
    return 0 if fields[0] in (b"Z", b"X") else int(fields[19])


def now() -> str:
    """RFC 3339 with nanoseconds, as Go writes it."""
    seconds, nanoseconds = divmod(time.time_ns(), 1_000_000_000)
    fraction = f".{nanoseconds:09d}".rstrip("0").rstrip(".")
    return time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(seconds)) + fraction + "Z"
