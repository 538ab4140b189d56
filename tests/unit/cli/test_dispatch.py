"""The program as a whole, without a daemon."""

from __future__ import annotations

from pathlib import Path

import pytest

from tiffin.cli import network
from tiffin.cli.main import guarded
from tiffin.errors import Invalid

Output = pytest.CaptureFixture[str]


@pytest.fixture(autouse=True)
def own_configuration(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DOCKER_CONFIG", str(tmp_path))
    for name in ("DOCKER_HOST", "TIFFIN_HOST", "DOCKER_CONTEXT", "DOCKER_TLS_VERIFY"):
        monkeypatch.delenv(name, raising=False)


@pytest.mark.parametrize(
    ("words", "code", "error"),
    [
        (["foo"], 1, "tiffin: unknown command: tiffin foo\n\nRun 'tiffin --help' for more information\n"),
        (
            ["container", "foo"],
            1,
            "tiffin: unknown command: tiffin container foo\n\nUsage:  tiffin container\n\n"
            "Run 'tiffin container --help' for more information\n",
        ),
        (
            ["--foo"],
            125,
            "unknown flag: --foo\n\nUsage:  tiffin [OPTIONS] COMMAND [ARG...]\n\n"
            "Run 'tiffin --help' for more information\n",
        ),
        (
            ["rm"],
            1,
            "tiffin: 'tiffin rm' requires at least 1 argument\n\n"
            "Usage:  tiffin rm [OPTIONS] CONTAINER [CONTAINER...]\n\n"
            "See 'tiffin rm --help' for more information\n",
        ),
        (
            ["container", "remove"],
            1,
            "tiffin: 'tiffin container remove' requires at least 1 argument\n\n"
            "Usage:  tiffin container remove [OPTIONS] CONTAINER [CONTAINER...]\n\n"
            "See 'tiffin container remove --help' for more information\n",
        ),
        (
            ["rename", "x"],
            1,
            "tiffin: 'tiffin rename' requires 2 arguments\n\nUsage:  tiffin rename CONTAINER NEW_NAME\n\n"
            "Run 'tiffin rename --help' for more information\n",
        ),
        (["help", "foo"], 1, "unknown help topic: foo\n"),
        (["--context", "x", "-H", "y", "ps"], 1, "conflicting options: cannot specify both --host and --context\n"),
        (
            ["-H", "unix:///nonexistent/s", "ps"],
            1,
            "Cannot connect to the tiffin daemon at unix:///nonexistent/s. Is the tiffin daemon running?\n",
        ),
        (
            ["-H", "unix:///nonexistent/s", "run", "busybox"],
            125,
            "tiffin: Cannot connect to the tiffin daemon at unix:///nonexistent/s. Is the tiffin daemon running?\n\n"
            "Run 'tiffin run --help' for more information\n",
        ),
    ],
)
def test_mistakes_end_with_dockers_status_and_words(words: list[str], code: int, error: str, capfd: Output) -> None:
    assert guarded(words) == code
    assert capfd.readouterr().err == error


def test_help_lists_commands_and_flags(capfd: Output) -> None:
    assert guarded(["--help"]) == 0
    assert "Management Commands:\n  builder " in capfd.readouterr().out
    assert guarded(["container"]) == 0
    assert "\n  exec        Execute a command" in capfd.readouterr().err
    assert guarded(["container", "--help"]) == 0
    assert "\n  exec        Execute a command" in capfd.readouterr().out
    assert guarded(["help", "stop"]) == 0
    assert capfd.readouterr().out == (
        "Usage:  tiffin stop [OPTIONS] CONTAINER [CONTAINER...]\n\nStop one or more running containers\n\n"
        "Aliases:\n  tiffin container stop, tiffin stop\n\nOptions:\n"
        "  -s, --signal string   Signal to send to the container\n"
        "  -t, --timeout int     Seconds to wait before killing the container\n"
    )


def test_contexts_are_made_used_and_removed(capfd: Output) -> None:
    assert guarded(["context", "create", "far", "--docker", "host=tcp://far:2375", "--description", "there"]) == 0
    assert guarded(["context", "use", "far"]) == 0
    assert capfd.readouterr().out == "far\nfar\n"
    assert guarded(["context", "ls", "--format", "{{.Name}}|{{.DockerEndpoint}}|{{.Current}}"]) == 0
    assert "far|tcp://far:2375|true" in capfd.readouterr().out
    assert guarded(["context", "inspect", "-f", "{{.Endpoints.docker.Host}}"]) == 0
    assert capfd.readouterr().out == "tcp://far:2375\n"
    assert guarded(["context", "rm", "far"]) == 1
    assert "is in use, set -f flag to force remove" in capfd.readouterr().err
    assert guarded(["context", "rm", "-f", "far"]) == 0
    assert guarded(["context", "show"]) == 0
    assert capfd.readouterr().out.endswith("default\n")


def test_a_context_survives_export_and_import(tmp_path: Path, capfd: Output) -> None:
    (tmp_path / "ca").write_text("certificate")
    assert guarded(["context", "create", "one", "--docker", f"host=tcp://far:2376,ca={tmp_path}/ca"]) == 0
    assert guarded(["context", "export", "one", str(tmp_path / "file")]) == 0
    assert (tmp_path / "file").stat().st_mode & 0o777 == 0o600
    assert guarded(["context", "import", "two", str(tmp_path / "file")]) == 0
    capfd.readouterr()
    assert guarded(["context", "inspect", "-f", "{{.Endpoints.docker.Host}} {{.TLSMaterial.docker}}", "two"]) == 0
    assert capfd.readouterr().out == "tcp://far:2376 [ca.pem]\n"


def test_completion_offers_commands_and_flags(capfd: Output) -> None:
    assert guarded(["__complete", "--", "container", "sto"]) == 0
    assert capfd.readouterr().out == "stop\tStop one or more running containers\n"
    assert guarded(["__complete", "--", "run", "--detach-"]) == 0
    assert capfd.readouterr().out.startswith("--detach-keys\t")


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_each_shell_has_a_script(shell: str, capfd: Output) -> None:
    assert guarded(["completion", shell]) == 0
    assert "__complete" in capfd.readouterr().out


def test_a_build_without_a_dockerfile_asks_no_daemon(capfd: Output, tmp_path: Path) -> None:
    assert guarded(["build", "-t", "x", str(tmp_path)]) == 1
    assert "unable to prepare context" in capfd.readouterr().err


def test_address_pools_take_what_they_hold() -> None:
    assert network.address_pools(
        ["10.0.0.0/24", "fd00::/64"], ["10.0.0.128/25"], ["fd00::1", "10.0.0.1"], {"printer": "10.0.0.9"}
    ) == [
        {
            "Subnet": "10.0.0.0/24",
            "IPRange": "10.0.0.128/25",
            "Gateway": "10.0.0.1",
            "AuxiliaryAddresses": {"printer": "10.0.0.9"},
        },
        {"Subnet": "fd00::/64", "Gateway": "fd00::1"},
    ]


@pytest.mark.parametrize(
    ("subnets", "ranges", "gateways", "error"),
    [
        ([], [], ["1.2.3.4"], "every ip-range or gateway must have a corresponding subnet"),
        (["10.0.0.0/24"], [], ["1.2.3.4"], "no matching subnet for gateway 1.2.3.4"),
        (["x"], [], ["1.2.3.4"], "invalid subnet: invalid CIDR address: x"),
        (["10.0.0.0/24", "10.0.0.0/16"], [], [], "multiple overlapping subnet configuration is not supported"),
    ],
)
def test_address_pools_that_contradict_are_refused(
    subnets: list[str], ranges: list[str], gateways: list[str], error: str
) -> None:
    with pytest.raises(Invalid) as caught:
        network.address_pools(subnets, ranges, gateways, {})
    assert str(caught.value) == error
