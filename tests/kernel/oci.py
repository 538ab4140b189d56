"""Containers through an OCI runtime's command line, for tests: ours, or runc to prove the tests."""

import json
import os
import shutil
import subprocess
import sys
import uuid
from pathlib import Path
from typing import Any

from tiffin.linux import cgroups, cgroups_live
from tiffin.runtime.oci_documents import starter

RUNTIMES = {"tiffin-runtime": str(Path(sys.prefix) / "bin/tiffin-runtime"), "runc": shutil.which("runc") or "runc"}


class Bundle:
    """A busybox root, a config.json to change, and a runtime in network and mount namespaces of its own."""

    def __init__(self, place: Path, runtime: str) -> None:
        self.place, self.runtime = place, RUNTIMES[runtime]
        self.group = f"/tiffin-test-{uuid.uuid4().hex[:12]}"
        self.id = "box-" + uuid.uuid4().hex[:8]
        self._root_file_system()
        self.spec: dict[str, Any] = starter()
        # what the installed runc understands
        self.spec["ociVersion"] = "1.0.2"
        self.spec["process"] |= {"terminal": False, "args": ["true"]}
        self.spec["linux"]["cgroupsPath"] = f"{self.group}/{self.id}"

    def _root_file_system(self) -> None:
        root = self.place / "rootfs"
        for name in ("bin", "etc", "proc", "sys", "dev", "tmp", "root"):
            (root / name).mkdir(parents=True)
        for directory in (self.place, root):
            directory.chmod(0o755)
        shutil.copy(shutil.which("busybox") or "/bin/busybox", root / "bin/busybox")
        for applet in (
            "sh",
            "true",
            "false",
            "sleep",
            "cat",
            "id",
            "env",
            "echo",
            "ls",
            "head",
            "kill",
            "mount",
            "pwd",
        ):
            (root / "bin" / applet).symlink_to("busybox")
        (root / "etc/passwd").write_text("root:x:0:0::/root:/bin/sh\nuser:x:1000:1000::/home/user:/bin/sh\n")

    def shell(self, script: str) -> None:
        """The process becomes a shell script."""
        self.spec["process"]["args"] = ["sh", "-c", script]

    def call(self, *arguments: str, detached: bool = False, **more: Any) -> "subprocess.CompletedProcess[str]":
        """One command of the runtime; config.json is what `spec` is now.

        detached: output goes to the files `out` and `err`, since a container's process keeps it open.
        """
        (self.place / "config.json").write_text(json.dumps(self.spec))
        command = ["unshare", "--net", "--mount", "--propagation", "private", self.runtime]
        command += ["--root", str(self.place / "state"), *arguments]
        if "input" not in more:
            more.setdefault("stdin", subprocess.DEVNULL)
        if not detached:
            return subprocess.run(command, cwd=self.place, capture_output=True, text=True, timeout=60, **more)
        with (self.place / "out").open("w") as out, (self.place / "err").open("w") as err:
            return subprocess.run(command, cwd=self.place, stdout=out, stderr=err, text=True, timeout=60, **more)

    def start(self, *arguments: str) -> int:
        """Run it detached: the pid of its process."""
        done = self.call("run", "--detach", *arguments, self.id, detached=True)
        assert done.returncode == 0, (self.place / "err").read_text()
        return int(self.state()["pid"])

    def state(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(self.call("state", self.id).stdout)
        return found

    def cgroup(self) -> cgroups.Cgroup:
        return cgroups.detect().place(f"{self.group}/{self.id}")

    def close(self) -> None:
        self.call("delete", "--force", self.id)
        above = cgroups.detect().place(self.group)
        if any(os.path.isdir(directory) for directory in above.unique()):
            cgroups_live.kill(above)
            cgroups_live.remove(above)
