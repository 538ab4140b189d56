"""Where a container is in its life, as a union of small values, and how well it feels.

    Created ─▶ Running ⇄ Paused
                 │ ▲
                 ▼ │ (policy)
    Exited ◀─ Restarting         any but Running ─▶ Removing ─▶ gone, or Dead when that failed

Times are nanoseconds since the epoch; 0 is "never", which the API writes as 0001-01-01T00:00:00Z.
"""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Created:
    """Never started, or a start failed: then with the code and text that docker reports for it."""

    exit_code: int = 0
    error: str = ""
    started_at: int = 0
    finished_at: int = 0


@dataclass(frozen=True, slots=True)
class Running:
    pid: int
    started_at: int
    finished_at: int = 0  # of the run before


@dataclass(frozen=True, slots=True)
class Paused:
    pid: int
    started_at: int
    finished_at: int = 0


@dataclass(frozen=True, slots=True)
class Restarting:
    """It ended and its policy will start it again at any moment."""

    exit_code: int
    started_at: int
    finished_at: int
    error: str = ""
    oom_killed: bool = False


@dataclass(frozen=True, slots=True)
class Exited:
    exit_code: int
    started_at: int
    finished_at: int
    error: str = ""
    oom_killed: bool = False


@dataclass(frozen=True, slots=True)
class Removing:
    exit_code: int = 0
    started_at: int = 0
    finished_at: int = 0
    volumes: bool = False  # its anonymous volumes go as well


@dataclass(frozen=True, slots=True)
class Dead:
    """Removing it failed half-way; `error` says where. Another remove tries again."""

    error: str
    exit_code: int = 0
    started_at: int = 0
    finished_at: int = 0


Status = Created | Running | Paused | Restarting | Exited | Removing | Dead


@dataclass(frozen=True, slots=True)
class Probe:
    """One run of a health check; `exit_code` is -1 when it timed out."""

    start: int
    end: int
    exit_code: int
    output: str


@dataclass(frozen=True, slots=True)
class Health:
    """`status` is starting, healthy or unhealthy; `log` holds the last five probes, oldest first."""

    status: str = "starting"
    failing_streak: int = 0
    log: tuple[Probe, ...] = ()


def status_word(status: Status) -> str:
    """The API's word (`State.Status`)."""
    return type(status).__name__.lower()


def is_running(status: Status) -> bool:
    """What the API calls `State.Running`: true while paused and, as docker has it, while restarting."""
    return isinstance(status, Running | Paused | Restarting)


def process_of(status: Status) -> int:
    """The process id on the host, 0 where there is none."""
    return status.pid if isinstance(status, Running | Paused) else 0


def exit_code_of(status: Status) -> int:
    return 0 if isinstance(status, Running | Paused) else status.exit_code
