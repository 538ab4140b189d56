"""Containers that another OCI runtime runs (`--runtime runc`): a bundle on disk, its root mounted by the daemon."""

from __future__ import annotations

import os
import re
import shutil
from contextlib import AsyncExitStack
from typing import Any

import msgspec

from tiffin.engine import container_files, container_root, container_volumes
from tiffin.engine.container_context import Context
from tiffin.errors import Invalid
from tiffin.linux import mounts
from tiffin.model.container import Container
from tiffin.model.mount import Mount

BUILT_IN = "tiffin"
KNOWN = frozenset(("runc", "crun", "runsc", "youki", "kata-runtime"))
_MNT_DETACH = 2
_INTERFACE = re.compile(r"^(net\.ipv[46]\.conf\.)(?!all\.|default\.|lo\.)[^.]+(\.)")


def program(context: Context, name: str) -> str | None:
    """The executable of a runtime: a configured one, or one of those that docker's users name; None for others."""
    configured = context.settings.runtimes.get(name)
    if configured:
        return shutil.which(configured)
    return shutil.which(name) if name in KNOWN else None


def prepare(
    context: Context, container: Container, document: dict[str, Any], layers: tuple[Mount, ...], undo: AsyncExitStack
) -> dict[str, Any] | None:
    """The plan's `external`, and the bundle that it names; None for tiffin's own runtime."""
    if container.host.runtime == BUILT_IN:
        return None
    path = program(context, container.host.runtime)
    if path is None:
        raise Invalid(f"unknown or invalid runtime name: {container.host.runtime}")
    bundle = context.state(container.id)
    root = bundle / "rootfs"
    container_files.make_directory(root, 0o755)
    undo.callback(drop, context, container.id)
    if not os.path.ismount(root):
        tree = container_root.mount_detached(layers)
        target = os.open(root, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            mounts.attach(tree, target)
        finally:
            os.close(tree)
            os.close(target)
    (bundle / "config.json").write_bytes(msgspec.json.encode(_portable(document)))
    return {"runtime": path, "args": (), "root": str(bundle / "runtime"), "bundle": str(bundle)}


def _portable(document: dict[str, Any]) -> dict[str, Any]:
    """As other runtimes take it: crun before 1.9 knows no later version, and all of them set sysctls before the network
    is there, so that what is meant for its interfaces has to be their default."""
    linux = document["linux"]
    sysctls = {_INTERFACE.sub(r"\1default\2", key): value for key, value in linux.get("sysctl", {}).items()}
    whole = [_whole(mount) for mount in document["mounts"]]
    return {**document, "ociVersion": "1.0.2", "mounts": whole, "linux": {**linux, "sysctl": sysctls}}


def _whole(mount: dict[str, Any]) -> dict[str, Any]:
    """Without the subpath that only our own stage resolves."""
    if "subpath" not in mount:
        return mount
    rest = {key: value for key, value in mount.items() if key != "subpath"}
    return {**rest, "source": container_volumes.below(mount["source"], mount["subpath"])}


def drop(context: Context, container_id: str) -> None:
    """Detach the root that `prepare` mounted."""
    root = context.state(container_id) / "rootfs"
    if os.path.ismount(root):
        mounts.umount(os.fsencode(root), _MNT_DETACH)
