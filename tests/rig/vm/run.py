"""Runs tests, by default the kernel tests, on a throwaway machine that has cgroup v2 only.

    python tests/rig/vm/run.py
    python tests/rig/vm/run.py tests/kernel/test_stage.py -k user_namespace
    python tests/rig/vm/run.py --command 'mount | grep cgroup'

The machine sees this one's root file system read-only with a tmpfs over it; what it writes is gone with it. Its only
network is its loopback. The exit status is the command's, 125 where the machine did not come up.
"""

from __future__ import annotations

import argparse
import base64
import contextlib
import re
import shlex
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parents[3]
sys.path.insert(0, str(ROOT / "tests"))

from rig.vm import initramfs, kernel  # noqa: E402
from rig.waiting import eventually  # noqa: E402

BOOTS = 4  # under emulation on a busy machine a kernel now and then panics before it reaches init
BOOT_SECONDS = 180
PYTEST = (
    *(".venv/bin/python", "-m", "pytest", "-p", "no:cacheprovider", "-p", "pytest_timeout"),
    *("-m", "not slow", "--timeout=1200", "--color=no", "--verbose", "--tb=short"),
)
# everything takes some twenty times as long as on the machine itself: plugins too, and whatever tests wait for
ENVIRONMENT = "PYTHONDONTWRITEBYTECODE=1 PYTEST_DISABLE_PLUGIN_AUTOLOAD=1 TIFFIN_TEST_PATIENCE=6"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--command", help="for a shell, in place of the tests")
    parser.add_argument("--memory", type=int, default=2048, help="MiB")
    parser.add_argument("--timeout", type=float, default=4 * 3600, help="seconds for one boot and the command")
    options, tests = parser.parse_known_args()
    command = options.command or f"exec env {ENVIRONMENT} {shlex.join([*PYTEST, *(tests or ['tests/kernel'])])}"
    command = f"cd {shlex.quote(str(ROOT))} && {command}"
    with tempfile.TemporaryDirectory(prefix="tiffin-vm-") as directory:
        work = Path(directory)
        files = kernel.fetch()
        initramfs.build(work / "initramfs", kernel.modules(files, initramfs.MODULES))
        for _ in range(BOOTS):
            status = boot(work, kernel.image(files), command, options.memory, options.timeout)
            if status is not None:
                return status
    print("the throwaway machine did not come up", file=sys.stderr)
    return 125


def boot(work: Path, image: Path, command: str, memory: int, timeout: float) -> int | None:
    """Boot once and print what the command prints; its status, or None where the command was not reached."""
    arguments = f"console=ttyS0 quiet panic=-1 mitigations=off cgroup_no_v1=all command={encoded(command)}"
    with root_file_system(work / "virtiofs.sock") as socket:
        qemu = subprocess.Popen(
            [
                *("qemu-system-x86_64", "-accel", "tcg,thread=multi", "-cpu", "max", "-smp", "2"),
                *("-m", str(memory), "-nodefaults", "-no-user-config", "-nographic", "-serial", "stdio", "-no-reboot"),
                *("-object", f"memory-backend-memfd,id=memory,size={memory}M,share=on", "-numa", "node,memdev=memory"),
                *("-chardev", f"socket,id=files,path={socket}", "-device", "vhost-user-fs-pci,chardev=files,tag=host"),
                *("-device", "virtio-rng-pci", "-kernel", str(image), "-initrd", str(work / "initramfs")),
                *("-append", arguments),
            ],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
        )
        try:
            return relay(qemu, timeout)
        finally:
            qemu.kill()
            qemu.wait()


def relay(qemu: subprocess.Popen[bytes], timeout: float) -> int | None:
    """Copy the serial line from the first mark to the second."""
    watchdog = threading.Timer(BOOT_SECONDS, qemu.kill)
    watchdog.start()
    begun, before = False, []
    assert qemu.stdout is not None
    for raw in qemu.stdout:
        line = raw.decode("utf-8", "replace").replace("\r", "")
        if begun and (match := re.match(r"@@end (\d+)", line)):
            watchdog.cancel()
            return int(match[1])
        if begun:
            print(line, end="", flush=True)
        elif "@@begin" in line:
            begun = True
            watchdog.cancel()
            watchdog = threading.Timer(timeout, qemu.kill)
            watchdog.start()
        else:
            before.append(line)
    watchdog.cancel()
    print("".join(before[-20:]), file=sys.stderr)
    return 125 if begun else None


@contextlib.contextmanager
def root_file_system(socket: Path) -> Iterator[Path]:
    """Serve this machine's / over virtiofs while the context lasts."""
    old = Path("/usr/lib/qemu/virtiofsd")  # qemu's own, until Debian 12
    if old.exists():
        options = [
            "-o",
            "source=/",
            "-o",
            "sandbox=chroot",
            "-o",
            "cache=always",
            "-o",
            "no_posix_lock",
            "--rlimit-nofile=0",
        ]
        command = [str(old), f"--socket-path={socket}", *options]
    else:
        command = [
            "/usr/libexec/virtiofsd",
            f"--socket-path={socket}",
            "--shared-dir=/",
            "--sandbox=chroot",
            "--cache=always",
        ]
    socket.unlink(missing_ok=True)
    server = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        eventually(socket.exists, what="virtiofsd is ready")
        yield socket
    finally:
        server.kill()
        server.wait()


def encoded(command: str) -> str:
    """A command without spaces, for the kernel's command line (2,048 bytes at most)."""
    return base64.b64encode(command.encode()).decode()


if __name__ == "__main__":
    sys.exit(main())
