"""Command lines are read as docker reads them."""

from __future__ import annotations

import pytest

from tiffin.cli import create, flags
from tiffin.cli.flags import UsageError
from tiffin.cli.run import COMMANDS

RUN = COMMANDS["container run"]


def read(*words: str) -> tuple[flags.Values, list[str]]:
    return flags.parse(RUN.flags, list(words), interspersed=False)


def test_flags_end_at_the_image() -> None:
    values, rest = read("--rm", "-it", "busybox", "ls", "--rm", "-x")
    assert values.on("rm") and values.on("tty") and values.on("interactive")
    assert rest == ["busybox", "ls", "--rm", "-x"]


@pytest.mark.parametrize(
    ("words", "name", "value"),
    [
        (["--name=a"], "name", "a"),
        (["--name", "a"], "name", "a"),
        (["-ubob"], "user", "bob"),
        (["-u=bob"], "user", "bob"),
        (["-itu", "bob"], "user", "bob"),
        (["--rm=false"], "rm", False),
        (["--sig-proxy=0"], "sig-proxy", False),
        (["-m", "512m"], "memory", 512 << 20),
        (["-m", "1.5g"], "memory", 3 << 29),
        (["-m", "1kib"], "memory", 1024),
        (["--memory-swap", "-1"], "memory-swap", -1),
        (["--cpus", "1.5"], "cpus", 1_500_000_000),
        (["--cpus", "1/4"], "cpus", 250_000_000),
        (["--cpus", ".5"], "cpus", 500_000_000),
        (["--health-interval", "1m30s"], "health-interval", 90 * 10**9),
        (["--health-interval", "1.5h"], "health-interval", 5400 * 10**9),
        (["--stop-timeout", "-1"], "stop-timeout", -1),
        (["-e", "A=b", "-e", "C=d"], "env", ["A=b", "C=d"]),
        (["-a", "STDOUT"], "attach", ["stdout"]),
        (["--pids-limit", "0x10"], "pids-limit", 16),
        (["--add-host", "a=[::1]"], "add-host", ["a:::1"]),
        (["--add-host", "a:host-gateway"], "add-host", ["a:host-gateway"]),
        (["--ulimit", "nofile=5:6"], "ulimit", {"nofile": {"Name": "nofile", "Soft": 5, "Hard": 6}}),
        (["--device-read-bps", "/dev/a:1mb"], "device-read-bps", [{"Path": "/dev/a", "Rate": 1 << 20}]),
    ],
)
def test_values_are_understood(words: list[str], name: str, value: object) -> None:
    assert read(*words, "image")[0].get(name) == value


@pytest.mark.parametrize(
    ("words", "error"),
    [
        (["--foo"], "unknown flag: --foo"),
        (["--nam", "x"], "unknown flag: --nam"),
        (["-Q"], "unknown shorthand flag: 'Q' in -Q"),
        (["-itQx"], "unknown shorthand flag: 'Q' in -Qx"),
        (["--name"], "flag needs an argument: --name"),
        (["-ie"], "flag needs an argument: 'e' in -e"),
        (["--=x"], "bad flag syntax: --=x"),
        (["-m", "x"], "invalid argument \"x\" for \"-m, --memory\" flag: invalid size: 'x'"),
        (["--rm=x"], 'invalid argument "x" for "--rm" flag: strconv.ParseBool: parsing "x": invalid syntax'),
        (["--cpus", "x"], 'invalid argument "x" for "--cpus" flag: failed to parse x as a rational number'),
        (["--cpus", "0.0000000001"], 'invalid argument "0.0000000001" for "--cpus" flag: value is too precise'),
        (["--health-interval", "x"], 'invalid argument "x" for "--health-interval" flag: time: invalid duration "x"'),
        (["--oom-score-adj", "x"], 'invalid argument "x" for "--oom-score-adj" flag: strconv.ParseInt: parsing "x": '
         "invalid syntax"),
        (["--blkio-weight", "99999"], 'invalid argument "99999" for "--blkio-weight" flag: strconv.ParseUint: '
         'parsing "99999": value out of range'),
        (["-a", "x"], 'invalid argument "x" for "-a, --attach" flag: valid streams are STDIN, STDOUT and STDERR'),
        (["-e", "=x"], 'invalid argument "=x" for "-e, --env" flag: invalid environment variable: =x'),
        (["--ulimit", "x=1"], 'invalid argument "x=1" for "--ulimit" flag: invalid ulimit type: x'),
        (["--mount", "type=bind"], 'invalid argument "type=bind" for "--mount" flag: target is required'),
        (["--dns", "x"], 'invalid argument "x" for "--dns" flag: IP address is not correctly formatted: x'),
        (["--sysctl", "a=1"], "invalid argument \"a=1\" for \"--sysctl\" flag: sysctl 'a=1' is not allowed"),
    ],
)  # fmt: skip
def test_mistakes_are_refused_in_dockers_words(words: list[str], error: str) -> None:
    with pytest.raises(UsageError) as caught:
        read(*words)
    assert str(caught.value) == error


def test_an_unknown_flag_behind_help_is_still_a_mistake() -> None:
    with pytest.raises(UsageError):
        read("--help", "--foo")
    with pytest.raises(flags.HelpWanted):
        read("--help", "image")


def body(*words: str) -> dict[str, object]:
    values, rest = read(*words)
    return create.body(values, rest[0], rest[1:])


def test_the_body_says_what_the_flags_say(tmp_path: object) -> None:
    made = body(
        "-d", "-e", "A=b", "-p", "8080:80", "-v", "/a:/b:ro", "-v", "/anonymous", "--entrypoint=", "img", "x", "y"
    )
    host = made["HostConfig"]
    assert isinstance(host, dict)
    assert made["Env"] == ["A=b"] and made["Cmd"] == ["x", "y"] and made["Entrypoint"] == [""]
    assert made["Volumes"] == {"/anonymous": {}} and host["Binds"] == ["/a:/b:ro"]
    assert made["ExposedPorts"] == {"80/tcp": {}}
    assert host["PortBindings"] == {"80/tcp": [{"HostIp": "", "HostPort": "8080"}]}


def test_the_first_network_takes_the_older_flags() -> None:
    made = body("--network", "name=n,alias=a", "--ip", "10.0.0.2", "--network", "m", "img")
    assert made["NetworkingConfig"] == {
        "EndpointsConfig": {"n": {"IPAMConfig": {"IPv4Address": "10.0.0.2"}, "Aliases": ["a"]}, "m": {}}
    }
