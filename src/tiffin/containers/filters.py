"""Which containers a list or a prune means (`filters` of the API: key → values)."""

import re
from collections.abc import Callable, Mapping, Sequence

from tiffin.errors import Invalid
from tiffin.model.container import Container
from tiffin.model.container_status import Exited, exit_code_of, is_running, status_word

Filters = Mapping[str, Sequence[str]]

ACCEPTED = frozenset(
    [
        "ancestor",
        "before",
        "exited",
        "expose",
        "health",
        "id",
        "is-task",
        "isolation",
        "label",
        "label!",
        "name",
        "network",
        "publish",
        "since",
        "status",
        "volume",
        "until",
    ]
)
_STATES = ("created", "running", "paused", "restarting", "removing", "exited", "dead")
_HEALTHS = ("none", "starting", "healthy", "unhealthy")


def label_matches(wanted: str, labels: Mapping[str, str]) -> bool:
    """`key` or `key=value`."""
    key, equals, value = wanted.partition("=")
    return key in labels and (not equals or labels[key] == value)


def select(
    containers: Sequence[Container],
    filters: Filters,
    *,
    find: Callable[[str], Container],
    ancestors: Callable[[str], frozenset[str]],
    networks: Callable[[Container], frozenset[str]],
) -> list[Container]:
    """Those that match every key, and of a key any value (of `label` every one), in the order given.

    `find` resolves `before` and `since`; `ancestors` gives the ids of an image and of those made from it; `networks`
    the names and ids of the networks that a container is on. Raises Invalid for unknown keys and values, and what
    `find` raises.
    """
    unknown = set(filters) - ACCEPTED
    if unknown:
        raise Invalid(f"invalid filter '{min(unknown)}'")
    tests = [_test(key, list(values), find, ancestors, networks) for key, values in filters.items() if values]
    if not tests:
        return list(containers)
    return [container for container in containers if all(test(container) for test in tests)]


Test = Callable[[Container], bool]


def _test(
    key: str,
    values: list[str],
    find: Callable[[str], Container],
    ancestors: Callable[[str], frozenset[str]],
    networks: Callable[[Container], frozenset[str]],
) -> Test:
    match key:
        case "id":
            return lambda c: any(c.id.startswith(value) for value in values)
        case "name":
            patterns = [_pattern(value) for value in values]
            return lambda c: any(p.search("/" + c.name) or p.search(c.name) for p in patterns)
        case "label":
            return lambda c: all(label_matches(value, c.config.labels or {}) for value in values)
        case "label!":
            return lambda c: not any(label_matches(value, c.config.labels or {}) for value in values)
        case "status":
            for value in values:
                if value not in _STATES:
                    raise Invalid(_one_of("status", value, "state", _STATES))
            return lambda c: status_word(c.status) in values
        case "exited":
            codes = {_number(key, value) for value in values}
            return lambda c: isinstance(c.status, Exited) and exit_code_of(c.status) in codes
        case "health":
            for value in values:
                if value not in _HEALTHS:
                    raise Invalid(_one_of("health", value, "health", _HEALTHS))
            return lambda c: (c.health.status if c.health else "none") in values
        case "ancestor":
            wanted = frozenset[str]().union(*(ancestors(value) for value in values))
            return lambda c: c.image_id in wanted
        case "before":
            moment = min(find(value).created for value in values)
            return lambda c: c.created < moment
        case "since":
            moment = max(find(value).created for value in values)
            return lambda c: c.created > moment
        case "network":
            return lambda c: (
                bool(networks(c).intersection(values))
                or any(len(value) > 11 and name.startswith(value) for value in values for name in networks(c))
            )
        case "volume":
            return lambda c: any(value in (m.name, m.source, m.destination) for m in c.mounts for value in values)
        case "publish" | "expose":
            ports = frozenset[str]().union(*(_ports(key, value) for value in values))
            return lambda c: bool(ports & set(_published(c) if key == "publish" else c.config.exposed_ports or {}))
        case "is-task":
            tasks = _true(key, values)
            return lambda c: not tasks
        case "isolation":
            return lambda c: (c.host.isolation or "default") in values
    return lambda c: True  # until is the prune's business


def _one_of(key: str, value: str, what: str, known: Sequence[str]) -> str:
    """docker's words for a value that is none of those it may be."""
    return f"invalid filter '{key}={value}': invalid value for {what} ({value}): must be one of {', '.join(known)}"


def _published(container: Container) -> list[str]:
    return (
        list(container.host.port_bindings or {}) if is_running(container.status) or container.host.port_bindings else []
    )


def _pattern(value: str) -> re.Pattern[str]:
    try:
        return re.compile(value)
    except re.error:
        return re.compile(re.escape(value))


def _number(key: str, value: str) -> int:
    try:
        return int(value)
    except ValueError:
        raise Invalid(f"invalid filter '{key}={value}'") from None


def _true(key: str, values: list[str]) -> bool:
    meanings = {value.lower() in ("1", "t", "true") for value in values}
    if len(meanings) != 1 or any(value.lower() not in ("0", "f", "false", "1", "t", "true") for value in values):
        raise Invalid(f"invalid filter '{key}=[{' '.join(values)}]'")
    return meanings.pop()


def _ports(key: str, value: str) -> frozenset[str]:
    """`80`, `80/udp`, `8000-8010/tcp` as the API's port names."""
    numbers, _, protocol = value.partition("/")
    first, _, last = numbers.partition("-")
    try:
        span = range(int(first), int(last or first) + 1)
    except ValueError:
        raise Invalid(f"invalid filter '{key}={value}'") from None
    if len(span) > 65536:
        raise Invalid(f"invalid filter '{key}={value}'")
    return frozenset(f"{port}/{protocol or 'tcp'}" for port in span)
