"""Data outlives containers."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from rig import Cli, Engine

DATA = "/var/lib/postgresql/data"


@pytest.fixture
def database(engine: Engine, tidy: None, name: str) -> Iterator[str]:
    """The name of an image with files of their own owners at DATA, as a database's image has."""
    docker, image = engine.cli("docker"), f"{name}-image"
    fill = f"mkdir -p {DATA}/base; cd {DATA}; echo 14 > VERSION; chown -R 70:71 .; chmod 700 .; chmod 4750 base"
    docker("run", "--name", f"{name}-made", "busybox", "sh", "-c", fill)
    docker("commit", "--change", f'VOLUME ["{DATA}"]', "--change", 'CMD ["true"]', f"{name}-made", image)
    docker("rm", f"{name}-made")
    yield image
    engine.clear()
    docker("rmi", "-f", image, check=False)


@pytest.fixture
def volume(engine: Engine, tidy: None, name: str) -> Iterator[str]:
    """A volume's name; it is removed afterwards."""
    yield f"{name}-data"
    engine.clear()
    engine.cli("docker")("volume", "rm", "-f", f"{name}-data")


def names(cli: Cli) -> set[str]:
    return set(cli("volume", "ls", "-q").out.split())


def test_a_volume_is_made_with_the_images_content_and_owners(cli: Cli, database: str, volume: str) -> None:
    shown = cli(
        "run", "--rm", "--volume", f"{volume}:{DATA}", database, "stat", "-c", "%u:%g %a %n", DATA, f"{DATA}/base"
    )
    assert shown.out.splitlines() == [f"70:71 700 {DATA}", f"70:71 4750 {DATA}/base"]
    assert volume in names(cli)
    mountpoint = Path(cli("volume", "inspect", "-f", "{{.Mountpoint}}", volume).line)
    assert (mountpoint / "VERSION").read_text() == "14\n"
    assert (mountpoint / "VERSION").stat().st_uid == 70


def test_a_volume_that_has_files_keeps_them(cli: Cli, database: str, volume: str) -> None:
    cli("run", "--rm", "-v", f"{volume}:/x", "busybox", "sh", "-c", "echo mine > /x/mine")
    assert cli("run", "--rm", "-v", f"{volume}:{DATA}", database, "ls", DATA).out == "mine\n"
    assert cli("run", "--rm", "-v", f"{volume}-2:{DATA}:nocopy", database, "ls", DATA).out == ""
    cli("volume", "rm", f"{volume}-2")


def test_a_replacement_sees_the_rows_of_a_volume_only(cli: Cli, database: str, volume: str, name: str) -> None:
    write = ["sh", "-c", f"echo row >> {DATA}/rows; exec sleep 1000"]
    cli("run", "-d", "--name", name, "-v", f"{volume}:{DATA}", database, *write)
    cli("stop", "-t", "0", name)
    cli("rm", name)
    assert volume in names(cli)
    assert cli("run", "--rm", "-v", f"{volume}:{DATA}", database, "cat", f"{DATA}/rows").out == "row\n"

    cli("run", "--name", name, "busybox", "sh", "-c", "echo row >> /rows")
    cli("rm", name)
    assert cli("run", "--rm", "busybox", "cat", "/rows", check=False).rc == 1


def test_removing_a_container_takes_its_anonymous_volumes_only(cli: Cli, database: str, volume: str, name: str) -> None:
    def anonymous() -> str:
        (found,) = cli(
            "inspect", "-f", '{{range .Mounts}}{{if ne .Destination "/named"}}{{.Name}} {{end}}{{end}}', name
        ).out.split()
        return found

    cli("create", "--name", name, "-v", f"{volume}:/named", database)
    nameless = anonymous()
    assert nameless in names(cli)
    cli("rm", name)
    assert nameless in names(cli), "rm alone leaves even those"
    cli("volume", "rm", nameless)

    cli("create", "--name", name, "-v", f"{volume}:/named", database)
    nameless = anonymous()
    cli("rm", "-v", name)
    assert nameless not in names(cli)
    assert volume in names(cli)

    before = names(cli)
    cli("run", "--rm", "-v", f"{volume}:/named", database)
    assert names(cli) == before


def test_a_volume_in_use_is_not_removed(cli: Cli, volume: str, name: str) -> None:
    identity = cli("create", "--name", name, "-v", f"{volume}:/x", "busybox").line
    refused = cli("volume", "rm", volume, check=False)
    assert refused.rc == 1
    assert f"remove {volume}: volume is in use - [{identity}]" in refused.err
    cli("rm", name)
    assert cli("volume", "rm", volume).out == f"{volume}\n"


def test_containers_share_volumes(cli: Cli, volume: str, name: str) -> None:
    cli("run", "--name", name, "-v", f"{volume}:/x", "busybox", "sh", "-c", "echo shared > /x/file")
    assert cli("run", "--rm", "--volumes-from", f"{name}:ro", "busybox", "cat", "/x/file").out == "shared\n"
    refused = cli("run", "--rm", "--volumes-from", f"{name}:ro", "busybox", "touch", "/x/other", check=False)
    assert "Read-only file system" in refused.err
