"""An image is a template; containers are made of it and leave it as it is."""

from __future__ import annotations

import re

from acceptance.conftest import Configured, inspect
from rig import Cli, eventually


def test_images_lists_the_image_and_run_leaves_its_id_as_it_was(cli: Cli) -> None:
    listing = cli("images").out.splitlines()
    assert re.fullmatch(r"REPOSITORY +TAG +IMAGE ID +CREATED +SIZE", listing[0].rstrip())
    assert any(re.match(r"busybox +latest +[0-9a-f]{12} ", line) for line in listing)
    before = cli("images", "-q", "--no-trunc", "busybox").out
    cli("run", "--rm", "busybox", "sh", "-c", "rm /etc/passwd; echo changed > /etc/group")
    assert cli("images", "-q", "--no-trunc", "busybox").out == before
    assert cli("run", "--rm", "busybox", "cat", "/etc/passwd").out.startswith("root:")


def test_an_interpreter_without_stdin_reads_end_of_file_and_ends_with_0(cli: Cli, name: str, python: str) -> None:
    result = cli("run", "--name", name, python)
    assert (result.rc, result.out, result.err) == (0, "", "")
    status = cli("ps", "-a", "--filter", f"name={name}", "--format", "{{.Status}}").line
    assert status.startswith("Exited (0)")


def test_an_interpreter_with_stdin_runs_what_it_is_given(cli: Cli, python: str) -> None:
    assert cli("run", "--rm", "-i", python, input="print(6 * 7)").out == "42\n"


def test_two_containers_of_one_image_share_nothing(cli: Cli, name: str) -> None:
    names = [f"{name}-1", f"{name}-2"]
    for one in names:
        cli("run", "-d", "--name", one, "busybox", "sh", "-c", f"echo {one} > /mine; exec sleep 1000")
    first, second = (inspect(cli, one) for one in names)
    assert first["Id"] != second["Id"]
    assert first["Image"] == second["Image"]
    assert first["State"]["Pid"] != second["State"]["Pid"]
    assert first["Config"]["Hostname"] != second["Config"]["Hostname"]
    addresses = [one["NetworkSettings"]["Networks"]["bridge"]["IPAddress"] for one in (first, second)]
    assert addresses[0] and addresses[1] and addresses[0] != addresses[1]
    for one, document in zip(names, (first, second), strict=True):
        assert cli("exec", one, "hostname").line == document["Config"]["Hostname"] == document["Id"][:12]
        # a file that the other wrote is not here, nor are the other's processes
        eventually(lambda one=one: cli("exec", one, "cat", "/mine", check=False).line == one, what="it has written")  # type: ignore[misc]
        assert cli("exec", one, "sh", "-c", "ps | grep -c '[s]leep 1000'").line == "1"
        assert cli("exec", one, "ip", "-4", "-o", "addr", "show", "eth0").out.count(addresses[names.index(one)]) >= 1


def test_the_images_configuration_drives_the_start(cli: Cli, name: str, configured: Configured) -> None:
    script = 'echo "$0 $* in $(pwd) as $(id -u):$(id -g) with $COLOUR"'
    image = configured(
        Entrypoint=["/bin/sh", "-c", script, "entry"],
        Cmd=["from", "image"],
        Env=["PATH=/bin", "COLOUR=green"],
        WorkingDir="/var/www",
        User="www-data",
    )
    assert cli("run", "--name", name, image).line == "entry from image in /var/www as 33:33 with green"
    assert cli("run", "--rm", image, "my", "own", "words").line == "entry my own words in /var/www as 33:33 with green"
    config = inspect(cli, name)["Config"]
    assert config["Cmd"] == ["from", "image"]
    assert config["Entrypoint"][0] == "/bin/sh"
    assert config["WorkingDir"] == "/var/www"
    assert config["User"] == "www-data"
    assert "COLOUR=green" in config["Env"]
    overridden = cli("run", "--rm", "--entrypoint", "id", "-u", "1234:5678", "-w", "/tmp", image, "-u")
    assert overridden.line == "1234"


def test_an_image_that_is_nowhere_makes_run_fail_with_125(cli: Cli) -> None:
    result = cli("run", "--rm", "localhost:1/no/such-image", check=False)
    assert result.rc == 125
    assert "Unable to find image 'localhost:1/no/such-image:latest' locally" in result.err


def test_a_command_that_is_not_there_gives_127_and_one_that_may_not_run_126(cli: Cli) -> None:
    missing = cli("run", "--rm", "busybox", "no-such-program", check=False)
    assert missing.rc == 127
    assert "executable file not found" in missing.err
    assert cli("run", "--rm", "busybox", "/etc/passwd", check=False).rc == 126
