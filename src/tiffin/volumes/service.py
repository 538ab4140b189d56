"""Volumes: make, find, remove; who has which.

Those of the driver `local` lie in data-root/volumes/NAME/_data, where docker's users look for them; the others are with
their plugin. Calls block and may come from any thread. What a plugin is asked is asked without the lock: one that hangs
holds up nobody but who asks for its volumes.
"""

import logging
import secrets
import threading
import time
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from tiffin.content import crash
from tiffin.errors import Conflict, Internal, Invalid, NotFound, TiffinError
from tiffin.model.volume import ANONYMOUS, Volume, VolumeUsage
from tiffin.volumes import mounting
from tiffin.volumes.drivers import Driver
from tiffin.volumes.identity import as_found, check_name, of_plugin, same, taken
from tiffin.volumes.local import NAME as LOCAL
from tiffin.volumes.local import Local
from tiffin.volumes.plugins import Plugins
from tiffin.volumes.records import Records
from tiffin.volumes.usage import disk_usage

log = logging.getLogger(__name__)

Tell = Callable[[str, Volume], None]
"""Called with `create`, `destroy` or `rename` and the volume, from the thread in which it happened."""


class Volumes:
    """The volumes under one directory (`data-root/volumes`), and those of the plugins."""

    def __init__(
        self,
        root: Path,
        records: Records,
        *,
        tell: Tell = lambda action, volume: None,
        plugins: Plugins | None = None,
    ) -> None:
        self.local = Local(root)
        self.plugins = plugins or Plugins()
        self._records = records
        self._tell = tell
        self._lock = threading.RLock()
        self._mounting = threading.Lock()
        self._volumes = {volume.name: volume for volume in records.volumes()}
        self._holders: dict[str, set[str]] = {}
        self._busy: dict[str, str] = {}  # name → what is being done with its files
        self._mounted: dict[str, set[str]] = {}  # container → its volumes that a plugin has mounted
        for name, container_id in records.references():
            self._holders.setdefault(name, set()).add(container_id)
        for name, container_id in records.mounts():
            self._mounted.setdefault(container_id, set()).add(name)
        self._reconcile()

    def _reconcile(self) -> None:
        """Finish what a crash broke off: volumes that were being made, moved or removed."""
        self.local.reconcile({volume.staged for volume in self._volumes.values()} - {""})
        for volume in list(self._volumes.values()):
            if volume.driver != LOCAL:
                continue
            if volume.staged:
                volume = self._settle(volume)
            if self.local.find(volume.name) is None:
                # the record came first; an empty volume is what was asked for
                self.local.create(volume.name, volume.options)
            if volume.options and self._holders.get(volume.name):
                # after a reboot the mount is gone, the containers are not
                try:
                    self.local.mount(volume, "")
                except Internal as error:
                    log.error("volume %s: %s", volume.name, error)

    def drivers(self) -> list[str]:
        """Names of those in use: our own, and the plugins that were asked for."""
        return [LOCAL, *self.plugins.known()]

    def _driver(self, name: str) -> Driver:
        return self.local if name in ("", LOCAL) else self.plugins.get(name)

    def create(
        self,
        name: str = "",
        *,
        driver: str = "",
        options: Mapping[str, str] | None = None,
        labels: Mapping[str, str] | None = None,
        anonymous: bool = False,
        holder: str = "",
    ) -> Volume:
        """Make a volume, or find the one of that name: it then keeps its own labels.

        holder: the container that it is made for, and that has it from then on; were that not written down first, a
        crash would leave a volume behind that nobody knows the purpose of.
        Without a name it gets one of 64 hexadecimal digits, and as with `anonymous` the label that says so.
        Raises Invalid for names and options, NotFound for drivers, Conflict where driver or options differ.
        """
        anonymous = anonymous or not name
        name = name or secrets.token_hex(32)
        check_name(name)
        present = self._volumes.get(name) or (None if driver else self._elsewhere(name))
        if present is not None and (not holder or self._hold(present, holder)):
            return same(present, driver, options)
        try:
            keeper = self._driver(driver)
        except NotFound as error:
            raise NotFound(f"create {name}: {error}") from error
        if keeper is self.local:
            mounting.check(name, options or {})
        volume = Volume(
            name=name,
            mountpoint=self.local.mountpoint(name) if keeper is self.local else "",
            created=time.time_ns(),
            driver=keeper.name,
            labels={**(labels or {}), **({ANONYMOUS: ""} if anonymous else {})},
            options=dict(options or {}),
            scope=keeper.scope,
        )
        if keeper is not self.local:  # it may take its time, and keeps its own books
            volume = as_found(volume, keeper.create(name, volume.options))
        with self._lock:
            if (present := self._volumes.get(name)) is not None and (not holder or self._hold(present, holder)):
                return same(present, driver, options)
            if holder:
                self._records.refer(name, holder)
                self._holders[name] = {holder}
            self._records.keep(volume)
            crash.point("volume-recorded")
            if keeper is self.local:
                try:
                    self.local.create(name, volume.options)
                except Internal:
                    self._records.drop(name)
                    self._holders.pop(name, None)
                    raise
            self._volumes[name] = volume
        self._tell("create", volume)
        return volume

    def _elsewhere(self, name: str) -> Volume | None:
        """A volume that some plugin has and we never heard of."""
        for plugin in self.plugins.drivers():
            try:
                found = plugin.find(name)
            except TiffinError:
                continue  # it may be none of its own
            if found is not None:
                return of_plugin(plugin, found)
        return None

    def get(self, name: str) -> Volume:
        """By name. Raises NotFound `get x: no such volume`."""
        volume = self._volumes.get(name) or self._elsewhere(name)
        if volume is None:
            raise NotFound(f"get {name}: no such volume")
        return volume

    def look(self, name: str) -> Volume:
        """The same with what its driver says of it at the moment."""
        volume = self.get(name)
        if volume.driver == LOCAL:
            return volume
        try:
            found = self.plugins.get(volume.driver).find(name)
        except TiffinError as error:
            log.warning("volume %s: %s", name, error)
            return volume
        return as_found(volume, found) if found else volume

    def all(self) -> list[Volume]:
        """Every volume, by name; a plugin that does not answer is left out with those of its that we don't know."""
        with self._lock:
            known = dict(self._volumes)
        for plugin in self.plugins.drivers():
            try:
                for found in plugin.all():
                    known.setdefault(found.name, of_plugin(plugin, found))
            except TiffinError as error:
                log.warning("%s", error)
        return [known[name] for name in sorted(known)]

    def remove(self, name: str, *, force: bool = False) -> None:
        """Remove a volume with its files. Raises NotFound unless forced, and Conflict while a container has it."""
        volume = self._volumes.get(name) or self._elsewhere(name)
        if volume is None:
            if force:
                return
            raise NotFound(f"get {name}: no such volume")
        if volume.driver != LOCAL:
            self._remove_elsewhere(volume, force)
        with self._lock:
            if volume.driver == LOCAL:
                if self._volumes.get(name) is not volume:
                    raise Conflict(f"remove {name}: it was removed or renamed meanwhile")
                self._check_unused(name, "remove")
                self.local.remove(volume)
            self._records.drop(name)
            self._volumes.pop(name, None)
            self._holders.pop(name, None)
        if volume.driver == LOCAL:
            self.local.clear_away()
        self._tell("destroy", volume)

    def _remove_elsewhere(self, volume: Volume, force: bool) -> None:
        with self._lock:
            self._check_unused(volume.name, "remove")
        try:
            self.plugins.get(volume.driver).remove(volume)
        except TiffinError as error:
            if not force:
                raise
            log.warning("volume %s is forgotten, though: %s", volume.name, error)

    def _check_unused(self, name: str, what: str) -> None:
        if holders := self._holders.get(name):
            raise Conflict(f"{what} {name}: volume is in use - [{', '.join(sorted(holders))}]")
        if name in self._busy:
            raise Conflict(f"{what} {name}: volume is in use - [{self._busy[name]}]")

    def prune(self, wanted: Callable[[Volume], bool]) -> tuple[list[str], int]:
        """Remove the volumes of ours that no container has and that are wanted gone: their names, and bytes freed."""
        removed = []
        freed = 0
        with self._lock:
            present = sorted(self._volumes.values(), key=lambda volume: volume.name)
        for volume in present:
            if volume.driver != LOCAL or self.holders(volume.name) or not wanted(volume):
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
        """A container has this volume now; one with options is mounted for its first, which may block for long.
        Raises NotFound, and Internal: the container then has none of its volumes any more."""
        volume = self.get(name)
        if not self._hold(volume, container_id):
            raise NotFound(f"get {name}: no such volume")
        if volume.driver == LOCAL and volume.options:
            # it is held by now; a server that does not answer must not keep those waiting who ask for other volumes
            try:
                with self._mounting:
                    self.local.mount(volume, container_id)
            except Internal:
                self.release(container_id)
                raise

    def _hold(self, volume: Volume, container_id: str) -> bool:
        """From here on nobody removes it. False where somebody just has."""
        with self._lock:
            if volume.driver == LOCAL and self._volumes.get(volume.name) is not volume:
                return False
            if container_id not in (holders := self._holders.setdefault(volume.name, set())):
                self._records.refer(volume.name, container_id)
                holders.add(container_id)
            return True

    def mount(self, name: str, container_id: str) -> str:
        """A container starts: the path of the volume's files. Raises NotFound, Internal, Unavailable."""
        volume = self.get(name)
        if volume.driver == LOCAL:
            return volume.mountpoint
        with self._lock:
            self._records.note_mount(name, container_id)
            self._mounted.setdefault(container_id, set()).add(name)
        return self.plugins.get(volume.driver).mount(volume, container_id)

    def mounted(self, container_id: str) -> bool:
        """Whether a plugin has to be told when the container ends."""
        return container_id in self._mounted

    def unmount(self, container_id: str) -> None:
        """A container has ended. A plugin that can't be told any more is logged and nobody's obstacle."""
        with self._lock:
            names = self._mounted.pop(container_id, set())
        for name in sorted(names):
            try:
                volume = self.get(name)
                self.plugins.get(volume.driver).unmount(volume, container_id)
            except TiffinError as error:
                log.warning("volume %s of container %s: %s", name, container_id[:12], error)
        if names:
            self._records.drop_mounts(container_id)

    def release(self, container_id: str) -> list[str]:
        """A container has no volumes any more: the names of those it had."""
        self.unmount(container_id)
        with self._lock:
            names = [name for name, holders in self._holders.items() if container_id in holders]
            if not names:
                return []
            self._records.forget(container_id)
            for name in names:
                self._holders[name].discard(container_id)
                if not self._holders[name]:
                    del self._holders[name]
                    if (volume := self._volumes.get(name)) is not None and volume.driver == LOCAL:
                        self.local.unmount(volume, container_id)
            return names

    def restore(self, containers: Collection[str]) -> None:
        """Forget references of containers that don't exist, and the volumes that were made for those alone."""
        gone = {one for holders in self._holders.values() for one in holders if one not in containers}
        gone |= {one for one in self._mounted if one not in containers}
        for container_id in gone:
            for name in self.release(container_id):
                if name in self._volumes and ANONYMOUS in self._volumes[name].labels and not self.holders(name):
                    self.remove(name)

    def holders(self, name: str) -> frozenset[str]:
        """The ids of the containers that have a volume."""
        with self._lock:
            return frozenset(self._holders.get(name, ()))

    def usage(self, name: str) -> VolumeUsage:
        """What a volume takes on disk, as du counts: hard links once, holes not. -1 where only a plugin knows."""
        volume = self.get(name)
        size = disk_usage(volume.mountpoint) if volume.driver == LOCAL else -1
        return VolumeUsage(size, len(self.holders(name)))

    # what `copies` needs

    @contextmanager
    def kept(self, name: str, what: str) -> Iterator[Volume]:
        """The volume is neither removed nor renamed meanwhile, and its files are there. Raises NotFound, Conflict."""
        with self._lock:
            volume = self.ours(name, what)
            if name in self._busy:
                raise Conflict(f"{what} {name}: volume is in use - [{self._busy[name]}]")
            self._busy[name] = f"{what} goes on"
        try:
            with self._mounting:
                self.local.mount(volume, "")
            yield volume
        finally:
            with self._lock:
                del self._busy[name]
                if not self._holders.get(name):
                    self.local.unmount(volume, "")

    def ours(self, name: str, what: str) -> Volume:
        """Raises NotFound, and Invalid where a plugin has it."""
        volume = self.get(name)
        if volume.driver != LOCAL:
            raise Invalid(f"{what} {name}: it is with driver {volume.driver}; only local volumes can be")
        return volume

    def check_free(self, name: str) -> None:
        """Raises Invalid for a name that can't be, Conflict where there is a volume of that name."""
        check_name(name)
        if name in self._volumes or self._elsewhere(name) is not None:
            raise taken(name)

    def publish(self, staged: Path, name: str, labels: Mapping[str, str]) -> Volume:
        """Make a directory that is ready (and on disk) a volume, in one step. Raises Conflict."""
        volume = Volume(name, self.local.mountpoint(name), time.time_ns(), LOCAL, dict(labels), staged=staged.name)
        with self._lock:
            if name in self._volumes:
                raise taken(name)
            self._records.keep(volume)
            crash.point("volume-staged")
            volume = self._settle(volume)
        self._tell("create", volume)
        return volume

    def _settle(self, volume: Volume) -> Volume:
        self.local.move(volume.staged, volume.name)
        crash.point("volume-moved")
        volume = replace(volume, staged="")
        self._records.keep(volume)
        self._volumes[volume.name] = volume
        return volume

    def rename(self, name: str, new: str) -> Volume:
        """Give a volume another name. Raises NotFound, Invalid, Conflict while a container has it."""
        self.check_free(new)
        with self._lock:
            volume = self.ours(name, "rename")
            self._check_unused(name, "rename")
            if new in self._volumes:
                raise taken(new)
            renamed = replace(volume, name=new, mountpoint=self.local.mountpoint(new), staged=name)
            self._records.replace(name, renamed)
            crash.point("volume-renamed")
            del self._volumes[name]
            renamed = self._settle(renamed)
        self._tell("rename", renamed)
        return renamed
