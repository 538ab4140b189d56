"""The STATUS column: `Up 3 seconds (healthy)`, `Exited (0) 2 minutes ago`."""

from tiffin.model.container import Container
from tiffin.model.container_status import Created, Dead, Exited, Paused, Removing, Restarting, Running
from tiffin.model.duration import in_words


def status_text(container: Container, now: int) -> str:
    """`now` in nanoseconds since the epoch."""

    def since(moment: int) -> str:
        return in_words((now - moment) / 1e9)

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
