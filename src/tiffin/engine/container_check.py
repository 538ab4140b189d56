"""What `system check` looks at in containers: their layers, directories, processes, control groups, mounts."""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Callable, Collection, Iterator
from functools import partial
from pathlib import Path
from typing import Protocol

from tiffin.engine.container_context import Context
from tiffin.engine.container_restore import forget_state
from tiffin.linux import cgroups_live, mounts
from tiffin.model.container import Container
from tiffin.model.container_status import Dead, Paused, Removing, Running
from tiffin.model.digest import Digest
from tiffin.model.finding import Finding
from tiffin.snapshots import Layer

_ID = re.compile(r"[0-9a-f]{64}", re.ASCII)
_ESCAPED = re.compile(r"\\([0-7]{3})")
_MNT_DETACH = 2
_REMOVED = "--repair removes it"


class Snapshots(Protocol):
    """What is asked of the snapshot driver."""

    @property
    def name(self) -> str: ...
    def layer(self, chain: Digest) -> Layer | None: ...
    def snapshots(self) -> list[str]: ...
    def lost(self) -> list[str]: ...
    def remove(self, key: str) -> None: ...


class ContainersCheck:
    """Blocks; may be used from any thread."""

    domain = "containers"

    def __init__(self, context: Context, snapshots: Snapshots) -> None:
        self._context = context
        self._snapshots = snapshots

    def counted(self) -> dict[str, int]:
        """How many there are."""
        return {"Containers": len(self._context.records)}

    def findings(self, *, thorough: bool) -> Iterator[Finding]:
        """Everything is quick to find out here."""
        records = tuple(self._context.records)
        known = {one.id for one in records} | self._context.records.arriving()
        known.update(*(others() for others in self._context.others))
        yield from self._without_container(known)
        keys, lost = set(self._snapshots.snapshots()), set(self._snapshots.lost())
        for container in records:
            if not self._context.records.lock(container.id).locked():
                yield from self._of(container, keys, lost)
        yield from self._mounts()

    def _of(self, container: Container, keys: Collection[str], lost: Collection[str]) -> Iterator[Finding]:
        status, named = container.status, f"container {container.name} ({container.id[:12]})"
        going = isinstance(status, Removing | Dead)
        if not going and container.driver == self._snapshots.name:
            if container.id not in keys or container.id in lost:
                problem = f"{named}: the files that it changed are gone"
                yield self._finding("container-files", container.id, problem, "remove it, and make it anew")
            elif container.chain is not None and self._snapshots.layer(Digest(container.chain)) is None:
                problem = f"{named}: its image's layer {container.chain} is gone"
                yield self._finding("container-layer", container.id, problem, f"pull {container.config.image} again")
        if isinstance(status, Running | Paused):
            if not os.path.exists(f"/proc/{status.pid}") or self._context.live(container.id).process is None:
                problem = f"{named} is said to run, but nobody watches its process {status.pid}"
                yield self._finding(
                    "container-process", container.id, problem, "restart the daemon, which looks for it"
                )
        elif container.id not in self._context.early and cgroups_live.remains(self._context.cgroup(container)):
            yield Finding(
                self.domain, "cgroup-left", container.id, f"{named} does not run, but has a control group", _REMOVED,
                repair=partial(cgroups_live.discard, self._context.cgroup(container)),
            )  # fmt: skip

    def _finding(self, kind: str, subject: str, problem: str, advice: str) -> Finding:
        return Finding(self.domain, kind, subject, problem, advice)

    # -- what belongs to no container --------------------------------------------------------------------------------

    def _without_container(self, known: Collection[str]) -> Iterator[Finding]:
        settings = self._context.settings
        for key in self._snapshots.snapshots():
            owner = _ID.match(key)
            if owner and owner[0] not in known:
                problem = f"the changed files of container {key[:12]} are there, the container is not"
                yield self._left("snapshot-left", key, problem, partial(self._snapshots.remove, key))
        for directory in _strangers(settings.data_root / "containers", known):
            problem = f"{directory} belongs to no container"
            yield self._left("directory-left", str(directory), problem, partial(shutil.rmtree, directory))
        for directory in _strangers(settings.exec_root / "containers", known):
            problem = f"{directory} belongs to no container"
            yield self._left("directory-left", str(directory), problem, partial(forget_state, self._context, directory))
        parent = self._context.hierarchies.place(settings.cgroup_parent)
        for name in sorted({path.name for place in parent.unique() for path in _strangers(Path(place), known)}):
            cgroup = self._context.hierarchies.place(f"{settings.cgroup_parent.rstrip('/')}/{name}")
            # one with processes is another engine's
            if not cgroups_live.pids(cgroup):
                problem = f"control group {settings.cgroup_parent}/{name} belongs to no container"
                yield self._left("cgroup-left", name, problem, partial(cgroups_live.discard, cgroup))

    def _left(self, kind: str, subject: str, problem: str, repair: Callable[[], object]) -> Finding:
        return Finding(self.domain, kind, subject, problem, _REMOVED, repair=repair)

    def _mounts(self) -> Iterator[Finding]:
        """Mounts in this mount namespace below our directories of containers, that no running container needs."""
        settings = self._context.settings
        running = {one.id for one in self._context.records if isinstance(one.status, Running | Paused)}
        for point in _mounted():
            for root in (settings.exec_root / "containers", settings.data_root / "containers"):
                if not point.is_relative_to(root) or point == root:
                    continue
                owner = point.relative_to(root).parts[0]
                if owner not in running and not self._is_busy(owner):
                    yield self._left(
                        "mount-left", str(point), f"{point} is mounted, but its container does not run",
                        partial(mounts.umount, os.fsencode(point), _MNT_DETACH),
                    )  # fmt: skip

    def _is_busy(self, container_id: str) -> bool:
        records = self._context.records
        return container_id in records and records.lock(container_id).locked()


def _strangers(directory: Path, known: Collection[str]) -> list[Path]:
    """Entries that have a container's id for a name, and of no container that we know."""
    try:
        found = list(directory.iterdir())
    except FileNotFoundError:
        return []
    return [path for path in found if _ID.fullmatch(path.name) and path.name not in known and path.is_dir()]


def _mounted() -> list[Path]:
    """The mount points of this mount namespace."""
    lines = Path("/proc/self/mountinfo").read_text(errors="surrogateescape").splitlines()
    # octal escapes of blanks, see proc(5)
    return [Path(_ESCAPED.sub(lambda code: chr(int(code[1], 8)), line.split()[4])) for line in lines]
