"""Figures of a running registry, as Prometheus reads them (exposition format 0.0.4)."""

import threading
from collections.abc import Callable, Iterable

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
_PREFIX = "tiffin_registry_"
_BUCKETS = (0.005, 0.025, 0.1, 0.5, 2.5, 10.0, 60.0)

Labels = tuple[tuple[str, str], ...]


class Counters:
    """Counters by name and labels, gauges that are asked when somebody looks, one histogram of durations."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._values: dict[str, dict[Labels, float]] = {}
        self._help: dict[str, str] = {}
        self._gauges: dict[str, tuple[str, Callable[[], float]]] = {}
        self._durations = [0] * (len(_BUCKETS) + 1)
        self._seconds = 0.0

    def declare(self, name: str, help: str, *labels: Iterable[tuple[str, str]]) -> None:
        """Say what a counter counts, and with which labels it is to stand at 0 before it first does."""
        self._help[name] = help
        self._values[name] = {tuple(one): 0.0 for one in labels}

    def gauge(self, name: str, help: str, value: Callable[[], float]) -> None:
        """A figure that goes up and down."""
        self._gauges[name] = (help, value)

    def add(self, name: str, amount: float = 1, **labels: str) -> None:
        """Count."""
        key = tuple(labels.items())
        with self._lock:
            values = self._values.setdefault(name, {})
            values[key] = values.get(key, 0.0) + amount

    def took(self, seconds: float) -> None:
        """A request's duration."""
        with self._lock:
            self._durations[sum(seconds > bound for bound in _BUCKETS)] += 1
            self._seconds += seconds

    def text(self) -> str:
        """All of it."""
        lines: list[str] = []
        with self._lock:
            for name, values in sorted(self._values.items()):
                lines += _header(name, self._help.get(name, name), "counter")
                lines += [f"{_PREFIX}{name}{_spelled(labels)} {_number(value)}" for labels, value in values.items()]
            lines += self._histogram()
        for name, (help, value) in sorted(self._gauges.items()):
            lines += [*_header(name, help, "gauge"), f"{_PREFIX}{name} {_number(value())}"]
        return "\n".join(lines) + "\n"

    def _histogram(self) -> list[str]:
        name, total = "request_seconds", 0
        lines = _header(name, "time from a request's header to its answer's last byte", "histogram")
        for bound, count in zip((*map(str, _BUCKETS), "+Inf"), self._durations, strict=True):
            total += count
            lines.append(f'{_PREFIX}{name}_bucket{{le="{bound}"}} {total}')
        return [*lines, f"{_PREFIX}{name}_sum {self._seconds:.6f}", f"{_PREFIX}{name}_count {total}"]


def _header(name: str, help: str, kind: str) -> list[str]:
    return [f"# HELP {_PREFIX}{name} {help}", f"# TYPE {_PREFIX}{name} {kind}"]


def _spelled(labels: Labels) -> str:
    return "{" + ",".join(f'{key}="{value}"' for key, value in labels) + "}" if labels else ""


def _number(value: float) -> str:
    return str(int(value)) if value == int(value) else repr(value)
