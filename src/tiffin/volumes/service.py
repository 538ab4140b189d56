"""Volumes: make, find, remove; who has which.

The files lie in data-root/volumes/NAME/_data, where docker's users look for them. Calls may come from any thread.
"""

import logging
import os
import re
import secrets
import shutil
import stat
import threading
import time
from collections.abc import Callable, Collection, Mapping
from pathlib import Path

from tiffin.content import crash
from tiffin.errors import Conflict, Internal, Invalid, NotFound
from tiffin.model.volume import ANONYMOUS, Volume, VolumeUsage
from tiffin.volumes import mounting
from tiffin.volumes.records import Records

log = logging.getLogger(__name__)

_NAME = re.compile(r"[a-zA-Z0-9][a-zA-Z0-9_.-]+", re.ASCII)
_NAME_LENGTH = 255

Tell = Callable[[str, Volume], None]
"""Called with `create` or `destroy` and the volume, from the thread in which it happened."""


class Volumes:
    """The volumes under one directory (`data-root/volumes`), driver `local`."""

    def __init__(self, root: Path, records: Records, *, tell: Tell = lambda action, volume: None) -> None:
        self._root = root
        self._records = records
        self._tell = tell
        self._lock = threading.RLock()
        self._volumes = {volume.name: volume for volume in records.volumes()}
        self._holders: dict[str, set[str]] = {}
        for name, container_id in records.references():
            self._holders.setdefault(name, set()).add(container_id)
        root.mkdir(mode=0o711, parents=True, exist_ok=True)
        self._reconcile()

    def _reconcile(self) -> None:
        """Finish what a crash broke off: directories of volumes that were being made or removed."""
        for name in os.listdir(self._root):
            if name.startswith(".removed-"):
                shutil.rmtree(self._root / name, ignore_errors=True)
        for volume in self._volumes.values():
            if not os.path.isdir(volume.mountpoint):
                # the record came first; an empty volume is what was asked for
                self._make(volume.name)
            if volume.options and self._holders.get(volume.name):
                # after a reboot the mount is gone, the containers are not
                try:
                    mounting.mount(volume.mountpoint, volume.options)
                except OSError as error:
                    log.error("volume %s: %s", volume.name, error.strerror)

    def create(
        self,
        name: str = "",
        *,
        driver: str = "local",
        options: Mapping[str, str] | None = None,
        labels: Mapping[str, str] | None = None,
        anonymous: bool = False,
        holder: str = "",
    ) -> Volume:
        """Make a volume, or find the one of that name: it then keeps its own labels.

        holder: the container that it is made for; were it not written down first, a crash would leave a volume behind
        that nobody knows the purpose of.
        Without a name it gets one of 64 hexadecimal digits, and as with `anonymous` the label that says so.
        Raises Invalid for names and options, NotFound for drivers, Conflict where driver or options differ.
        """
        anonymous = anonymous or not name
        name = name or secrets.token_hex(32)
        _check_name(name)
        if driver not in ("", "local"):
            raise NotFound(f'create {name}: error looking up volume plugin {driver}: plugin "{driver}" not found')
        with self._lock:
            present = self._volumes.get(name)
            if present is not None:
                if options and dict(options) != dict(present.options):
                    raise Conflict(
                        f"create {name}: volume {name} exists with other options; remove it or choose another name"
                    )
                return present
            mounting.check(name, options or {})
            volume = Volume(
                name=name,
                mountpoint=str(self._root / name / "_data"),
                created=time.time_ns(),
                labels={**(labels or {}), **({ANONYMOUS: ""} if anonymous else {})},
                options=dict(options or {}),
            )
            if holder:
                self._records.refer(name, holder)
            self._records.keep(volume)
            crash.point("volume-recorded")
            try:
                self._make(name)
            except OSError as error:
                self._records.drop(name)
                raise Internal(f"create {name}: error while creating volume root path: {error}") from error
            self._volumes[name] = volume
        self._tell("create", volume)
        return volume

    def _make(self, name: str) -> None:
        directory = self._root / name
        directory.mkdir(mode=0o710, exist_ok=True)
        data = directory / "_data"
        data.mkdir(exist_ok=True)
        data.chmod(0o755)  # whatever the umask is

    def get(self, name: str) -> Volume:
        """By name. Raises NotFound `get x: no such volume`."""
        volume = self._volumes.get(name)
        if volume is None:
            raise NotFound(f"get {name}: no such volume")
        return volume

    def all(self) -> list[Volume]:
        """Every volume, by name."""
        with self._lock:
            return [self._volumes[name] for name in sorted(self._volumes)]

    def remove(self, name: str, *, force: bool = False) -> None:
        """Remove a volume with its files. Raises NotFound unless forced, and Conflict while a container has it."""
        with self._lock:
            volume = self._volumes.get(name)
            if volume is None:
                if force:
                    return
                raise NotFound(f"get {name}: no such volume")
            if holders := self._holders.get(name):
                raise Conflict(f"remove {name}: volume is in use - [{', '.join(sorted(holders))}]")
            if volume.options:
                mounting.unmount(volume.mountpoint)
            # out of the way in one step; a volume of the same name can be made while the files are deleted
            doomed = self._root / f".removed-{secrets.token_hex(8)}"
            try:
                os.rename(self._root / name, doomed)
            except FileNotFoundError:
                pass
            except OSError as error:
                raise Internal(f"remove {name}: {error}; unmount what is mounted there") from error
            crash.point("volume-aside")
            self._records.drop(name)
            del self._volumes[name]
            self._holders.pop(name, None)
        shutil.rmtree(doomed, ignore_errors=True)
        self._tell("destroy", volume)

    def prune(self, wanted: Callable[[Volume], bool]) -> tuple[list[str], int]:
        """Remove the volumes that no container has and that are wanted gone: their names, and bytes freed."""
        removed = []
        freed = 0
        for volume in self.all():
            if self.holders(volume.name) or not wanted(volume):
                continue
            size = self.usage(volume.name).size
            try:
                self.remove(volume.name)
            except (Conflict, NotFound):
                continue  # taken or gone meanwhile
            removed.append(volume.name)
            freed += size
        return removed, freed

    def reference(self, name: str, container_id: str) -> None:
        """A container has this volume now; one with options is mounted for its first. Raises NotFound, Internal."""
        with self._lock:
            volume = self.get(name)
            if volume.options:
                try:
                    mounting.mount(volume.mountpoint, volume.options)
                except OSError as error:
                    raise Internal(f"error while mounting volume '{volume.mountpoint}': {error.strerror}") from error
            self._records.refer(name, container_id)
            self._holders.setdefault(name, set()).add(container_id)

    def release(self, container_id: str) -> list[str]:
        """A container has no volumes any more: the names of those it had."""
        with self._lock:
            names = [name for name, holders in self._holders.items() if container_id in holders]
            if not names:
                return []
            self._records.forget(container_id)
            for name in names:
                self._holders[name].discard(container_id)
                if not self._holders[name]:
                    del self._holders[name]
                    if name in self._volumes and self._volumes[name].options:
                        mounting.unmount(self._volumes[name].mountpoint)
            return names

    def restore(self, containers: Collection[str]) -> None:
        """Forget references of containers that don't exist, and the volumes that were made for those alone."""
        with self._lock:
            gone = {one for holders in self._holders.values() for one in holders if one not in containers}
            for container_id in gone:
                for name in self.release(container_id):
                    if name in self._volumes and ANONYMOUS in self._volumes[name].labels and not self.holders(name):
                        self.remove(name)

    def holders(self, name: str) -> frozenset[str]:
        """The ids of the containers that have a volume."""
        with self._lock:
            return frozenset(self._holders.get(name, ()))

    def usage(self, name: str) -> VolumeUsage:
        """What a volume takes on disk, as du counts: hard links once, holes not. Raises NotFound."""
        return VolumeUsage(_disk_usage(self.get(name).mountpoint), len(self.holders(name)))


def _check_name(name: str) -> None:
    if len(name) == 1:
        raise Invalid(f"create {name}: volume name is too short, names should be at least two alphanumeric characters")
    if not _NAME.fullmatch(name):
        raise Invalid(
            f'create {name}: "{name}" includes invalid characters for a local volume name, only '
            '"[a-zA-Z0-9][a-zA-Z0-9_.-]" are allowed. If you intended to pass a host directory, use absolute path'
        )
    if len(name) > _NAME_LENGTH:
        raise Invalid(f"create {name}: volume name is too long, names should be at most {_NAME_LENGTH} characters")


def _disk_usage(directory: str) -> int:
    counted: set[tuple[int, int]] = set()
    total = 0
    try:
        # by descriptors: a container that swaps directories for links meanwhile leads us nowhere
        for _, directories, files, fd in os.fwalk(directory, follow_symlinks=False):
            for name in (*directories, *files):
                try:
                    status = os.stat(name, dir_fd=fd, follow_symlinks=False)
                except FileNotFoundError:
                    continue
                if status.st_nlink > 1 and not stat.S_ISDIR(status.st_mode):
                    key = (status.st_dev, status.st_ino)
                    if key in counted:
                        continue
                    counted.add(key)
                total += status.st_blocks * 512
    except OSError:
        return -1
    return total
