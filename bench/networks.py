"""Measures of networks: made and removed, published ports, container to container, names, a thousand ports.

Clients of published ports run beside the engine, in its network namespace; those of names in the container's. Both are
the same few lines of Python for every engine, with the clock inside.
"""

from __future__ import annotations

import subprocess
import sys

from measures import Measure, Subject, proportional_set_size

MEBIBYTES = 512

ROUND_TRIPS = """
import socket, sys, time
with socket.create_connection(("127.0.0.1", int(sys.argv[1]))) as s:
    s.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    for n in range(3000):
        if n == 1000:
            begin = time.perf_counter()
        s.sendall(b"x")
        s.recv(1)
    print((time.perf_counter() - begin) * 500)
"""

RECEIVE = """
import socket, sys, time
with socket.create_connection(("127.0.0.1", int(sys.argv[1]))) as s:
    buffer, total, begin = bytearray(1 << 20), 0, time.perf_counter()
    while count := s.recv_into(buffer):
        total += count
    print((time.perf_counter() - begin) * 1000)
    assert total == int(sys.argv[2]) << 20, total
"""

ASK = r"""
import socket, sys, time
name = b"".join(bytes([len(part)]) + part.encode() for part in sys.argv[1].split(".")) + b"\0"
question = b"\0\1\1\0\0\1\0\0\0\0\0\0" + name + b"\0\1\0\1"
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
s.settimeout(10)
s.connect(("127.0.0.11", 53))
begin = time.perf_counter()
for n in range(2000):
    s.send(question)
    answer = s.recv(512)
    assert answer[3] & 15 == 0 and answer[7] == 1, answer
print((time.perf_counter() - begin) * 500)
"""


def create_and_remove(subject: Subject) -> float:
    return subject.timed("network", "create", "measured") + subject.timed("network", "rm", "measured")


def server(subject: Subject, *flags: str) -> str:
    """A container that echoes on port 80 and sends on port 81."""
    serve = f"nc -ll -p 80 -e cat & exec nc -ll -p 81 -e dd if=/dev/zero bs=1M count={MEBIBYTES}"
    return subject.keep("served", "run", "-d", "-p", "7080:80", "-p", "7081:81", *flags, "busybox", "sh", "-c", serve)


def client(subject: Subject, script: str, *words: str) -> float:
    """What a client beside the engine measures."""
    return float(subject.engine.run(sys.executable, "-c", script, *words, timeout=600))


def round_trip(subject: Subject) -> float:
    server(subject)
    return client(subject, ROUND_TRIPS, "7080")


def throughput(subject: Subject) -> float:
    server(subject)
    return client(subject, RECEIVE, "7081", str(MEBIBYTES))


def between(subject: Subject) -> float:
    name = server(subject)
    address = subject.docker("inspect", "-f", "{{.NetworkSettings.Networks.bridge.IPAddress}}", name).strip()
    asking = subject.keep("asking", "run", "-d", "busybox", "sleep", "100000")
    receive = f"time -p nc {address} 81 < /dev/null > /dev/null"
    words = subject.docker("exec", asking, "sh", "-c", f"( {receive} ) 2>&1").split()
    return float(words[words.index("real") + 1]) * 1000


def names(subject: Subject) -> float:
    if "named" not in subject.kept:
        subject.docker("network", "create", "names")
    name = subject.keep("named", "run", "-d", "--network", "names", "busybox", "sleep", "100000")
    pid = subject.docker("inspect", "-f", "{{.State.Pid}}", name).strip()
    argv = ["nsenter", f"--net=/proc/{pid}/ns/net", sys.executable, "-c", ASK, name]
    return float(subprocess.run(argv, check=True, capture_output=True, text=True, timeout=600).stdout)


def thousand_ports(subject: Subject) -> float:
    """What publishing them adds to the memory of the engine's processes."""

    def held() -> int:
        return sum(proportional_set_size(pid) for pid in subject.own_processes())

    subject.docker("run", "-d", "--name", "one", "-p", "9000:9000", "busybox", "sleep", "100000")
    before = held()
    subject.drop("one")
    subject.docker("run", "-d", "--name", "thousand", "-p", "9000-9999:9000-9999", "busybox", "sleep", "100000")
    added = held() - before
    subject.drop("thousand")
    return max(added, 0) / 2**20


MEASURES = (
    Measure("network", "network create + rm", create_and_remove, 1 / 4),
    Measure("port-round-trip", "published port, round trip", round_trip, 1, unit="µs"),
    Measure("port-throughput", f"published port, {MEBIBYTES} MiB", throughput, 1),
    Measure("between", f"container to container, {MEBIBYTES} MiB", between, 1),
    Measure("names", "a name at 127.0.0.11", names, unit="µs"),
    Measure("thousand-ports", "1,000 published ports in a range, memory", thousand_ports, 1 / 4, unit="MiB", rounds=1),
)
