"""What the tests stand on: engines in namespaces of their own, command lines, terminals, images, leak checks.

Machine    a network and a mount namespace, a cgroup of its own; processes inside it, and what is left of them
Engine     tiffind or dockerd on a Machine, with roots of its own; or a peer that runs already
Cli        `docker` or `tiffin` pointed at an Engine
Terminal   a pseudo-terminal with a process on it
eventually waits for a condition
"""

from rig.commands import Cli, Result
from rig.engine import Engine
from rig.machine import Machine
from rig.terminal import Terminal
from rig.waiting import eventually

__all__ = ["Cli", "Engine", "Machine", "Result", "Terminal", "eventually"]
