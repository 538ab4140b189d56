"""Restart policies, health, status texts, filters."""

import re

import pytest

from tiffin.containers import health, restart
from tiffin.containers.filters import select
from tiffin.containers.restart import Backoff
from tiffin.containers.signals import signal_number
from tiffin.containers.status_text import status_text
from tiffin.errors import Invalid
from tiffin.model.container import Config, Container, Healthcheck
from tiffin.model.container_host import RestartPolicy
from tiffin.model.container_status import Created, Dead, Exited, Health, Paused, Probe, Restarting, Running
from unit.containers.specimens import container

SECOND = 10**9


def test_the_delay_doubles_to_a_minute_and_begins_anew_after_ten_seconds_up() -> None:
    backoff, delays = Backoff(), []
    for _ in range(12):
        backoff = backoff.after(1.0)
        delays.append(backoff.delay)
    assert delays[:3] == [0.1, 0.2, 0.4]
    assert delays[-1] == 60.0
    assert backoff.after(10.0).delay == 0.1


@pytest.mark.parametrize(
    ("policy", "code", "by_hand", "failures", "expected"),
    [
        (RestartPolicy("no"), 1, False, 0, False),
        (RestartPolicy("always"), 0, False, 100, True),
        (RestartPolicy("always"), 0, True, 0, False),
        (RestartPolicy("unless-stopped"), 0, False, 0, True),
        (RestartPolicy("on-failure"), 0, False, 0, False),
        (RestartPolicy("on-failure"), 1, False, 99, True),
        (RestartPolicy("on-failure", 2), 1, False, 1, True),
        (RestartPolicy("on-failure", 2), 1, False, 2, False),
    ],
)
def test_a_policy_decides_by_exit_code_hand_and_count(
    policy: RestartPolicy, code: int, by_hand: bool, failures: int, expected: bool
) -> None:
    assert restart.restarts(policy, code, by_hand, failures) is expected


def test_always_comes_back_with_the_daemon_even_when_stopped_by_hand() -> None:
    assert restart.restarts_with_daemon(RestartPolicy("always"), 0, True)
    assert not restart.restarts_with_daemon(RestartPolicy("unless-stopped"), 0, True)


@pytest.mark.parametrize(
    ("policy", "auto_remove"),
    [(RestartPolicy("sometimes"), False), (RestartPolicy("always", 3), False), (RestartPolicy("always"), True)],
)
def test_policies_that_make_no_sense_are_refused(policy: RestartPolicy, auto_remove: bool) -> None:
    with pytest.raises(Invalid):
        restart.check(policy, auto_remove)


PROBING = health.Probing(("true",), 30, 30, 10, 5, 3)


def probe(code: int) -> Probe:
    return Probe(1, 2, code, "")


def test_failures_while_it_starts_do_not_count() -> None:
    state = Health()
    for _ in range(5):
        state = health.judge(state, probe(1), PROBING, in_start_period=True)
    assert (state.status, state.failing_streak) == ("starting", 0)


def test_as_many_failures_as_retries_make_it_unhealthy_and_one_success_well() -> None:
    state = health.judge(Health(), probe(0), PROBING, in_start_period=True)
    assert state.status == "healthy"
    states = []
    for _ in range(3):
        state = health.judge(state, probe(-1), PROBING, in_start_period=False)
        states.append(state.status)
    assert states == ["healthy", "healthy", "unhealthy"]
    assert health.judge(state, probe(0), PROBING, in_start_period=False).status == "healthy"


def test_five_probes_are_kept() -> None:
    state = Health()
    for code in range(9):
        state = health.judge(state, probe(code), PROBING, in_start_period=False)
    assert [one.exit_code for one in state.log] == [4, 5, 6, 7, 8]


def test_a_shell_probe_runs_through_the_images_shell() -> None:
    config = Config(healthcheck=Healthcheck(test=("CMD-SHELL", "curl x")), shell=("/bin/ash", "-ec"))
    found = health.settings(config)
    assert found is not None and found.command == ("/bin/ash", "-ec", "curl x")
    assert health.settings(Config(healthcheck=Healthcheck(test=("NONE",)))) is None


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"status": Running(1, 0)}, "Up 3 seconds"),
        ({"status": Running(1, 0), "health": Health("healthy")}, "Up 3 seconds (healthy)"),
        ({"status": Running(1, 0), "health": Health()}, "Up 3 seconds (health: starting)"),
        ({"status": Paused(1, 0)}, "Up 3 seconds (Paused)"),
        ({"status": Exited(2, 0, SECOND)}, "Exited (2) 2 seconds ago"),
        ({"status": Restarting(1, 0, SECOND)}, "Restarting (1) 2 seconds ago"),
        ({"status": Created()}, "Created"),
        ({"status": Dead("x")}, "Dead"),
    ],
)
def test_the_status_column(changes: dict[str, object], text: str) -> None:
    assert status_text(container("web", **changes), 3 * SECOND) == text


def selected(containers: list[Container], **filters: list[str]) -> list[str]:
    named = {one.name: one for one in containers}
    found = select(
        containers,
        {key.replace("_", "-"): values for key, values in filters.items()},
        find=named.__getitem__,
        ancestors=lambda name: frozenset({f"sha256:{name}"}),
        networks=lambda one: frozenset(one.networks),
    )
    return [one.name for one in found]


def test_filters_of_one_key_are_alternatives_and_of_several_all_hold() -> None:
    web = container("web", status=Exited(3, 0, 0), image_id="sha256:a", created=1)
    database = container("db", status=Running(1, 0), health=Health("healthy"), created=2)
    both = [web, database]
    assert selected(both, name=["^/web$"]) == ["web"]
    assert selected(both, name=["b"]) == ["web", "db"]
    assert selected(both, status=["running", "exited"]) == ["web", "db"]
    assert selected(both, exited=["3"]) == ["web"]
    assert selected(both, health=["healthy"]) == ["db"]
    assert selected(both, ancestor=["a"]) == ["web"]
    assert selected(both, label=["a=b", "a"]) == ["web", "db"]
    assert selected(both, label=["a=b", "c"]) == []
    assert selected(both, before=["db"]) == ["web"]
    assert selected(both, since=["web"]) == ["db"]
    assert selected(both, network=["bridge"], status=["running"]) == ["db"]
    assert selected(both, volume=["/data"]) == ["web", "db"]
    assert selected(both, expose=["80-81/tcp"]) == ["web", "db"]
    assert selected(both, publish=["81"]) == []


@pytest.mark.parametrize("filters", [{"bogus": ["x"]}, {"status": ["odd"]}, {"exited": ["x"]}, {"publish": ["a-b"]}])
def test_filters_that_are_not_known_are_refused(filters: dict[str, list[str]]) -> None:
    with pytest.raises(Invalid, match="invalid filter"):
        selected([container("web")], **filters)


@pytest.mark.parametrize(
    ("text", "number"), [("SIGTERM", 15), ("term", 15), ("9", 9), ("RTMIN+3", 37), ("SIGRTMAX-1", 63)]
)
def test_signals_have_names_and_numbers(text: str, number: int) -> None:
    assert signal_number(text) == number


@pytest.mark.parametrize("text", ["", "0", "SIGNOPE", "RTMIN+99", "-9"])
def test_what_is_no_signal_is_refused(text: str) -> None:
    with pytest.raises(Invalid, match=f"invalid signal: {re.escape(text)}"):
        signal_number(text)
