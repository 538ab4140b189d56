"""What a health check's settings and results mean. Durations in seconds here; the API has nanoseconds."""

from dataclasses import dataclass, replace

from tiffin.model.container import Config
from tiffin.model.container_status import Health, Probe

INTERVAL, TIMEOUT, START_INTERVAL, RETRIES = 30.0, 30.0, 5.0, 3
KEPT = 5
OUTPUT_LIMIT = 4096
_SECOND = 1e9


@dataclass(frozen=True, slots=True)
class Probing:
    command: tuple[str, ...]
    interval: float
    timeout: float
    start_period: float
    start_interval: float
    retries: int


def settings(config: Config) -> Probing | None:
    """None where there is no probe."""
    health = config.healthcheck
    if health is None or not health.test or health.test[0] in ("NONE", ""):
        return None
    kind, *words = health.test
    if kind == "CMD-SHELL":
        command = (*(config.shell or ("/bin/sh", "-c")), *words)
    elif kind == "CMD":
        command = tuple(words)
    else:  # of another kind docker says in its log that it does not know it, and does not probe
        return None
    return Probing(
        command=command,
        interval=health.interval / _SECOND or INTERVAL,
        timeout=health.timeout / _SECOND or TIMEOUT,
        start_period=health.start_period / _SECOND,
        start_interval=health.start_interval / _SECOND or START_INTERVAL,
        retries=health.retries or RETRIES,
    )


def judge(health: Health, probe: Probe, probing: Probing, in_start_period: bool) -> Health:
    """The state after a probe. Failures while it starts do not count, unless it was healthy before."""
    log = (*health.log, probe)[-KEPT:]
    if probe.exit_code == 0:
        return replace(health, status="healthy", failing_streak=0, log=log)
    if in_start_period and health.status == "starting":
        return replace(health, log=log)
    streak = health.failing_streak + 1
    status = "unhealthy" if streak >= probing.retries else health.status
    return replace(health, status=status, failing_streak=streak, log=log)
