"""`tiffin build`: not built yet; says so instead of doing half of it."""

from __future__ import annotations

from tiffin.cli.command import Call, Command
from tiffin.errors import Unsupported


def run(call: Call) -> int:
    raise Unsupported(
        f"tiffin {call.typed} is not supported yet. To make an image: tiffin import a tar archive, "
        "or tiffin commit a container's changes"
    )


def _command(path: str, operands: str) -> Command:
    return Command(path, run, operands, most=None, raw=True)


COMMANDS = {
    "image build": _command("image build", "PATH | URL | -"),
    "builder build": _command("builder build", "PATH | URL | -"),
    "builder prune": _command("builder prune", ""),
}
