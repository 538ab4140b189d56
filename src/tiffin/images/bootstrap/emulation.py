"""Whether this machine can run another architecture's programs, as a second stage has to: by itself, or by an emulator.

An emulator is one that binfmt_misc knows, with the flag F: it is opened when it is registered, and so is found in a
container as well (the kernel's Documentation/admin-guide/binfmt-misc.rst).
"""

from pathlib import Path

from tiffin.errors import Unsupported
from tiffin.model.platform import Platform, host_platform

_REGISTERED = Path("/proc/sys/fs/binfmt_misc")
_QEMU = {"amd64": "x86_64", "arm64": "aarch64", "386": "i386"}  # the others have one name everywhere
_BY_ITSELF = {("amd64", "386")}


def require(platform: Platform, registered: Path = _REGISTERED) -> None:
    """Raises Unsupported where programs of a platform can't run here."""
    here, wanted = host_platform().architecture, platform.architecture
    if wanted == here or (here, wanted) in _BY_ITSELF:
        return
    name = f"qemu-{_QEMU.get(wanted, wanted)}"
    try:
        lines = (registered / name).read_text().splitlines()
    except OSError:
        lines = []
    if "enabled" not in lines:
        raise Unsupported(
            f"packages for {platform} have scripts that this machine ({here}) can't run: register an emulator first "
            f"(binfmt_misc has no {name}; Debian's package qemu-user-static registers it)"
        )
    if not any(line.startswith("flags:") and "F" in line for line in lines):
        raise Unsupported(
            f"binfmt_misc has {name} without the flag F, so that containers don't find the emulator: "
            "install qemu-user-static instead of qemu-user"
        )
