"""The STATUS column: `Up 3 seconds (healthy)`, `Exited (0) 2 minutes ago`."""

from tiffin.model.container import Container
from tiffin.model.container_status import Created, Dead, Exited, Paused, Removing, Restarting, Running


def human_duration(seconds: float) -> str:
    """As docker rounds: whole units, minutes from 60 s, hours from 46 min, days from 36 h …"""
    whole = int(seconds)
    if whole < 1:
        return "Less than a second"
    if whole == 1:
        return "1 second"
    if whole < 60:
        return f"{whole} seconds"
    minutes = int(seconds / 60)
    if minutes == 1:
        return "About a minute"
    if minutes < 60:
        return f"{minutes} minutes"
    hours = int(seconds / 3600 + 0.5)
    if hours == 1:
        return "About an hour"
    if hours < 48:
        return f"{hours} hours"
    if hours < 24 * 7 * 2:
        return f"{hours // 24} days"
    if hours < 24 * 30 * 2:
        return f"{hours // 24 // 7} weeks"
    if hours < 24 * 365 * 2:
        return f"{hours // 24 // 30} months"
    return f"{int(seconds / 3600 / 24 / 365)} years"


def status_text(container: Container, now: int) -> str:
    """`now` in nanoseconds since the epoch."""

    def since(moment: int) -> str:
        return human_duration((now - moment) / 1e9)

    match container.status:
        case Running(started_at=started):
            health = f" ({_health(container)})" if container.health else ""
            return f"Up {since(started)}{health}"
        case Paused(started_at=started):
            return f"Up {since(started)} (Paused)"
        case Restarting(exit_code=code, finished_at=finished):
            return f"Restarting ({code}) {since(finished)} ago"
        case Exited(exit_code=code, finished_at=finished):
            return f"Exited ({code}) {since(finished)} ago"
        case Removing():
            return "Removal In Progress"
        case Dead():
            return "Dead"
        case Created():
            return "Created"


def _health(container: Container) -> str:
    assert container.health
    return "health: starting" if container.health.status == "starting" else container.health.status
