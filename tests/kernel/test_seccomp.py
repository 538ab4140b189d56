"""The filter that a container's process really has, read back by ptrace and compared; and what it does."""

import ctypes
import json
import os
import signal
import socket
import struct
from importlib import resources

import pytest

from kernel.oci import Bundle
from rig import eventually
from tiffin.linux import seccomp, seccomp_numbers, seccomp_profile
from tiffin.linux.capabilities import DEFAULT, NAMES

pytestmark = [
    pytest.mark.root,
    pytest.mark.skipif(seccomp_numbers.native() != "x86_64", reason="the probe below is x86_64's"),
]
PTRACE_SEIZE, PTRACE_INTERRUPT, PTRACE_DETACH, PTRACE_SECCOMP_GET_FILTER = 0x4206, 0x4207, 17, 0x420C


def ptrace(request: int, pid: int, address: int, data: object) -> int:
    libc = ctypes.CDLL(None, use_errno=True)
    libc.ptrace.argtypes = (ctypes.c_long, ctypes.c_long, ctypes.c_void_p, ctypes.c_void_p)
    libc.ptrace.restype = ctypes.c_long
    found = libc.ptrace(request, pid, address, data)
    if found < 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    return found


def live_filter(pid: int) -> bytes:
    """The newest filter of a process. In a process of our own: whoever traces must not be one of pytest's threads."""
    reading, writing = os.pipe()
    tracer = os.fork()
    if tracer == 0:
        ptrace(PTRACE_SEIZE, pid, 0, 0)
        ptrace(PTRACE_INTERRUPT, pid, 0, 0)
        os.waitpid(pid, 0x40000000)
        length = ptrace(PTRACE_SECCOMP_GET_FILTER, pid, 0, 0)
        buffer = ctypes.create_string_buffer(length * 8)
        ptrace(PTRACE_SECCOMP_GET_FILTER, pid, 0, ctypes.addressof(buffer))
        os.write(writing, buffer.raw)
        ptrace(PTRACE_DETACH, pid, 0, 0)
        os._exit(0)
    os.close(writing)
    with open(reading, "rb") as file:
        found = file.read()
    assert os.waitpid(tracer, 0)[1] == 0
    return found


def status(pid: int) -> dict[str, str]:
    with open(f"/proc/{pid}/status") as file:
        return {key: value.strip() for key, _, value in (line.partition(":") for line in file)}


@pytest.fixture
def bundle(tmp_path):
    found = Bundle(tmp_path, "tiffin-runtime")
    found.spec["process"]["args"] = ["sleep", "100"]
    found.spec["process"]["noNewPrivileges"] = False
    try:
        yield found
    finally:
        found.close()


def profile(*, capabilities=DEFAULT) -> dict:
    document = json.loads(resources.files("tiffin.runtime").joinpath("seccomp-default.json").read_text())
    return seccomp_profile.resolve(document, capabilities)


def meaning(program: bytes) -> list[tuple[int, int, int, int]]:
    return list(struct.iter_unpack("=HBBI", program))


@pytest.mark.parametrize("no_new_privileges", [False, True])
def test_the_live_filter_is_the_assembled_profile_and_the_only_one(bundle, no_new_privileges):
    bundle.spec["process"]["noNewPrivileges"] = no_new_privileges
    bundle.spec["linux"]["seccomp"] = profile()
    pid = bundle.start()
    assert meaning(live_filter(pid)) == meaning(seccomp.assemble(profile()))
    assert (status(pid)["Seccomp"], status(pid)["Seccomp_filters"]) == ("2", "1")
    assert status(pid)["NoNewPrivs"] == str(int(no_new_privileges))


def test_an_exec_has_the_same_filter(bundle):
    bundle.spec["linux"]["seccomp"] = profile()
    bundle.start()
    bundle.call("exec", "--detach", "--pid-file", "pid", bundle.id, "sleep", "100", detached=True)
    pid = int((bundle.place / "pid").read_text())
    assert meaning(live_filter(pid)) == meaning(seccomp.assemble(profile()))
    os.kill(pid, signal.SIGKILL)


def test_without_a_filter_there_is_none(bundle):
    assert status(bundle.start())["Seccomp"] == "0"


def probe(filter_: dict, numbers: list[int]) -> dict[int, int]:
    """errno by number (-1: it worked) of calls with zero arguments, made by a process under the filter."""
    from tiffin.linux import credentials

    reading, writing = os.pipe()
    pid = os.fork()
    if pid == 0:
        libc = ctypes.CDLL(None, use_errno=True)
        program = credentials.Filter.of(seccomp.assemble(filter_))
        credentials.prctl(credentials.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
        credentials.load_filter(program)
        for number in numbers:
            worked = libc.syscall(ctypes.c_long(number), 0, 0, 0, 0, 0, 0) >= 0
            os.write(writing, struct.pack("=qi", number, -1 if worked else ctypes.get_errno()))
        os._exit(0)
    os.close(writing)
    with open(reading, "rb") as file:
        found = dict(struct.iter_unpack("=qi", file.read()))
    os.waitpid(pid, 0)
    return found


def test_the_kernel_denies_and_answers_enosys_as_the_profile_says():
    numbers = seccomp_numbers.table("x86_64")
    newer = max(numbers.values()) + 100
    calls = [numbers["clone3"], numbers["keyctl"], numbers["mount"], newer, numbers["getpid"]]
    assert list(probe(profile(), calls).values()) == [38, 1, 1, 38, -1]


def test_with_sys_admin_clone3_reaches_the_kernel():
    number = seccomp_numbers.table("x86_64")["clone3"]
    assert probe(profile(capabilities=NAMES), [number]) == {number: 22}


def test_an_x32_call_is_denied_by_its_own_rule():
    mount = seccomp_numbers.X32_BIT | seccomp_numbers.table("x32")["mount"]
    assert probe(profile(), [mount]) == {mount: 1}


def test_a_profile_without_close_range_still_starts_a_container(bundle):
    filter_ = profile()
    for rule in filter_["syscalls"]:
        rule["names"] = [name for name in rule["names"] if name not in ("close_range", "capset")]
    bundle.spec["process"]["noNewPrivileges"] = True
    bundle.spec["linux"]["seccomp"] = filter_
    assert status(bundle.start())["Seccomp"] == "2"


def test_an_agent_gets_the_listener_of_a_notifying_filter(bundle):
    bundle.shell("mkdir /dev/shm/new || echo refused; sleep 100")
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(str(bundle.place / "agent"))
    listener.listen()
    bundle.spec["linux"]["seccomp"] = {
        "defaultAction": "SCMP_ACT_ALLOW",
        "listenerPath": str(bundle.place / "agent"),
        "listenerMetadata": "for the agent",
        "syscalls": [{"names": ["mkdir", "mkdirat"], "action": "SCMP_ACT_NOTIFY"}],
    }
    pid = bundle.start()
    connection, _ = listener.accept()
    data, (descriptor,), _, _ = socket.recv_fds(connection, 65536, 1)
    state = json.loads(data)
    assert (state["fds"], state["pid"], state["metadata"]) == (["seccompFd"], pid, "for the agent")
    assert os.readlink(f"/proc/self/fd/{descriptor}") == "anon_inode:seccomp notify"
    os.close(descriptor)  # nobody answers any more: the call gives ENOSYS
    eventually(lambda: "refused" in (bundle.place / "out").read_text())
