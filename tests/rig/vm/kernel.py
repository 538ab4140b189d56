"""Debian's cloud kernel, taken out of its package; nothing is installed on this machine."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

from rig import archives

METAPACKAGE = "linux-image-cloud-amd64"


def fetch() -> Path:
    """A directory with boot/vmlinuz-VERSION and lib/modules/VERSION; downloaded with apt and unpacked once."""
    name = package()
    directory = archives.cache() / name
    if not directory.exists():
        work = archives.cache() / f"{name}.partial"
        shutil.rmtree(work, ignore_errors=True)
        work.mkdir(mode=0o755)
        command = ["apt-get", "download", "--quiet=2", "--option=APT::Sandbox::User=root", name]
        subprocess.run(command, cwd=work, check=True)
        (archive,) = work.glob("*.deb")
        subprocess.run(["dpkg-deb", "--extract", archive, work / "root"], check=True)
        (work / "root").rename(directory)
        shutil.rmtree(work)
    return directory


def package() -> str:
    """The package that the metapackage of the day depends on."""
    depends = subprocess.run(["apt-cache", "depends", METAPACKAGE], capture_output=True, text=True, check=True).stdout
    if match := re.search(r"Depends: (linux-image-\S+)", depends):
        return match[1]
    raise RuntimeError(f"apt knows no {METAPACKAGE}: apt-get update, or a machine that is not amd64 Debian")


def image(directory: Path) -> Path:
    """The kernel itself."""
    (found,) = (directory / "boot").glob("vmlinuz-*")
    return found


def modules(directory: Path, wanted: tuple[str, ...]) -> list[Path]:
    """The files of these modules and of what they depend on, in the order to load them; built-in ones are left out."""
    files = {path.name.split(".")[0].replace("-", "_"): path for path in (directory / "lib/modules").rglob("*.ko")}
    order: list[Path] = []

    def add(name: str) -> None:
        path = files.get(name)
        if path is None or path in order:
            return
        for needed in depends(path):
            add(needed)
        order.append(path)

    for name in wanted:
        add(name)
    return order


def depends(module: Path) -> list[str]:
    """What a module's .modinfo section says it needs."""
    match = re.search(rb"\0depends=([^\0]*)\0", module.read_bytes())
    return [name.replace("-", "_") for name in match[1].decode().split(",") if name] if match else []
