"""Named crash points before and between durable steps, where a test can make the process die as by `kill -9`.

`TIFFIN_CRASH_AT=blob-renamed` dies at the first passage, `blob-renamed:3` at the third. `TIFFIN_CRASH_AT=@/path` asks
the file at each passage: it holds a number n, each passage adds its name as a line to `/path.seen`, and the n-th dies.
So a test learns the points of an operation, and arms them one after another without another start. Without the
variable a point costs one comparison.
"""

import os
import signal

_AT = os.environ.get("TIFFIN_CRASH_AT", "")
_name, _, _count = _AT.partition(":")
_left = int(_count) if _count.isdigit() else 1


def point(name: str) -> None:
    if _AT:
        _passed(name)


def _passed(name: str) -> None:
    global _left
    if _AT.startswith("@"):
        fatal = _listed(_AT[1:], name)
    else:
        _left -= name == _name
        fatal = name == _name and _left == 0
    if fatal:
        os.kill(os.getpid(), signal.SIGKILL)


def _listed(path: str, name: str) -> bool:
    try:
        with open(path, encoding="ascii") as file:
            number = int(file.read() or "0")
    except (FileNotFoundError, ValueError):
        return False
    with open(f"{path}.seen", "a+", encoding="ascii") as seen:
        seen.write(f"{name}\n")
        seen.seek(0)
        return len(seen.readlines()) == number
