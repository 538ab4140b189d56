"""What `system check` looks at in volumes: records, directories, and who refers to them."""

import re
import shutil
from collections.abc import Callable, Collection, Iterator, Mapping
from functools import partial
from pathlib import Path

from tiffin.model.finding import Finding
from tiffin.volumes.local import NAME as LOCAL
from tiffin.volumes.local import STAGED
from tiffin.volumes.service import Volumes

Holders = Callable[[], Mapping[str, Collection[str]]]
"""The volumes that each container has, by container id; of one that is being made, nothing is known yet."""

_REMOVED = re.compile(r"\.removed-[0-9a-f]+")


class VolumesCheck:
    """Blocks; may be used from any thread. arriving: ids of containers that are being made."""

    domain = "volumes"

    def __init__(self, volumes: Volumes, root: Path, holders: Holders, arriving: Callable[[], Collection[str]]) -> None:
        self._volumes = volumes
        self._root = root
        self._holders = holders
        self._arriving = arriving

    def counted(self) -> dict[str, int]:
        """How many there are."""
        return {"Volumes": len(self._volumes.all())}

    def findings(self, *, thorough: bool) -> Iterator[Finding]:
        """What the user keeps in them is never looked at, and never removed."""
        volumes = {one.name: one for one in self._volumes.all()}
        for volume in volumes.values():
            if volume.driver == LOCAL and not Path(volume.mountpoint).is_dir():
                yield self._finding(
                    "volume-files", volume.name, f"volume {volume.name}: its directory {volume.mountpoint} is gone",
                    "restore it from a backup; --repair makes an empty one", partial(_make, Path(volume.mountpoint)),
                )  # fmt: skip
        for path in sorted(self._root.iterdir()):
            if _REMOVED.fullmatch(path.name):
                problem = f"{path} is the rest of a volume that was removed"
                yield self._finding(
                    "volume-left", str(path), problem, "--repair removes it", partial(shutil.rmtree, path)
                )
            elif path.name.startswith(STAGED):
                continue  # being made ready at the moment; what a crash left went at the start
            elif path.name not in volumes and (path / "_data").is_dir():
                problem = f"{path} is no volume that is recorded"
                # somebody's data: it is found again, not removed
                repair = partial(self._volumes.create, path.name)
                yield self._finding("volume-unknown", path.name, problem, "--repair makes it a volume again", repair)
        yield from self._references(set(volumes))

    def _references(self, volumes: Collection[str]) -> Iterator[Finding]:
        used = self._holders()
        known = used.keys() | set(self._arriving())
        for name in sorted(volumes):
            for container in sorted(self._volumes.holders(name) - known):
                yield self._finding(
                    "reference-left", f"{name} {container}", f"volume {name} is held by container {container[:12]},"
                    " which is gone", "--repair lets go of it", partial(self._volumes.release, container),
                )  # fmt: skip
        for container, names in used.items():
            for name in names:
                if name not in volumes:
                    problem = f"container {container[:12]} has volume {name}, of which there is no record"
                    yield self._finding(
                        "volume-missing", f"{name} {container}", problem, f"make it: volume create {name}", None
                    )
                elif container not in self._volumes.holders(name):
                    problem = f"volume {name} is not held by container {container[:12]}, which has it"
                    repair = partial(self._volumes.reference, name, container)
                    yield self._finding(
                        "reference-missing", f"{name} {container}", problem, "--repair notes that it has", repair
                    )

    def _finding(
        self, kind: str, subject: str, problem: str, advice: str, repair: Callable[[], object] | None
    ) -> Finding:
        return Finding(self.domain, kind, subject, problem, advice, repair=repair)


def _make(data: Path) -> None:
    data.parent.mkdir(mode=0o710, exist_ok=True)
    data.mkdir(exist_ok=True)
    data.chmod(0o755)
