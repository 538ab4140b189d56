"""`tiffin stats`."""

from __future__ import annotations

import time

from tiffin.cli import flags, terminal, units
from tiffin.cli.command import Call, Command
from tiffin.cli.container_list import short_id
from tiffin.cli.formats import table_format
from tiffin.cli.table import Format, Row, align, header, lines
from tiffin.client.engine import quote
from tiffin.errors import TiffinError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

HEADERS = {
    "Container": "CONTAINER",
    "Name": "NAME",
    "ID": "CONTAINER ID",
    "CPUPerc": "CPU %",
    "MemUsage": "MEM USAGE / LIMIT",
    "MemPerc": "MEM %",
    "NetIO": "NET I/O",
    "BlockIO": "BLOCK I/O",
    "PIDs": "PIDS",
}
_COLUMNS = "{{.ID}}\t{{.Name}}\t{{.CPUPerc}}\t{{.MemUsage}}\t{{.MemPerc}}\t{{.NetIO}}\t{{.BlockIO}}\t{{.PIDs}}"


def cpu_percent(sample: dict[str, Any]) -> float:
    """Share of one CPU since the sample before, in percent."""
    now, before = sample["cpu_stats"], sample["precpu_stats"]
    used = now["cpu_usage"]["total_usage"] - before["cpu_usage"]["total_usage"]
    passed = now.get("system_cpu_usage", 0) - before.get("system_cpu_usage", 0)
    cpus = now.get("online_cpus") or len(now["cpu_usage"].get("percpu_usage") or [])
    return used / passed * cpus * 100 if used > 0 and passed > 0 else 0.0


def memory_used(memory: dict[str, Any]) -> int:
    """Usage without the page cache that can be dropped at once."""
    usage, detail = memory.get("usage", 0), memory.get("stats") or {}
    for key in ("total_inactive_file", "inactive_file"):
        if detail.get(key, usage) < usage:
            return int(usage - detail[key])
    return int(usage)


def _block(sample: dict[str, Any]) -> tuple[int, int]:
    read = written = 0
    for entry in (sample.get("blkio_stats") or {}).get("io_service_bytes_recursive") or []:
        if entry.get("op", "")[:1] in ("r", "R"):
            read += entry["value"]
        elif entry.get("op", "")[:1] in ("w", "W"):
            written += entry["value"]
    return read, written


def row(given: str, sample: dict[str, Any] | None, full: bool) -> Row:
    """A container's line; dashes when there is no sample."""
    if sample is None:
        values = dict.fromkeys(("CPUPerc", "MemPerc", "NetIO", "BlockIO", "PIDs"), "--")
        values |= {"Container": given, "Name": "--", "ID": "", "MemUsage": "-- / --"}
        return Row(dict(values), type_name="*container.statsContext")
    memory = sample.get("memory_stats") or {}
    used, limit = memory_used(memory), memory.get("limit", 0)
    networks = (sample.get("networks") or {}).values()
    received = sum(network["rx_bytes"] for network in networks)
    sent = sum(network["tx_bytes"] for network in networks)
    read, written = _block(sample)
    return Row(
        {
            "Container": given,
            "Name": sample.get("name", "")[1:] or "--",
            "ID": sample.get("id", "") if full else short_id(sample.get("id", "")),
            "CPUPerc": f"{cpu_percent(sample):.2f}%",
            "MemUsage": f"{units.memory(used)} / {units.memory(limit)}",
            "MemPerc": f"{used / limit * 100 if limit else 0:.2f}%",
            "NetIO": f"{units.size(received)} / {units.size(sent)}",
            "BlockIO": f"{units.size(read)} / {units.size(written)}",
            "PIDs": str((sample.get("pids_stats") or {}).get("current", 0)),
        },
        type_name="*container.statsContext",
    )


class Watched:
    """One container's newest sample, kept up to date by a thread."""

    def __init__(self, call: Call, name: str, stream: bool) -> None:
        import threading

        self.name, self.gone, self.error = name, False, ""
        self._engine = call.engine.fork()
        self._stream = stream
        self.first = threading.Event()
        self.sample: dict[str, Any] | None = None
        self.thread = threading.Thread(target=self._follow, daemon=True)
        self.thread.start()

    def _follow(self) -> None:
        try:
            path = f"/containers/{quote(self.name)}/stats"
            for sample in self._engine.documents("GET", path, {"stream": "1" if self._stream else "0"}):
                self.sample = sample
                # the first of a stream has nothing to compare with
                if not self._stream or sample["precpu_stats"].get("system_cpu_usage"):
                    self.first.set()
        except (TiffinError, OSError, KeyError) as error:
            self.error = str(error)
        self.gone = True
        self.first.set()


def _names(call: Call) -> list[str]:
    listed = call.engine.get("/containers/json", all=call.values.on("all"))
    return [item["Id"] for item in listed]


def _draw(call: Call, form: Format, watched: list[Watched], clear: bool) -> None:
    full = call.values.on("no-trunc")
    rows = [row(item.name[:12] if len(item.name) == 64 else item.name, item.sample, full) for item in watched]
    body = list(lines(form, rows))
    text = align("\n".join([header(form, HEADERS), *body])) if form.table else "\n".join(body)
    if clear:
        text = "\x1b[H" + text.replace("\n", "\x1b[K\n") + "\x1b[K\x1b[J"
    if text:
        call.say(text)
    call.session.flush()


def run(call: Call) -> int:
    values = call.values
    stream = not values.on("no-stream")
    text = values.text("format") or call.session.settings.text("statsFormat") or "table"
    form = Format(text, _COLUMNS)
    every = not call.operands
    for name in call.operands:
        # a name that does not exist is an error at once
        call.engine.get(f"/containers/{quote(name)}/json")
    watched = [Watched(call, name, stream) for name in (_names(call) if every else call.operands)]
    for item in watched:
        item.first.wait(5)
    clear = stream and terminal.is_terminal(terminal.STDOUT)
    while True:
        _draw(call, form, watched, clear)
        if not stream or (not every and all(item.gone for item in watched)):
            return 0
        time.sleep(1)
        if every:
            known = {item.name: item for item in watched if not item.gone or values.on("all")}
            watched = [known.get(name) or Watched(call, name, stream) for name in _names(call)]


COMMANDS = {
    "container stats": Command(
        "container stats",
        run,
        "[CONTAINER...]",
        (
            flags.switch("all", "Show all containers (default shows just running)", "a"),
            table_format(),
            flags.switch("no-stream", "Show the first result only"),
            flags.switch("no-trunc", "Do not truncate output"),
        ),
        most=None,
    )
}
