"""RUN for another platform than this machine's: the kernel runs it where binfmt_misc knows an interpreter.

Source: Linux's Documentation/admin-guide/binfmt-misc.rst; elf.h for the machines' numbers.
"""

from collections.abc import Mapping
from pathlib import Path

from tiffin.errors import Invalid
from tiffin.model.platform import Platform, host_platform, same_architecture

REGISTERED = Path("/proc/sys/fs/binfmt_misc")
_REFUSED = "exec format error"
_ELF, _MACHINE, _BIG = b"\x7fELF", slice(18, 20), 2
# bits, byte order (1 little, 2 big), machine
_ARCHITECTURES = {
    (2, 1, 0x3E): "amd64", (2, 1, 0xB7): "arm64", (1, 1, 0x28): "arm", (1, 1, 0x03): "386", (2, 1, 0xF3): "riscv64",
    (2, 1, 0x15): "ppc64le", (2, 2, 0x16): "s390x", (2, 1, 0x102): "loong64", (2, 1, 0x08): "mips64le",
}  # fmt: skip


def interpreted(registered: Path = REGISTERED) -> Mapping[str, bool]:
    """Architectures that an interpreter is registered for, and whether containers find it: with flag F the kernel
    holds it open, otherwise it is looked for in the container's own root."""
    found: dict[str, bool] = {}
    try:
        entries = sorted(registered.iterdir())
    except OSError:
        return {}
    for entry in entries:
        try:
            lines = entry.read_text().splitlines()
        except (OSError, UnicodeDecodeError):
            continue
        told = dict(line.partition(" ")[::2] for line in lines)
        if "enabled" in told and (architecture := _of(told.get("magic", ""))):
            found[architecture] = found.get(architecture, False) or "F" in told.get("flags:", "")
    return found


def _of(magic: str) -> str:
    """What the beginning of a file, in hex, says that it is for."""
    try:
        head = bytes.fromhex(magic)
    except ValueError:
        return ""
    if len(head) < _MACHINE.stop or not head.startswith(_ELF):
        return ""
    machine = int.from_bytes(head[_MACHINE], "big" if head[5] == _BIG else "little")
    return _ARCHITECTURES.get((head[4], head[5], machine), "")


def platforms(registered: Path = REGISTERED) -> list[Platform]:
    """What RUN can be for here, this machine's first."""
    host = host_platform()
    others = sorted(name for name, whole in interpreted(registered).items() if whole and name != host.architecture)
    return [host, *(Platform("linux", name, "v7" if name == "arm" else "") for name in others)]


def explained(error: Exception, platform: Platform, registered: Path = REGISTERED) -> Invalid:
    """Why a process did not start, with what helps where its platform is the reason."""
    text, host = str(error), host_platform()
    if _REFUSED not in text or same_architecture(host, platform):
        return Invalid(text)
    where = "registered for it in /proc/sys/fs/binfmt_misc"
    why = {
        None: f"no interpreter is {where}",
        False: f"the interpreter {where} has no flag F, so that containers don't find it",
        True: f"the interpreter {where} refused the file",
    }[interpreted(registered).get(platform.architecture)]
    return Invalid(
        f"{text}: {platform} can't be run on this machine ({host}): {why}; install qemu-user-static, which registers "
        "interpreters with flag F (Debian: apt install qemu-user-static binfmt-support), or have the step run here "
        "with FROM --platform=$BUILDPLATFORM"
    )
