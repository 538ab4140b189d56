"""Whether a container that ended is started again, and after how long."""

from dataclasses import dataclass

from tiffin.errors import Invalid
from tiffin.model.container_host import RestartPolicy

FIRST_DELAY = 0.1
LONGEST_DELAY = 60.0
LONG_ENOUGH = 10.0  # seconds up after which the delay begins anew


@dataclass(frozen=True, slots=True)
class Backoff:
    """The delay before the next start, in seconds: 100 ms, doubled each time, at most a minute."""

    delay: float = 0.0

    def after(self, uptime: float) -> "Backoff":
        if self.delay == 0 or uptime >= LONG_ENOUGH:
            return Backoff(FIRST_DELAY)
        return Backoff(min(self.delay * 2, LONGEST_DELAY))


def restarts(policy: RestartPolicy, exit_code: int, stopped_by_hand: bool, failures: int) -> bool:
    """`failures` counts the restarts since the container was last started by hand."""
    if stopped_by_hand:
        return False
    match policy.name:
        case "always" | "unless-stopped":
            return True
        case "on-failure":
            return exit_code != 0 and (not policy.maximum_retry_count or failures < policy.maximum_retry_count)
    return False


def restarts_with_daemon(policy: RestartPolicy, exit_code: int, stopped_by_hand: bool) -> bool:
    """At the daemon's start: `always` even after a stop by hand, as docker documents."""
    match policy.name:
        case "always":
            return True
        case "unless-stopped":
            return not stopped_by_hand
        case "on-failure":
            return exit_code != 0 and not stopped_by_hand
    return False


def check(policy: RestartPolicy, auto_remove: bool) -> RestartPolicy:
    """The policy with its default name. Raises Invalid."""
    name = policy.name or "no"
    count = policy.maximum_retry_count
    if name not in ("no", "always", "unless-stopped", "on-failure"):
        raise Invalid(
            f"invalid restart policy: unknown policy '{name}'; use one of 'no', 'always', 'on-failure', or"
            " 'unless-stopped'"
        )
    if name != "on-failure" and count != 0:
        text = "invalid restart policy: maximum retry count can only be used with 'on-failure'"
        raise Invalid(text + (" and cannot be negative" if count < 0 else ""))
    if count < 0:
        raise Invalid("invalid restart policy: maximum retry count cannot be negative")
    if auto_remove and name != "no":
        raise Invalid("can't create 'AutoRemove' container with restart policy")
    return RestartPolicy(name, count)
