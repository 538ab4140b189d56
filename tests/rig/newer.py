"""A newer dockerd than this machine's: docker.io of another Debian suite, in a tree with that suite's C library.

Nothing is installed on the machine. The tree becomes the root of the test machine's own mounts, with the machine's
/proc, /sys, /dev and /tmp, where the roots of the daemon are.
"""

from __future__ import annotations

import fcntl
import shlex
import subprocess
from collections.abc import Sequence
from pathlib import Path

from rig import archives, debian

PACKAGES = "docker.io,iptables,ca-certificates,mount,procps"
STORE = ("--feature", "containerd-snapshotter=true")
_KEYRING = "/usr/share/keyrings/debian-archive-keyring.gpg"
_LEAN = "--dpkgopt=path-exclude=/usr/share/doc/*"


def tree(suite: str) -> Path:
    """The directory with docker.io of the suite, made by mmdebstrap once; RuntimeError with its words if it fails."""
    target = archives.cache() / f"docker-{suite}-2"
    with (archives.cache() / "docker.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not target.exists():
            partial = target.with_suffix(".partial")
            subprocess.run(["rm", "-rf", "--one-file-system", partial], check=True)
            # archives stand still where they are mirrored: a Release that has run out is no reason not to measure
            options = ["--variant=apt", f"--include={PACKAGES}", f"--keyring={_KEYRING}", _LEAN]
            options += ['--aptopt=Acquire::Check-Valid-Until "false"', *debian.proxies()]
            command = ["mmdebstrap", "--quiet", *options, suite, str(partial), debian.mirror()]
            done = subprocess.run(command, capture_output=True, text=True)
            if done.returncode:
                raise RuntimeError(f"mmdebstrap cannot make a tree of {suite}:\n{done.stderr[-4000:]}")
            partial.rename(target)
    return target


def command(root: Path, argv: Sequence[str]) -> list[str]:
    """The command line that makes the tree the root of the mount namespace it is run in, then runs argv there."""
    # not chroot: who enters a container's mount namespace would find itself at the machine's root
    steps = ["mount --make-rprivate /", f"mount --bind {root} {root}"]
    steps += [f"mount --rbind /{name} {root}/{name}" for name in ("proc", "sys", "dev", "tmp")]
    steps += [f"mount -t tmpfs tmpfs {root}/run", f"cd {root}", "pivot_root . mnt", "umount -l mnt"]
    steps += ["mount --make-rshared /"]
    first = "; ".join(steps)
    return ["sh", "-ec", f"if [ -d {root} ]; then {first}; fi; exec {shlex.join(argv)}"]
