"""Whoever keeps the daemon waiting, a client that sends nothing or a file system that does not answer, waits alone."""

from __future__ import annotations

import contextlib
import os
import socket
import subprocess
import sys
from collections.abc import Callable

import pytest

from rig import Engine
from rig.peers import tiffins_own

pytestmark = pytest.mark.root
Start = Callable[..., Engine]
MANY = 40
"""More than the event loop's pool has threads, on any machine."""

# a file system whose server has accepted the mount and never says another word
SILENT = """
import ctypes, os, sys
server = os.open("/dev/fuse", os.O_RDWR)
libc = ctypes.CDLL(None, use_errno=True)
options = f"fd={server},rootmode=40000,user_id=0,group_id=0".encode()
if libc.mount(b"silent", sys.argv[1].encode(), b"fuse", 0, options):
    sys.exit(os.strerror(ctypes.get_errno()))
print("ready", flush=True)
sys.stdin.read()
"""


def begin(engine: Engine, method: str, target: str) -> socket.socket:
    """A request with a body of which nothing comes."""
    sock = socket.socket(socket.AF_UNIX)
    sock.connect(str(engine.socket))
    head = f"{method} {target} HTTP/1.1\r\nHost: engine\r\nContent-Type: application/x-tar\r\n"
    sock.sendall(head.encode() + b"Transfer-Encoding: chunked\r\n\r\n")
    return sock


def test_uploads_of_which_nothing_comes_keep_nobody_waiting(start_engine: Start) -> None:
    engine = start_engine()
    tiffins_own(engine, "how the daemon divides its threads")
    cli = engine.cli()
    cli("create", "--name", "idle", "busybox")
    cli("run", "-d", "--name", "busy", "busybox", "sleep", "1000")
    targets = (
        ("POST", "/images/load"),
        ("POST", "/images/create?fromSrc=-&repo=x"),
        ("POST", "/build"),
        ("POST", "/tiffin/volumes/v{}/import"),
        ("PUT", "/containers/busy/archive?path=/tmp"),
        ("PUT", "/containers/idle/archive?path=/tmp"),
    )
    with contextlib.ExitStack() as undo:
        for method, target in targets:
            for number in range(MANY):
                undo.enter_context(begin(engine, method, target.format(number)))
        assert cli("run", "--rm", "-v", "volume:/x", "busybox", "echo", "served").out == "served\n"
        assert cli("volume", "ls", "-q").out == "volume\n"
        cli("exec", "busy", "true")
        cli("rm", "-f", "busy")
    cli("rm", "-f", "idle")  # the client that held it has gone


def test_a_file_system_that_does_not_answer_keeps_nobody_else_waiting(start_engine: Start) -> None:
    if not os.path.exists("/dev/fuse"):
        pytest.skip("the kernel has no FUSE")
    engine = start_engine()
    tiffins_own(engine, "how the daemon divides its threads")
    cli = engine.cli()
    place = engine.root / "silent"
    place.mkdir()
    waiting: list[subprocess.Popen[bytes]] = []
    server = engine.machine.popen(
        [sys.executable, "-c", SILENT, str(place)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    try:
        assert server.stdout is not None and server.stdout.readline() == b"ready\n"
        cli("volume", "create", "-o", "type=none", "-o", "o=bind", "-o", f"device={place}/x", "far")
        for words in (["-v", f"{place}/x:/x"], ["--mount", f"type=bind,source={place}/x,target=/x"], ["-v", "far:/x"]):
            command = engine.inside(["docker", "run", "--rm", *words, "busybox", "true"])
            waiting.append(subprocess.Popen(command, env={**os.environ, **engine.environment()}))
        for _ in range(3):  # before, between and behind them
            assert cli("run", "--rm", "-v", "/near", "busybox", "echo", "served").out == "served\n"
        cli("volume", "ls")
        assert all(one.poll() is None for one in waiting)
        assert engine.stop() == 0
    finally:
        server.kill()  # whoever waits is told that it is gone
        server.wait()
        for one in waiting:
            one.wait(60)
