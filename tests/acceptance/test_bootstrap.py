"""Base images from a real Debian archive, on a machine that has no apt and reaches nothing but a mirror."""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest

from rig import Cli, Engine, eventually
from rig.bootstrapped import SLOW, bare_machine, bootstrap, python
from rig.mirrors import Mirror

pytestmark = [pytest.mark.slow, pytest.mark.timeout(4 * SLOW)]


@pytest.fixture(scope="module")
def machine() -> Iterator[tuple[Engine, Mirror]]:
    with bare_machine() as made:
        yield made


@pytest.fixture(scope="module")
def tiffin(machine: tuple[Engine, Mirror]) -> Cli:
    return machine[0].cli("tiffin")


@pytest.fixture(scope="module")
def mirror(machine: tuple[Engine, Mirror]) -> Mirror:
    return machine[1]


@pytest.fixture(scope="module")
def trixie(tiffin: Cli, mirror: Mirror) -> str:
    """The ID of debian:trixie."""
    return bootstrap(tiffin, mirror, "debian:trixie")


def test_a_shell_at_a_terminal_in_debian_trixie(tiffin: Cli, trixie: str) -> None:
    flags = ["-e", "PS1=<prompt>", "-e", "TERM=dumb"]
    with tiffin.terminal("run", "--rm", "-it", *flags, "debian:trixie", "bash", "--norc") as terminal:
        terminal.expect("<prompt>")
        terminal.send(". /etc/os-release; echo $VERSION_CODENAME-$BASH_VERSION\n")
        assert terminal.expect(r"trixie-5\.\d+\.\d+")
        terminal.send("exit\n")
        assert terminal.wait() == 0


def test_dpkg_and_apt_are_content_with_what_they_find(tiffin: Cli, trixie: str) -> None:
    run = ("run", "--rm", "debian:trixie")
    assert tiffin(*run, "dpkg", "--audit").out == ""
    assert "0 upgraded, 0 newly installed" in tiffin(*run, "apt-get", "--simulate", "--fix-broken", "install").out
    states = tiffin(*run, "dpkg-query", "-W", "-f", "${db:Status-Abbrev}\n").out.split("\n")
    assert {state.strip() for state in states if state} == {"ii"}
    # every file as its package says
    assert tiffin(*run, "dpkg", "--verify").out == ""


def test_apt_in_the_image_trusts_the_same_archive(machine: tuple[Engine, Mirror], tiffin: Cli, trixie: str) -> None:
    words = ["-o", "Acquire::Check-Valid-Until=false", "update"]
    updated = tiffin("run", "--rm", "--network", "host", "debian:trixie", "apt-get", *words, timeout=SLOW)
    assert "Err:" not in updated.out
    assert "W:" not in updated.err


def test_the_same_packages_give_the_same_image_again(tiffin: Cli, mirror: Mirror, trixie: str) -> None:
    mirror.seen.clear()
    assert bootstrap(tiffin, mirror, "debian:trixie", "-t", "again") == trixie
    assert [path for path in mirror.seen if path.endswith(".deb")] == []


def test_busybox_of_debian_is_an_image(tiffin: Cli, mirror: Mirror) -> None:
    bootstrap(tiffin, mirror, "busybox")
    seen = tiffin("run", "--rm", "busybox", "sh", "-c", "busybox | head -1; id -un; wget --help 2>&1 | head -1").out
    assert re.search(r"BusyBox v1\.\d+\.\d+ \(Debian", seen)
    assert "root\n" in seen


def test_the_least_of_an_older_suite(tiffin: Cli, mirror: Mirror) -> None:
    bootstrap(tiffin, mirror, "debian:bookworm", "--variant", "essential", "-t", "least")
    run = ("run", "--rm", "least")
    assert tiffin(*run, "dpkg", "--audit").out == ""
    assert tiffin(*run, "sh", "-c", "command -v apt; readlink /bin /lib").out == "usr/bin\nusr/lib\n"


# PostgreSQL without a registry: its packages, its data in a volume, its name on a network

_SERVER = """\
printf 'local all all trust\\nhost all all all trust\\n' >/tmp/hba
cd /usr/lib/postgresql/*/bin
version=$(basename $(dirname $PWD))
exec ./postgres -D /var/lib/postgresql/$version/main -c config_file=/etc/postgresql/$version/main/postgresql.conf \\
    -c hba_file=/tmp/hba -c listen_addresses='*' -c ssl=off
"""


@pytest.fixture(scope="module")
def postgresql(tiffin: Cli, mirror: Mirror) -> str:
    bootstrap(tiffin, mirror, "debian:trixie", "-t", "postgresql", "--include", "postgresql")
    return "postgresql"


@pytest.fixture
def cli(request: pytest.FixtureRequest, machine: tuple[Engine, Mirror]) -> Cli:
    """docker's command line, then tiffin's, on that machine."""
    return machine[0].cli(request.param)


@pytest.fixture
def network(cli: Cli) -> Iterator[str]:
    cli("network", "create", "dining")
    yield "dining"
    cli("rm", "-f", "-v", "db", check=False)
    cli("network", "rm", "dining")
    cli("volume", "rm", "rows")


def start(cli: Cli, network: str, image: str) -> None:
    """The server, with its data in the volume `rows`; returns when it answers by its name."""
    flags = ["-d", "--name", "db", "--network", network, "-v", "rows:/var/lib/postgresql", "-u", "postgres"]
    cli("run", *flags, image, "sh", "-ec", _SERVER)
    asked = ("run", "--rm", "--network", network, image, "pg_isready", "-h", "db", "-q")
    eventually(lambda: cli(*asked, check=False).rc == 0, within=120, what="PostgreSQL answers", every=0.5)


def query(cli: Cli, network: str, image: str, text: str) -> str:
    """What psql prints, from a container of its own that knows the server by its name."""
    words = ["psql", "-h", "db", "-U", "postgres", "-At", "-c", text]
    return cli("run", "--rm", "--network", network, image, *words).out


def test_postgresql_keeps_its_rows_in_a_volume(cli: Cli, postgresql: str, network: str) -> None:
    start(cli, network, postgresql)
    query(cli, network, postgresql, "CREATE TABLE lunch (dish text, price int)")
    query(cli, network, postgresql, "INSERT INTO lunch SELECT 'dish ' || n, n FROM generate_series(1, 1000) n")
    for end in (("stop", "db"), ("kill", "db")):
        cli(*end)
        cli("rm", "db")
        start(cli, network, postgresql)
        assert query(cli, network, postgresql, "SELECT count(*), sum(price) FROM lunch") == "1000|500500\n"


def test_python_from_debian_is_as_dockers_is(machine: tuple[Engine, Mirror], tiffin: Cli) -> None:
    tiffin("load", "-i", str(python()), timeout=SLOW)
    run = ("run", "--rm", "--network", "none", "python:3.14")
    assert (
        tiffin(*run, "python", "-c", "import sys; print(sys.version_info[:2], sys.prefix)").out
        == "(3, 14) /usr/local\n"
    )
    assert tiffin(*run, "python3", "--version").out.startswith("Python 3.14.")
    for pip in (["pip"], ["pip3"], ["python", "-m", "pip"]):
        assert tiffin(*run, *pip, "--version").out.startswith("pip ")
    assert tiffin("run", "--rm", "-i", "python:3.14", input="print(6 * 7)\n").out == "42\n"
