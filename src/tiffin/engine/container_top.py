"""The processes of a container, read from the host's /proc: nothing of the image is run for it."""

from __future__ import annotations

import os
import pwd
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache

from tiffin.errors import Invalid

_TICK = os.sysconf("SC_CLK_TCK")
_PAGE = os.sysconf("SC_PAGE_SIZE") // 1024


@dataclass(frozen=True, slots=True)
class Process:
    pid: int
    parent: int
    uid: int
    gid: int
    state: str
    group: int
    session: int
    terminal: int
    flags: int
    cpu: float  # seconds
    priority: int
    nice: int
    threads: int
    started: float  # seconds since the epoch
    virtual: int  # KiB
    resident: int  # KiB
    name: str
    command: str


def read(pid: int) -> Process | None:
    """None for a process that is gone."""
    try:
        with open(f"/proc/{pid}/stat", encoding="utf-8", errors="replace") as file:
            text = file.read()
        with open(f"/proc/{pid}/cmdline", "rb") as file:
            words = file.read(65536)
        status = os.stat(f"/proc/{pid}")
        with open(f"/proc/{pid}/status", encoding="utf-8", errors="replace") as file:
            ids = {line[:4]: line.split() for line in file if line.startswith(("Uid:", "Gid:"))}
    except (FileNotFoundError, ProcessLookupError):
        return None
    name, _, rest = text.partition("(")[2].rpartition(")")
    field = rest.split()
    command = words.rstrip(b"\0").replace(b"\0", b" ").decode("utf-8", "replace")
    return Process(
        pid=pid,
        parent=int(field[1]),
        uid=int(ids["Uid:"][2]) if "Uid:" in ids else status.st_uid,
        gid=int(ids["Gid:"][2]) if "Gid:" in ids else status.st_gid,
        state=field[0],
        group=int(field[2]),
        session=int(field[3]),
        terminal=int(field[4]),
        flags=int(field[6]),
        cpu=(int(field[11]) + int(field[12])) / _TICK,
        priority=int(field[15]),
        nice=int(field[16]),
        threads=int(field[17]),
        started=_boot_time() + int(field[19]) / _TICK,
        virtual=int(field[20]) // 1024,
        resident=int(field[21]) * _PAGE,
        name=name,
        command=command or f"[{name}]",
    )


@lru_cache(1)
def _boot_time() -> float:
    return time.time() - time.clock_gettime(time.CLOCK_BOOTTIME)


def _user(process: Process) -> str:
    try:
        name = pwd.getpwuid(process.uid).pw_name
    except KeyError:
        return str(process.uid)
    return name if len(name) <= 8 else name[:7] + "+"


def _terminal(process: Process) -> str:
    if process.terminal == 0:
        return "?"
    major, minor = process.terminal >> 8 & 0xFFF, process.terminal & 0xFF | process.terminal >> 12 & 0xFFF00
    return f"pts/{minor + (major - 136) * 256}" if 136 <= major <= 143 else f"tty{minor}"


def _start(process: Process) -> str:
    moment, today = time.localtime(process.started), time.localtime()
    if moment[:3] == today[:3]:
        return time.strftime("%H:%M", moment)
    return time.strftime("%b%d" if moment.tm_year == today.tm_year else "%Y", moment)


def _cpu_time(process: Process) -> str:
    seconds = int(process.cpu)
    return f"{seconds // 3600:02}:{seconds // 60 % 60:02}:{seconds % 60:02}"


def _short_cpu_time(process: Process) -> str:
    seconds = int(process.cpu)
    return f"{seconds // 60}:{seconds % 60:02}"


def _usage(process: Process) -> float:
    age = max(time.time() - process.started, 0.01)
    return min(process.cpu / age * 100, 999.0)


@lru_cache(1)
def _memory() -> int:
    return os.sysconf("SC_PHYS_PAGES") * _PAGE


def _elapsed(process: Process) -> str:
    seconds = max(0, int(time.time() - process.started))
    days, rest = divmod(seconds, 86400)
    clock = f"{rest // 60 % 60:02}:{rest % 60:02}"
    if days or rest >= 3600:
        clock = f"{rest // 3600:02}:{clock}"
    return f"{days}-{clock}" if days else clock


Column = tuple[str, Callable[[Process], str]]

_COLUMNS: dict[str, Column] = {
    "user": ("USER", _user),
    "uname": ("USER", _user),
    "uid": ("UID", lambda p: str(p.uid)),
    "euser": ("EUSER", _user),
    "gid": ("GID", lambda p: str(p.gid)),
    "pid": ("PID", lambda p: str(p.pid)),
    "ppid": ("PPID", lambda p: str(p.parent)),
    "pgid": ("PGID", lambda p: str(p.group)),
    "sid": ("SID", lambda p: str(p.session)),
    "c": ("C", lambda p: str(int(_usage(p)))),
    "stime": ("STIME", _start),
    "start": ("START", _start),
    "start_time": ("START", _start),
    "etime": ("ELAPSED", _elapsed),
    "tty": ("TT", _terminal),
    "tname": ("TTY", _terminal),
    "time": ("TIME", _cpu_time),
    "cputime": ("TIME", _cpu_time),
    "cmd": ("CMD", lambda p: p.command),
    "args": ("COMMAND", lambda p: p.command),
    "command": ("COMMAND", lambda p: p.command),
    "comm": ("COMMAND", lambda p: p.name),
    "ucmd": ("CMD", lambda p: p.name),
    "pcpu": ("%CPU", lambda p: f"{_usage(p):.1f}"),
    "%cpu": ("%CPU", lambda p: f"{_usage(p):.1f}"),
    "pmem": ("%MEM", lambda p: f"{p.resident * 100 / _memory():.1f}"),
    "%mem": ("%MEM", lambda p: f"{p.resident * 100 / _memory():.1f}"),
    "vsz": ("VSZ", lambda p: str(p.virtual)),
    "rss": ("RSS", lambda p: str(p.resident)),
    "stat": ("STAT", lambda p: p.state),
    "s": ("S", lambda p: p.state),
    "state": ("S", lambda p: p.state),
    "ni": ("NI", lambda p: str(p.nice)),
    "nice": ("NI", lambda p: str(p.nice)),
    "pri": ("PRI", lambda p: str(39 - p.priority if p.priority >= 0 else -1)),
    "nlwp": ("NLWP", lambda p: str(p.threads)),
    "f": ("F", lambda p: f"{p.flags >> 6 & 7:o}"),
}

_FULL: tuple[Column, ...] = (
    ("UID", _user),
    *(_COLUMNS[name] for name in ("pid", "ppid", "c", "stime")),
    ("TTY", _terminal),
    _COLUMNS["time"],
    _COLUMNS["cmd"],
)
_BSD: tuple[Column, ...] = (
    *(_COLUMNS[name] for name in ("user", "pid", "pcpu", "pmem", "vsz", "rss")),
    ("TTY", _terminal),
    *(_COLUMNS[name] for name in ("stat", "start")),
    ("TIME", _short_cpu_time),
    _COLUMNS["args"],
)
_SHORT: tuple[Column, ...] = (_COLUMNS["pid"], ("TTY", _terminal), _COLUMNS["time"], _COLUMNS["ucmd"])
_BSD_SHORT: tuple[Column, ...] = (
    _COLUMNS["pid"],
    ("TTY", _terminal),
    _COLUMNS["stat"],
    ("TIME", _short_cpu_time),
    _COLUMNS["args"],
)


def columns(arguments: str) -> tuple[Column, ...]:
    """The columns that arguments of ps(1) ask for. Raises Invalid for what we don't know."""
    words = arguments.split() or ["-ef"]
    wanted: list[Column] = []
    full = bsd = wide_user = False
    index = 0
    while index < len(words):
        word = words[index]
        index += 1
        name, _, value = word.partition("=")
        if name in ("-o", "o", "--format", "-eo", "-axo", "-Ao", "axo") or word.startswith("-o"):
            text = value if name == "--format" and value else word[2:] if word.startswith("-o") and word != "-o" else ""
            if not text:
                if index == len(words):
                    raise Invalid("ps: format specification must follow -o")
                text = words[index]
                index += 1
            wanted += _named(text)
            continue
        letters = word.lstrip("-")
        if not letters or not set(letters) <= set("aefxuwAdlFTHjgc"):
            raise Invalid(f"ps: unsupported argument {word!r}: -e, -f, -F, a, u, x, w and -o FORMAT are known")
        if word.startswith("-"):
            full = full or bool(set(letters) & set("fF"))
            bsd = bsd or ("u" in letters and "a" in letters)
            wide_user = wide_user or ("u" in letters)
        else:
            bsd, wide_user = True, wide_user or "u" in letters
    if wanted:
        return tuple(wanted)
    if full:
        return _FULL
    if bsd:
        return _BSD if wide_user else _BSD_SHORT
    return _SHORT


def _named(text: str) -> list[Column]:
    found = []
    for word in text.replace(" ", ",").split(","):
        if not word:
            continue
        name, equals, title = word.partition("=")
        column = _COLUMNS.get(name.lower())
        if column is None:
            raise Invalid(f"ps: unknown user-defined format specifier {name!r}")
        found.append((title or column[0], column[1]) if equals else column)
    return found


def table(pids: Sequence[int], arguments: str) -> tuple[list[str], list[list[str]]]:
    """Titles and rows."""
    chosen = columns(arguments)
    processes = [process for process in map(read, pids) if process is not None]
    return [title for title, _ in chosen], [[show(process) for _, show in chosen] for process in processes]
