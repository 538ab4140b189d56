"""The clock jumps by a day while timers run. Only the engine's own clock: a preloaded library moves it."""

from __future__ import annotations

import struct
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from faults.api import Api
from rig import Engine, eventually

pytestmark = pytest.mark.root

DAY = 86400

SOURCE = r"""
#define _GNU_SOURCE
#include <dlfcn.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <time.h>
static volatile long long *offset;
__attribute__((constructor)) static void open_offset(void) {
    int fd = getenv("CLOCK_OFFSET") ? open(getenv("CLOCK_OFFSET"), O_RDONLY | O_CLOEXEC) : -1;
    if (fd >= 0) offset = mmap(0, 8, PROT_READ, MAP_SHARED, fd, 0);
}
int clock_gettime(clockid_t clock, struct timespec *now) {
    static int (*real)(clockid_t, struct timespec *);
    if (!real) real = dlsym(RTLD_NEXT, "clock_gettime");
    int result = real(clock, now);
    if (result == 0 && clock == CLOCK_REALTIME && offset) now->tv_sec += *offset;
    return result;
}
"""


class Clock:
    """Moves what the preloaded processes take for the time."""

    def __init__(self, path: Path) -> None:
        self._path = path
        path.write_bytes(struct.pack("q", 0))

    def jump(self, seconds: int) -> None:
        with self._path.open("r+b", buffering=0) as file:  # in place: it is mapped
            file.write(struct.pack("q", seconds))


@pytest.fixture
def clock(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Clock:
    library = tmp_path / "clock.so"
    command = ["gcc", "-shared", "-fPIC", "-o", library, "-x", "c", "-", "-ldl"]
    subprocess.run(command, input=SOURCE, text=True, check=True)
    moved = Clock(tmp_path / "offset")
    monkeypatch.setenv("CLOCK_OFFSET", str(tmp_path / "offset"))
    monkeypatch.setenv("LD_PRELOAD", str(library))
    return moved


@pytest.mark.parametrize("jump", [DAY, -DAY], ids=["a day ahead", "a day back"])
def test_timers_keep_their_time_when_the_clock_jumps(
    start_engine: Callable[..., Engine], clock: Clock, jump: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine = start_engine(images=())
    monkeypatch.delenv("LD_PRELOAD")  # the engine's clock, nobody else's
    engine.load("busybox")
    api = Api(engine)
    healthy = {
        "Image": "busybox",
        "Cmd": ["sleep", "100000"],
        "Healthcheck": {"Test": ["CMD", "true"], "Interval": 200_000_000, "Retries": 1},
    }
    probed = api.ask("POST", "/containers/create", healthy)["Id"]
    api.start(probed)
    stubborn = api.run("sh", "-c", "trap '' TERM; while :; do sleep 1; done")
    restarting = api.run("sh", "-c", "sleep 0.2; exit 3", RestartPolicy={"Name": "on-failure", "MaximumRetryCount": 3})
    clock.jump(jump)
    assert moved(api, jump)
    began = time.monotonic()
    api.ask("POST", f"/containers/{stubborn}/stop", t=2)
    assert time.monotonic() - began >= 2
    assert api.state(stubborn)["ExitCode"] == 137
    count = len(api.state(probed)["Health"]["Log"])
    assert count <= 5
    last = [probe["Start"] for probe in api.state(probed)["Health"]["Log"]][-1:]
    eventually(
        lambda: (
            api.state(probed)["Health"]["Status"] == "healthy"
            and [probe["Start"] for probe in api.state(probed)["Health"]["Log"]][-1:] != last
        ),
        what="probes go on",
    )
    eventually(lambda: api.state(restarting)["Status"] == "exited", what="its three restarts")
    inspected = api.ask("GET", f"/containers/{restarting}/json")
    assert (inspected["RestartCount"], inspected["State"]["ExitCode"]) == (3, 3)
    engine.kill()
    clock.jump(0)
    engine.start()
    assert api.state(probed)["Running"]
    for container in (probed, stubborn, restarting):
        api.remove(container, force=True)


def moved(api: Api, jump: int) -> bool:
    """Whether the engine believes it."""
    shown = api.ask("GET", "/info")["SystemTime"][:19]
    seen = time.mktime(time.strptime(shown, "%Y-%m-%dT%H:%M:%S"))
    return abs(seen - time.mktime(time.gmtime()) - jump) < DAY / 2
