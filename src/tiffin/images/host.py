"""The reserved image `host:latest`: this machine's own root file system, read-only under a container's layer.

For a first container on a machine that reaches no registry. It is no sandbox for hostile code: whatever is readable to
the container's user on the machine's root file system is readable inside.
"""

import os
import platform
from collections.abc import Collection
from datetime import UTC, datetime
from pathlib import Path

from tiffin.errors import Unsupported
from tiffin.model.descriptor import OCI_CONFIG, OCI_LAYER, Descriptor, manifest_bytes, parse_manifest
from tiffin.model.digest import digest_of
from tiffin.model.image import Image, config_bytes, parse_config
from tiffin.model.platform import host_platform
from tiffin.model.reference import parse_reference
from tiffin.snapshots import Snapshotter

NAME = parse_reference("host:latest")
WARNING = "host:latest shows this machine's own files to the container: it is no sandbox for untrusted code"
_PATH = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
_SHELLS = ("/bin/bash", "/bin/sh")
_RELEASES = ("/etc/os-release", "/usr/lib/os-release")


def image(snapshots: Snapshotter, hidden: Collection[Path]) -> Image:
    """Adopt `/` as a layer and describe it. hidden: data root and exec root, which a container must not see.

    Unsupported where the snapshot driver can't.
    """
    release = next((path for path in _RELEASES if os.path.exists(path)), "/")
    created = datetime.fromtimestamp(int(os.stat(release).st_mtime), UTC).isoformat().replace("+00:00", "Z")
    # the same on every start of one machine: containers refer to the image by it
    diff = digest_of(f"root file system of {platform.node()} {os.stat('/').st_ino}".encode())
    if not os.path.exists("/bin/sh") or os.stat("/usr").st_dev != os.stat("/").st_dev:
        # a lower layer is one file system: what is mounted on it does not show
        raise Unsupported("this machine's root file system does not hold /usr and /bin/sh: there is no host image")
    snapshots.adopt(diff, Path("/"), hidden)
    shell = next(path for path in _SHELLS if os.path.exists(path))
    run = {"Env": [_PATH], "Cmd": [shell], "Labels": {"org.opencontainers.image.title": "host"}}
    history = {"created": created, "created_by": "the root file system of this machine"}
    config = parse_config(config_bytes(host_platform(), (diff,), run, (history,), created=created))
    layer = Descriptor(OCI_LAYER, diff, 0)
    manifest = parse_manifest(manifest_bytes(Descriptor(OCI_CONFIG, config.id, len(config.raw)), (layer,)))
    return Image(config, manifest, (NAME.familiar,), reserved=True, warnings=(WARNING,))
