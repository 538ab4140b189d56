"""The steps that change files without running anything, and inline documents. All of it blocks."""

import os
from pathlib import Path

from tiffin.build.solve import copying, placing
from tiffin.build.solve.placing import Stamp
from tiffin.build.solve.ports import OwnerOf
from tiffin.build.solve.store import Store
from tiffin.build.solve.values import Value
from tiffin.build.steps import CopyFiles, InlineSource, MakeDirectory

_SECOND = 1_000_000_000


def make_directory(root: int, step: MakeDirectory, owner_of: OwnerOf) -> None:
    """root: the fd of a working copy."""
    owner = owner_of(root, step.owner) if step.owner else (0, 0)
    parts = placing.resolved(root, os.fsencode(step.path))
    # only the last gets the mode that is asked for
    stamp = Stamp(owner, None if step.created is None else step.created * _SECOND)
    existed = placing.status(root, parts) is not None
    fd = placing.directory(root, parts, stamp)
    try:
        if not existed:
            os.fchmod(fd, step.mode)
            placing.stamp_time(fd, stamp)
    finally:
        os.close(fd)


def copy_files(
    root: int, step: CopyFiles, inputs: list[Value], store: Store, owner_of: OwnerOf, epoch: int | None
) -> None:
    """inputs: the step's, by its numbers."""
    for action in step.actions:
        owner = owner_of(root, action.owner) if action.owner else None
        stamp = Stamp(owner, None if epoch is None else epoch * _SECOND)
        with store.opened(inputs[action.input]) as source:
            copying.copy(source, root, action, stamp)


def write_inline(step: InlineSource, into: Path) -> None:
    path = into / step.path.lstrip("/")
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(step.content.encode("utf-8", "surrogateescape"))
    path.chmod(step.mode)
    os.utime(path, ns=(0, 0))
