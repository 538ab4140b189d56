#!/usr/bin/env python3
"""runc's own integration tests on tiffin-runtime and on runc, side by side.

    tests/peers/runc_bats.py CHECKOUT [--only PATTERN] [--markdown FILE]

CHECKOUT is a clone of github.com/opencontainers/runc at the tag of the installed runc; nothing in it is changed. Each
runtime runs in mount, network and cgroup namespaces of its own, below one cgroup that is removed afterwards. Needs
root, bats, jq, gawk, gcc, busybox-static and mmdebstrap.
"""

from __future__ import annotations

import argparse
import fnmatch
import os
import pty
import re
import shutil
import signal
import subprocess
import sys
import tarfile
import tempfile
import threading
import time
from pathlib import Path

HERE = Path(__file__).resolve().parent
LEFT_OUT = ("seccomp-notify.bats", "seccomp-notify-compat.bats", "checkpoint.bats")
RESULT = re.compile(r"(ok|not ok) \d+ (.*?)(?: # skip ?(.*))?$")
GROUP = "tiffin-test-runc-bats"
TIMEOUT = 900  # seconds a file


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("checkout", type=Path)
    parser.add_argument("--ours", type=Path, default=Path(sys.prefix) / "bin/tiffin-runtime")
    parser.add_argument("--runc", type=Path, default=Path(shutil.which("runc") or "/usr/sbin/runc"))
    parser.add_argument("--only", default="*.bats", help="pattern of test files")
    parser.add_argument("--filter", default="", help="regular expression of test names")
    parser.add_argument("--side", choices=["ours", "runc", "both"], default="both")
    parser.add_argument("--markdown", type=Path, help="write the table there")
    parser.add_argument("--inside", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.inside:
        return inside(options)
    with tempfile.TemporaryDirectory(prefix="runc-bats-") as scratch:
        work = prepare(options.checkout, Path(scratch))
        sides = {"ours": options.ours, "runc": options.runc}
        chosen = {name: path for name, path in sides.items() if options.side in (name, "both")}
        results = side_by_side(work, chosen, options)
    table = report(results)
    print(table)
    if options.markdown:
        options.markdown.write_text(table + "\n")
    return int(any(row.get("runc") == "ok" and row.get("ours") != "ok" for row in results.values()))


# -- a tree to run in --------------------------------------------------------------------------------------------------


def prepare(checkout: Path, scratch: Path) -> Path:
    """A copy of the tests with images of our own and without anything that would have to be built or downloaded."""
    work = scratch / "runc"
    shutil.copytree(checkout / "tests/integration", work / "tests/integration")
    shutil.copy(checkout / "go.mod", work)
    helper = work / "contrib/cmd/recvtty/recvtty"
    helper.parent.mkdir(parents=True)
    helper.write_text(f'#!/bin/sh\nexec {sys.executable} {HERE / "recvtty.py"} "$@"\n')
    helper.chmod(0o755)
    busybox, debian = scratch / "busybox.tar", scratch / "debian.tar"
    make_busybox(busybox)
    make_debian(debian)
    images = work / "tests/integration/get-images.sh"
    images.write_text(f"#!/bin/sh\necho BUSYBOX_IMAGE={busybox}\necho DEBIAN_IMAGE={debian}\n")
    images.chmod(0o755)
    for name in LEFT_OUT:
        (work / "tests/integration" / name).unlink(missing_ok=True)
    scratch.chmod(0o755)
    return work


def make_busybox(target: Path) -> None:
    """The layout of docker's busybox image."""
    applets = subprocess.run(["busybox", "--list"], capture_output=True, text=True, check=True).stdout.split()
    with tempfile.TemporaryDirectory() as directory:
        root = Path(directory)
        root.chmod(0o755)
        for name in ("bin", "dev", "etc", "home", "lib", "root", "tmp", "usr/bin", "var/www"):
            (root / name).mkdir(parents=True)
        (root / "tmp").chmod(0o1777)
        (root / "root").chmod(0o700)
        shutil.copy(shutil.which("busybox") or "/bin/busybox", root / "bin/busybox")
        for applet in applets:
            if applet != "busybox":
                (root / "bin" / applet).symlink_to("busybox")
        (root / "etc/passwd").write_text(
            "root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65534:nobody:/home:/bin/false\n"
        )
        (root / "etc/group").write_text("root:x:0:\nnogroup:x:65534:\n")
        with tarfile.open(target, "w") as tar:
            tar.add(root, ".")


def make_debian(target: Path) -> None:
    sys.path.insert(0, str(HERE.parent))
    from rig import archives, debian

    base = archives.cache() / "debian-1.layer.tar"
    if not base.exists():
        debian.bootstrap(base)
    target.symlink_to(base)


# -- namespaces --------------------------------------------------------------------------------------------------------


def side_by_side(
    work: Path, sides: dict[str, Path], options: argparse.Namespace
) -> dict[tuple[str, str], dict[str, str]]:
    """(file, test) -> side -> ok, not ok or skip."""
    results: dict[tuple[str, str], dict[str, str]] = {}

    def run(side: str, runtime: Path) -> None:
        for file, name, verdict in run_side(work, side, runtime, options):
            results.setdefault((file, name), {})[side] = verdict

    threads = [threading.Thread(target=run, args=item) for item in sides.items()]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return dict(sorted(results.items()))


def run_side(work: Path, side: str, runtime: Path, options: argparse.Namespace) -> list[tuple[str, str, str]]:
    log = Path(tempfile.gettempdir()) / f"runc-bats-{side}.log"
    command = [
        "unshare", "--net", "--mount", "--propagation", "private",
        sys.executable, __file__, str(work), "--inside", side, "--only", options.only, "--filter", options.filter,
        "--ours" if side == "ours" else "--runc", str(runtime),
    ]  # fmt: skip
    found = []
    with log.open("w") as output:
        process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, bufsize=1)
        assert process.stdout is not None
        file = ""
        for line in process.stdout:
            output.write(line)
            output.flush()
            if line.startswith("FILE "):
                file = line.split()[1]
            match = RESULT.match(line.rstrip())
            if match:
                verdict = "skip" if " # skip" in line else match[1]
                found.append((file, match[2], verdict))
                print(f"{side:5} {verdict:6} {file}: {match[2]}", file=sys.stderr, flush=True)
        process.wait()
    leave_cgroup(f"{GROUP}-{os.getpid()}-{side}")
    print(f"{side}: output in {log}", file=sys.stderr)
    return found


def inside(options: argparse.Namespace) -> int:
    """In the namespaces: a cgroup for all of it, a view of the hierarchies from there, then one bats a file."""
    enter_cgroup(f"{GROUP}-{os.getppid()}-{options.inside}")
    _, terminal = pty.openpty()  # runc wants a controlling terminal, even one that nobody reads
    subprocess.run(["ip", "link", "set", "lo", "up"], check=False)
    runtime = options.ours if options.inside == "ours" else options.runc
    directory = Path(tempfile.mkdtemp(prefix=f"bats-{options.inside}-"))
    directory.chmod(0o755)
    # the help texts name the program, and the tests expect "runc" there
    named = directory / "runc"
    named.write_text(f'#!/bin/bash\nexec -a runc {runtime} "$@"\n')
    if options.inside == "ours":
        named.write_text(f'#!/bin/bash\nTIFFIN_RUNTIME_NAME=runc exec {runtime} "$@"\n')
    named.chmod(0o755)
    environment = {**os.environ, "RUNC": str(named), "TMPDIR": str(directory), "BATS_TMPDIR": str(directory)}
    environment["PATH"] = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
    tests = options.checkout / "tests/integration"
    for file in sorted(tests.glob("*.bats")):
        if not fnmatch.fnmatch(file.name, options.only):
            continue
        print(f"FILE {file.name}", flush=True)
        command = ["timeout", "--kill-after=10", str(TIMEOUT), "bats", "--tap"]
        command += ["--filter", options.filter] if options.filter else []
        command = ["setsid", "--ctty", "--wait", *command, file.name]
        subprocess.run(command, cwd=tests, env=environment, stdin=terminal, stderr=subprocess.STDOUT)
    shutil.rmtree(directory, ignore_errors=True)
    return 0


def enter_cgroup(name: str) -> None:
    """A group in every hierarchy becomes the root of what the tests see: they may then do there what they like."""
    mounts = [line.split() for line in Path("/proc/self/mountinfo").read_text().splitlines()]
    found = []
    for fields in mounts:
        kind, options = fields[fields.index("-") + 1], fields[-1]
        if kind not in ("cgroup", "cgroup2"):
            continue
        group = f"{fields[4]}/{name}"
        os.mkdir(group)
        found.append((fields[4], kind, options, group))
        for file in ("cpuset.cpus", "cpuset.mems"):
            if os.path.exists(f"{group}/{file}") and kind == "cgroup":
                Path(f"{group}/{file}").write_text(Path(f"{fields[4]}/{file}").read_text())
        Path(f"{group}/cgroup.procs").write_text("0")
    unshare_cgroup_namespace()
    for mount_point, kind, options, _ in found:
        wanted = ",".join(option for option in options.split(",") if option not in ("rw", "ro"))
        if wanted.startswith("name="):
            wanted = "none," + wanted
        command = ["mount", "-t", kind, *(["-o", wanted] if wanted and kind == "cgroup" else []), "cgroup", mount_point]
        subprocess.run(["umount", mount_point], check=True)
        subprocess.run(command, check=True)


def unshare_cgroup_namespace() -> None:
    import ctypes

    if ctypes.CDLL(None, use_errno=True).unshare(0x02000000):
        raise OSError(ctypes.get_errno(), "unshare")


def leave_cgroup(name: str) -> None:
    """Seen from outside again: whatever a test left alive is killed, the groups removed."""
    for group in Path("/sys/fs/cgroup").glob(f"*/{name}"):
        below = [directory for directory, _, _ in os.walk(group, topdown=False)]
        for directory in below:
            for pid in Path(directory, "cgroup.procs").read_text().split():
                os.kill(int(pid), signal.SIGKILL)
        for directory in below:
            for _ in range(500):
                try:
                    os.rmdir(directory)
                    break
                except OSError:
                    time.sleep(0.01)
            else:
                print(f"left behind: {directory}", file=sys.stderr)


# -- the table ---------------------------------------------------------------------------------------------------------


def report(results: dict[tuple[str, str], dict[str, str]]) -> str:
    lines = ["| file | test | runc | tiffin-runtime |", "|---|---|---|---|"]
    for (file, name), row in results.items():
        lines.append(f"| {file} | {name} | {row.get('runc', '-')} | {row.get('ours', '-')} |")
    counts = {side: sum(row.get(side) == "ok" for row in results.values()) for side in ("runc", "ours")}
    worse = [key for key, row in results.items() if row.get("runc") == "ok" and row.get("ours") != "ok"]
    better = [key for key, row in results.items() if row.get("ours") == "ok" and row.get("runc") == "not ok"]
    lines += ["", f"runc passes {counts['runc']}, tiffin-runtime {counts['ours']}.", ""]
    lines += [f"- only runc passes: {file}: {name}" for file, name in worse]
    lines += [f"- only tiffin-runtime passes: {file}: {name}" for file, name in better]
    return "\n".join(lines)


if __name__ == "__main__":
    raise SystemExit(main())
