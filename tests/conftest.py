"""Engines for the tests. `--engine` says which to start; TIFFIN_TEST_PEER=unix:///… names one that runs already."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator

import hypothesis
import pytest

from rig import Cli, Engine, beforehand, eventually
from rig.commands import docker_binary, docker_version
from rig.engine import KINDS, Peer
from rig.leaks import Census

ENGINE = pytest.StashKey[Engine]()

# one run is as the other: the same examples, and no time that an example may take; `--hypothesis-profile=search` draws
# others each time
_any = {"deadline": None, "suppress_health_check": [hypothesis.HealthCheck.too_slow]}
hypothesis.settings.register_profile("search", max_examples=2000, **_any)
hypothesis.settings.register_profile("same", derandomize=True, database=None, **_any)
hypothesis.settings.load_profile("same")


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--engine", choices=KINDS, default="tiffin", help="the engine to start for the api, cli and acceptance tests"
    )
    parser.addoption(
        "--cli", action="append", choices=("docker", "tiffin"), help="the command lines to test; both without"
    )


def pytest_configure() -> None:
    # a run that is told to end takes its engines with it
    signal.signal(signal.SIGTERM, lambda *_: pytest.exit("terminated", returncode=143))
    # a shell starts what runs in its background with SIGINT ignored, and that would be inherited by what is tested
    signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_report_header() -> str:
    try:
        return f"docker command line: {docker_binary()}"
    except RuntimeError as error:
        return str(error)


# these compare with, or use, words and flags that docker's command line has had since 28
SINCE_28 = (
    "cli/test_same_words.py",
    "test_a_command_that_cannot_run_has_a_shells_exit_code",
    "test_events_by_the_command_line",
    "test_info_has_every_field_that_the_command_line_prints",
    "test_unknown_and_malformed_names_are_told",
)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    affected = [item for item in items if any(part in item.nodeid for part in SINCE_28)]
    if affected and (version := docker_version(docker_binary())) < 28:
        for item in affected:
            item.add_marker(
                pytest.mark.skip(reason=f"compares with docker's command line 28; this machine has {version}")
            )


def pytest_collection_finish(session: pytest.Session) -> None:
    """Has what takes minutes to fetch and to make before the time of any test counts."""
    if not session.config.option.collectonly and os.geteuid() == 0:
        beforehand.make(session.items)


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "cli" in metafunc.fixturenames:
        metafunc.parametrize("cli", metafunc.config.getoption("--cli") or ["docker", "tiffin"], indirect=True)


@pytest.fixture(scope="session")
def engine(request: pytest.FixtureRequest) -> Iterator[Engine]:
    """The engine that most tests share, with the busybox image."""
    peer = os.environ.get("TIFFIN_TEST_PEER")
    shared = Peer(peer) if peer else Engine(request.config.getoption("--engine"))
    request.config.stash[ENGINE] = shared
    try:
        shared.load("busybox")
        yield shared
    finally:
        shared.close()
    assert not shared.leftovers, f"left after the daemon's end: {shared.leftovers}"


@pytest.fixture
def start_engine(request: pytest.FixtureRequest) -> Iterator[Callable[..., Engine]]:
    """start_engine("--bip", "10.9.0.1/24") starts an engine of one's own with these options; ended after the test."""
    started: list[Engine] = []

    def start(*options: str, kind: str | None = None, images: tuple[str, ...] = ("busybox",)) -> Engine:
        started.append(Engine(kind or request.config.getoption("--engine"), options=options))
        for image in images:
            started[-1].load(image)
        return started[-1]

    yield start
    for one in started:
        one.close()


@pytest.fixture
def tidy(engine: Engine) -> Iterator[None]:
    """Removes the containers that the test leaves."""
    yield
    engine.clear()


@pytest.fixture
def cli(request: pytest.FixtureRequest, engine: Engine, tidy: None) -> Cli:
    """The docker command line, then tiffin's, on the shared engine."""
    return engine.cli(request.param)


@pytest.fixture
def docker(engine: Engine, tidy: None) -> Cli:
    """The stock docker command line on the shared engine."""
    return engine.cli("docker")


@pytest.fixture
def debian(engine: Engine) -> str:
    """The name of an image with bash, procps and iproute2, loaded."""
    engine.load("debian")
    return "debian"


@pytest.fixture
def python(engine: Engine) -> str:
    """The name of an image whose command is python, loaded."""
    engine.load("python")
    return "python:3.14"


@pytest.fixture
def no_leaks(engine: Engine) -> Iterator[None]:
    """Fails the test where processes, mounts, cgroups, links or the daemon's descriptors remain of what it made."""
    before = Census.of(engine)
    yield
    engine.clear()
    remaining: list[str] = []

    def nothing_remains() -> bool:
        remaining[:] = Census.of(engine).beyond(before)
        return not remaining

    try:
        eventually(nothing_remains, within=60)
    except AssertionError:
        pytest.fail("left behind:\n" + "\n".join(remaining))


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[None]) -> Iterator[None]:
    """Shows what the shared daemon logged during a test that failed."""
    engine = item.config.stash.get(ENGINE, None)
    if call.when == "setup" and engine is not None:
        item.stash[LOG_START] = engine.log.stat().st_size if engine.log.exists() else 0
    report = yield
    if report.failed and engine is not None:
        report.sections.append((f"log of {engine.kind}", engine.log_tail(item.stash.get(LOG_START, 0))))
    return report


LOG_START = pytest.StashKey[int]()
