"""The driver `local`: a volume is a directory ROOT/NAME/_data, and with options a mount on it.

A directory that is being made or removed has a name that no volume can have: `.new-…`, `.removed-…`.
"""

import os
import secrets
import shutil
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from tiffin.content import crash
from tiffin.content.blobs import sync_directory
from tiffin.errors import Internal
from tiffin.model.volume import Volume
from tiffin.volumes import mounting
from tiffin.volumes.drivers import Found

NAME = "local"
STAGED = ".new-"
"""How directories begin that are being made ready."""


class Local:
    name = NAME
    scope = "local"

    def __init__(self, root: Path) -> None:
        self.root = root
        root.mkdir(mode=0o711, parents=True, exist_ok=True)

    def reconcile(self, kept: Collection[str]) -> None:
        """Away with what a crash broke off, but for the directories whose names are `kept`."""
        for name in os.listdir(self.root):
            if name.startswith((".removed-", STAGED)) and name not in kept:
                shutil.rmtree(self.root / name, ignore_errors=True)

    def mountpoint(self, name: str) -> str:
        return str(self.root / name / "_data")

    def create(self, name: str, options: Mapping[str, str]) -> Found:
        try:
            self._make(self.root / name)
        except OSError as error:
            raise Internal(f"create {name}: error while creating volume root path: {error}") from error
        return Found(name, self.mountpoint(name))

    def _make(self, directory: Path) -> Path:
        directory.mkdir(mode=0o710, exist_ok=True)
        data = directory / "_data"
        data.mkdir(exist_ok=True)
        data.chmod(0o755)  # whatever the umask is
        return data

    @contextmanager
    def staging(self) -> Iterator[Path]:
        """A directory in which a volume is made ready; what was not moved away is removed."""
        directory = self.root / f"{STAGED}{secrets.token_hex(8)}"
        try:
            self._make(directory)
            yield directory
        finally:
            shutil.rmtree(directory, ignore_errors=True)

    def move(self, staged: str, name: str) -> None:
        """Give a directory the name of its volume; one that has it already is no error. Raises OSError."""
        try:
            os.rename(self.root / staged, self.root / name)
        except FileNotFoundError:
            if not (self.root / name).is_dir():
                raise
        sync_directory(self.root)

    def remove(self, volume: Volume) -> None:
        if volume.options:
            mounting.unmount(volume.mountpoint)
        # out of the way in one step; a volume of the same name can be made while the files are deleted
        doomed = self.root / f".removed-{secrets.token_hex(8)}"
        try:
            os.rename(self.root / volume.name, doomed)
        except FileNotFoundError:
            pass
        except OSError as error:
            raise Internal(f"remove {volume.name}: {error}; unmount what is mounted there") from error
        crash.point("volume-aside")

    def clear_away(self) -> None:
        """Delete the files of volumes that were removed."""
        for doomed in self.root.glob(".removed-*"):
            shutil.rmtree(doomed, ignore_errors=True)

    def mount(self, volume: Volume, holder: str) -> str:
        if volume.options:
            try:
                mounting.mount(volume.mountpoint, volume.options)
            except OSError as error:
                raise Internal(f"error while mounting volume '{volume.mountpoint}': {error.strerror}") from error
        return volume.mountpoint

    def unmount(self, volume: Volume, holder: str) -> None:
        # the service calls for the last holder only
        if volume.options:
            mounting.unmount(volume.mountpoint)

    def find(self, name: str) -> Found | None:
        return Found(name, self.mountpoint(name)) if os.path.isdir(self.mountpoint(name)) else None

    def all(self) -> list[Found]:
        """Those are in the records."""
        return []
