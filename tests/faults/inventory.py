"""Everything an engine could leave behind on its machine, as one countable thing."""

from __future__ import annotations

import os
import re
import socket
import struct
from collections import Counter
from pathlib import Path

from faults.api import Api
from rig import Engine, eventually
from rig.leaks import Census, descriptors
from rig.machine import SPARE

# what grows and shrinks by itself, or is rewritten at each start of the daemon
_PASSING = re.compile(r"ledger\.db-(wal|shm)$|/tmp/|\.log$|monitor\.sock\.\d+$")
# layers are mounted when they are first needed, until the daemon ends
_LAYERS = "/snapshots/erofs/mounts"


def holder(path: Path) -> int:
    """The process that listens on a SEQPACKET socket. OSError where nobody does."""
    # through a descriptor: the path is longer than a socket's address may be
    place = os.open(path.parent, os.O_PATH | os.O_DIRECTORY)
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as client:
        client.settimeout(10)
        try:
            client.connect(f"/proc/self/fd/{place}/{path.name}")
        finally:
            os.close(place)
        peer = client.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, struct.calcsize("3i"))
    return int(struct.unpack("3i", peer)[0])


def forkserver_of(engine: Engine) -> int:
    """Its pid."""
    return holder(engine.exec_root / "forkserver.sock")


def monitor_of(engine: Engine, container: str) -> int:
    """The pid of a container's monitor."""
    return holder(engine.exec_root / "containers" / container / "monitor.sock")


def settled(engine: Engine) -> Api:
    """The API of an engine that has had a first container, so that all it makes once is there."""
    api = Api(engine)
    container = api.run("true")
    api.wait(container)
    api.remove(container)
    eventually(lambda: not list((engine.exec_root / "containers").iterdir()))
    return api


def cleared(engine: Engine) -> None:
    """Wait until what removed containers leave behind the answer is cleared away."""
    api = Api(engine)

    def nobody_s() -> list[Path]:
        known = {one["Id"] for one in api.ask("GET", "/containers/json", all=1)}
        places = [*(engine.data_root / "snapshots").glob("*/active"), engine.data_root / "containers"]
        left = [path for place in places for path in place.iterdir() if path.name[:64] not in known]
        return [*left, *(engine.data_root / "snapshots").glob("*/staging/*")]

    eventually(lambda: not nobody_s())


def inventory(engine: Engine) -> Counter[str]:
    """Processes, mounts, cgroups, links, rules, descriptors of daemon and forkserver, files in both roots."""
    found = Counter(Census.of(engine).found)
    for name in [name for name in found if name.startswith("mount ") and _LAYERS in name]:
        del found[name]
    for name in found:
        # a compressor is forked from the forkserver for a moment; each thread that reads the ledger has it open
        if "forkserver" in name or "/ledger.db" in name:
            found[name] = 1
    rules = engine.run("nft", "list", "ruleset")
    found += Counter(f"rule {line.strip()}" for line in rules.splitlines() if "{" not in line and "}" not in line)
    found += Counter(
        f"element {one.strip()}" for block in re.findall(r"elements = \{([^}]*)\}", rules) for one in block.split(",")
    )
    held = Counter(f"forkserver's {one}" for one in descriptors(forkserver_of(engine)))
    held["forkserver's fd socket"] -= spares(engine)
    found += held
    for root in (engine.data_root, engine.exec_root):
        for directory, names, files in os.walk(root):
            if directory.endswith(_LAYERS):
                names.clear()
            found += Counter(
                f"file {path}"
                for name in (*names, *files)
                if not _PASSING.search(path := os.path.join(directory, name))
            )
    return found


def spares(engine: Engine) -> int:
    """Monitors that wait for a container; each is a socket of the forkserver's."""
    commands = list(engine.machine.processes().values())
    return max(0, commands.count(SPARE) - 1)


def nothing_more(engine: Engine, before: Counter[str], *, within: float = 30) -> None:
    """AssertionError with the list when anything stays that was not there before."""
    left: list[str] = []

    def same() -> bool:
        left[:] = sorted((inventory(engine) - before).elements())
        return not left

    try:
        eventually(same, within=within, every=0.2)
    except AssertionError:
        raise AssertionError("left behind:\n" + "\n".join(left)) from None
