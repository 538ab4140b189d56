"""The engine's own processes, files and sockets: nothing that a container or another user gets hold of."""

from __future__ import annotations

import fcntl
import os
import stat
import struct
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from kernel.oci import Bundle
from rig import Cli, Engine, eventually

pytestmark = pytest.mark.root
GET_SEALS = 1034
SEAL, SHRINK, GROW, WRITE = 1, 2, 4, 8


@pytest.fixture(autouse=True)
def only_tiffin(engine: Engine) -> None:
    if engine.kind != "tiffin":
        pytest.skip("about tiffin's own processes")


@pytest.fixture
def box(docker: Cli, engine: Engine) -> Iterator[int]:
    """A container that sleeps, and whose monitor has come to rest: its pid. Of others nothing is left."""
    identity = docker("run", "-d", "--name", "box", "busybox", "sleep", "100000").line
    places = [engine.exec_root / "containers", *(engine.data_root.glob("snapshots/*/active"))]
    eventually(lambda: all(os.listdir(place) == [identity] for place in places), within=60)
    eventually(lambda: os.listdir(engine.data_root / "containers") == [identity], within=60)
    eventually(lambda: len(of_engine(engine, "tiffin-monitor")) == 1 and at_rest(engine), within=60)
    yield int(docker("inspect", "-f", "{{.State.Pid}}", "box").line)


def command_of(pid: int) -> str:
    return Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode("utf-8", "replace").strip()


def of_engine(engine: Engine, title: str) -> list[int]:
    return [pid for pid, command in engine.machine.processes().items() if command.startswith(title)]


def at_rest(engine: Engine) -> bool:
    """Whether no monitor has a child that is a monitor too: it leaves when it has started the container."""
    monitors = of_engine(engine, "tiffin-monitor")
    try:
        return not any(
            int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1]) in monitors for pid in monitors
        )
    except OSError:
        return False  # one has just ended


def seals(pid: int | str) -> int:
    with open(f"/proc/{pid}/exe", "rb") as file:
        return fcntl.fcntl(file, GET_SEALS)


@pytest.mark.parametrize("title", ["tiffin-forkserver", "tiffin-monitor"])
def test_what_forks_containers_runs_from_a_sealed_copy(engine: Engine, box: int, title: str) -> None:
    found = of_engine(engine, title)
    assert found
    for pid in found:
        assert seals(pid) & 15 == SEAL | SHRINK | GROW | WRITE
        assert os.readlink(f"/proc/{pid}/exe").startswith("/memfd:")
        with pytest.raises(OSError):
            os.close(os.open(f"/proc/{pid}/exe", os.O_WRONLY))


def test_the_forkserver_has_one_thread_and_no_descriptors_of_containers(engine: Engine, box: int) -> None:
    for title in ("tiffin-forkserver", "tiffin-monitor"):
        pids = of_engine(engine, title)
        assert pids
        for pid in pids:
            assert len(os.listdir(f"/proc/{pid}/task")) == 1


def test_a_monitor_holds_no_directory_of_the_host(engine: Engine, box: int) -> None:
    for pid in of_engine(engine, "tiffin-monitor"):
        for number in os.listdir(f"/proc/{pid}/fd"):
            assert not os.path.isdir(f"/proc/{pid}/fd/{number}"), os.readlink(f"/proc/{pid}/fd/{number}")


_WATCH = r"""
import os, sys, time
seen = set()
end = time.monotonic() + float(sys.argv[1])
print("watching", flush=True)

def joins(name):
    # the process is still the engine's, not what was executed
    try:
        with open(f"/proc/{name}/comm") as file:
            return file.read().strip() not in ("true", "python")
    except OSError:
        return False

def reached(name, what):
    path = f"/proc/{name}/{what}"
    try:
        if what in ("exe", "root", "cwd"):
            os.readlink(path)
        elif what == "fd":
            # their numbers may be listed; where they lead is what counts
            return any([reached(name, f"fd/{number}") for number in os.listdir(path)])
        else:
            os.close(os.open(path, (os.O_RDWR if what == "mem" else os.O_RDONLY) | os.O_NONBLOCK))
        return True
    except OSError:
        return False

while (now := time.monotonic()) < end or ("process" not in seen and now < end + 60):
    for name in os.listdir("/proc"):
        if name.isdigit() and int(name) not in (1, os.getpid()) and joins(name):
            seen.add("process")
            for what in ("exe", "fd", "root", "cwd", "mem", "environ", "maps", "ns/net", "ns/mnt"):
                if reached(name, what) and joins(name):
                    seen.add(what)
print(sorted(seen))
"""


def test_a_container_that_watches_finds_nothing_of_who_joins_it(engine: Engine, docker: Cli, python: str) -> None:
    """CVE-2016-9962: between joining and its execve an exec is the engine's process, in sight of the container."""
    docker("run", "-d", "--name", "watches", python, "python", "-u", "-c", _WATCH, "8")
    eventually(lambda: "watching" in docker("logs", "watches").out, what="the watcher is there")
    while docker("inspect", "-f", "{{.State.Running}}", "watches").line == "true":
        docker("exec", "watches", "true", check=False)
    (line,) = docker("logs", "watches").out.splitlines()[1:]
    assert line == "['process']"


def test_a_runtimes_exec_is_not_dumpable_and_sealed(tmp_path: Path) -> None:
    """Its stage, before it executes: stopped there by a FIFO in place of a directory's search."""
    bundle = Bundle(tmp_path, "tiffin-runtime")
    bundle.spec["process"]["args"] = ["sleep", "1000"]
    try:
        pid = bundle.start()
        script = "for i in 1 2 3 4 5 6 7 8; do for p in /proc/[0-9]*; do ls -l $p/exe 2>/dev/null; done; done"
        bundle.spec["process"]["args"] = ["sh", "-c", script]
        done = bundle.call("exec", bundle.id, "sh", "-c", script)
        assert "memfd" not in done.stdout and "python" not in done.stdout
        assert pid
    finally:
        bundle.close()


def test_another_user_sees_nothing_below_the_roots(engine: Engine, docker: Cli, box: int) -> None:
    docker("volume", "create", "private")
    docker("exec", "box", "sh", "-c", "cp /bin/busybox /tmp/su; chmod 4755 /tmp/su")
    program = """
import os, sys
os.setgroups([]); os.setresgid(65534, 65534, 65534); os.setresuid(65534, 65534, 65534)
seen = []
def walk(path):
    try:
        names = os.listdir(path)
    except OSError:
        return
    for name in names:
        seen.append(path + "/" + name)
        walk(path + "/" + name)
for top in sys.argv[1:]:
    walk(top)
    for guess in ("containers", "volumes", "snapshots", "content", "snapshots/overlay", "tmp", "volumes/private/_data"):
        try:
            os.stat(f"{top}/{guess}/.")
            seen.append(f"{top}/{guess}")
        except OSError:
            pass
print(seen)
"""
    engine.root.chmod(0o755)
    roots = [str(engine.data_root), str(engine.exec_root)]
    done = subprocess.run([sys.executable, "-S", "-c", program, *roots], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"


def test_the_modes_of_what_the_engine_keeps(engine: Engine, box: int) -> None:
    def mode(path: Path) -> int:
        return stat.S_IMODE(path.lstat().st_mode)

    data, state = engine.data_root, engine.exec_root
    assert mode(data) == 0o710
    assert mode(state) in (0o700, 0o711)
    assert mode(state / "containers") == 0o700
    for directory in [*(state / "containers").iterdir(), data / "containers", *(data / "containers").iterdir()]:
        assert mode(directory) & 0o067 == 0, directory
    for path in data.rglob("*.log"):
        assert mode(path) & 0o137 == 0, path
    assert [path for path in data.glob("ledger.db*") if mode(path) & 0o077] == []
    for path in [*state.rglob("*.sock"), *data.rglob("*.sock")]:
        assert mode(path) == 0o600, path
    assert mode(engine.socket) in (0o600, 0o660)


def test_no_socket_is_abstract(engine: Engine, box: int) -> None:
    """CVE-2020-15257: a container on the host's network reaches abstract sockets, whoever it is."""
    text = engine.run("cat", "/proc/net/unix")
    assert [line for line in text.splitlines() if " @" in line] == []


def test_the_engines_sockets_take_nobody_elses_word(engine: Engine, box: int) -> None:
    """Even where the path is in reach: who connects is asked for by SO_PEERCRED."""
    program = """
import os, socket, sys
os.chdir(os.path.dirname(sys.argv[1]))
os.setgroups([]); os.setresgid(65534, 65534, 65534); os.setresuid(65534, 65534, 65534)
probe = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
probe.settimeout(30)
probe.connect(os.path.basename(sys.argv[1]))
print(probe.recv(1))
"""
    paths = list(engine.exec_root.rglob("*.sock"))
    assert len(paths) >= 2
    for path in paths:
        opened = {one: one.stat().st_mode for one in (engine.root, *path.parents) if one.is_relative_to(engine.root)}
        try:
            for one in opened:
                one.chmod(0o755)
            path.chmod(0o666)
            done = subprocess.run([sys.executable, "-S", "-c", program, str(path)], capture_output=True, text=True)
            assert done.stdout == "b''\n", done.stderr
        finally:
            path.chmod(0o600)
            for one, mode in opened.items():
                one.chmod(stat.S_IMODE(mode))


def test_the_filter_is_one_program_that_kills_a_foreign_architecture(box: int) -> None:
    """The live filter, as the kernel has it, on numbers and architectures of our choosing."""
    program = dump(box)
    instructions = [struct.unpack_from("=HBBI", program, offset) for offset in range(0, len(program), 8)]
    x86, foreign = 0xC000003E, 0xC00000B7
    assert run(instructions, foreign, 0) == 0x80000000
    assert run(instructions, x86, 0) == 0x7FFF0000  # read
    assert run(instructions, x86, 165) == 0x00050001  # mount: EPERM
    assert run(instructions, x86, 435) == 0x00050026  # clone3: ENOSYS
    assert run(instructions, x86, 9999) == 0x00050026
    for denied in (155, 166, 169, 175, 246, 248, 250, 272, 304, 308, 321, 323, 425, 426, 427, 428, 429, 430, 442):
        assert run(instructions, x86, denied) != 0x7FFF0000, denied
    for family in (38, 40):  # AF_ALG, AF_VSOCK
        assert run(instructions, x86, 41, family) & 0xFFFF0000 == 0x00050000


def dump(pid: int) -> bytes:
    """PTRACE_SECCOMP_GET_FILTER, filter 0; there is no second."""
    import ctypes

    libc = ctypes.CDLL(None, use_errno=True)
    libc.ptrace.argtypes = [ctypes.c_long, ctypes.c_long, ctypes.c_void_p, ctypes.c_void_p]
    libc.ptrace.restype = ctypes.c_long
    assert libc.ptrace(0x4206, pid, None, None) == 0  # PTRACE_SEIZE
    try:
        assert libc.ptrace(0x4207, pid, None, None) == 0  # PTRACE_INTERRUPT
        os.waitpid(pid, 0x40000000)
        count = libc.ptrace(0x420C, pid, 0, None)
        assert count > 0
        buffer = ctypes.create_string_buffer(count * 8)
        assert libc.ptrace(0x420C, pid, 0, ctypes.cast(buffer, ctypes.c_void_p)) == count
        assert libc.ptrace(0x420C, pid, 1, None) == -1
        return buffer.raw
    finally:
        libc.ptrace(17, pid, None, None)  # PTRACE_DETACH


def run(program: list[tuple[int, int, int, int]], architecture: int, number: int, *arguments: int) -> int:
    """A small interpreter of classic BPF over struct seccomp_data."""
    data = struct.pack("=iIQ6Q", number, architecture, 0, *[*arguments, *[0] * 6][:6])
    accumulator, at = 0, 0
    while True:
        code, if_true, if_false, k = program[at]
        at += 1
        match code:
            case 0x20:
                accumulator = struct.unpack_from("=I", data, k)[0]
            case 0x15:
                at += if_true if accumulator == k else if_false
            case 0x35:
                at += if_true if accumulator >= k else if_false
            case 0x25:
                at += if_true if accumulator > k else if_false
            case 0x54:
                accumulator &= k
            case 0x05:
                at += k
            case 0x06:
                return k
            case _:
                raise AssertionError(f"instruction {code:#x}")
