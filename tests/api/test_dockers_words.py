"""What dockerd 28.5 says to what can't be, word for word; the lines were compared with it."""

from __future__ import annotations

import contextlib
import http.client
import json
import shlex
import socket
from collections.abc import Iterator

import pytest

from rig import Cli, Engine

pytestmark = pytest.mark.root
FAILED = "docker: Error response from daemon: "
SETTINGS = "invalid config for network {}: invalid endpoint settings:\n"
PREDEFINED = (
    "* user specified IP address is supported on user defined networks only\n"
    "* user specified IP address is supported only when connecting to networks with user configured subnets"
)
ALONE = "container cannot be connected to multiple networks with one of the networks in private (none) mode"
NETWORKING = "failed to set up container networking: "


@pytest.fixture(scope="module")
def docker(engine: Engine) -> Iterator[Cli]:
    """With a container `words` that runs and a network `wordsnet` with a subnet."""
    if engine.kind != "tiffin" and engine.suite == "":
        pytest.skip("these are the words of dockerd 28")
    docker = engine.cli("docker")
    docker("run", "-d", "--name", "words", "--network", "none", "busybox", "sleep", "10000")
    docker("network", "create", "--subnet", "10.213.0.0/24", "wordsnet")
    yield docker
    engine.clear()
    docker("network", "rm", "wordsnet")


@pytest.mark.parametrize(
    ("flags", "text"),
    [
        ("--cpuset-cpus foo", "Invalid value foo for cpuset cpus: invalid format: foo"),
        ("--cpuset-cpus 1-0", "Invalid value 1-0 for cpuset cpus: invalid format: 1-0"),
        ("--security-opt systempaths=foo", 'invalid --security-opt 2: "systempaths=foo"'),
        ("--security-opt writable-cgroups=maybe", 'invalid --security-opt 2: "writable-cgroups=maybe"'),
        ("--isolation process", "invalid isolation (process): linux only supports 'default'"),
        ("--storage-opt size=1g", "--storage-opt is supported only for overlay over xfs with 'pquota' mount option"),
        ("--storage-opt foo=bar", "Unknown option foo"),
        ("--log-opt mode=foo", "logger: logging mode not supported: foo"),
        (
            "--log-opt mode=blocking --log-opt max-buffer-size=1m",
            "logger: max-buffer-size option is only supported with 'mode=non-blocking'",
        ),
        (
            "--log-opt mode=non-blocking --log-opt max-buffer-size=x",
            "error parsing option max-buffer-size: invalid size: 'x'",
        ),
        ("--log-driver local --log-opt foo=bar", "unknown log opt 'foo' for log driver local"),
        ("--network container:", "invalid network mode: invalid container format container:<name|id>"),
        ("--network nosuch", f"{NETWORKING}network nosuch not found"),
        ("--network none --ip 1.2.3.4", SETTINGS.format("none") + PREDEFINED),
        ("--network host --ip 1.2.3.4", SETTINGS.format("host") + PREDEFINED),
        ("--ip foo", SETTINGS.format("bridge") + PREDEFINED.replace("\n", "\n* invalid IPv4 address: foo\n")),
        (
            "--network wordsnet --ip 10.1.1.1",
            SETTINGS.format("wordsnet") + "no configured subnet or ip-range contain the IP address 10.1.1.1",
        ),
        ("--network wordsnet --ip 10.213.0.1", f"{NETWORKING}Address already in use"),
        ("--network wordsnet --link-local-ip 1.2.3.4", f"{NETWORKING}invalid link local IP address: 1.2.3.4"),
        ("--network none -v words:/x --tmpfs /x", "Duplicate mount point: /x"),
        ("--volumes-from nosuch", "No such container: nosuch"),
        ("--volumes-from words:foo", "invalid mode: foo"),
        ("--network none --entrypoint ''", "no command specified"),
    ],
)
def test_what_a_run_can_not_be_given_is_refused(docker: Cli, flags: str, text: str) -> None:
    command = ["run", "--rm", *shlex.split(flags), "busybox", *([] if "entrypoint" in flags else ["true"])]
    done = docker(*command, check=False)
    assert (done.rc, done.out) == (125, "")
    assert done.err.startswith(FAILED + text), done.err


@pytest.mark.parametrize(
    ("flags", "text"),
    [
        ("compress=true", "compress cannot be true when max-file is less than 2 or max-size is not set"),
        ("max-size=-5", "invalid size: '-5'"),
        ("max-file=0", "max-file cannot be less than 1"),
    ],
)
def test_log_options_that_mean_nothing_are_refused(docker: Cli, flags: str, text: str) -> None:
    done = docker("run", "--rm", "--network", "none", "--log-opt", flags, "busybox", "true", check=False)
    assert done.rc == 125
    assert text in done.err


@pytest.mark.parametrize(
    ("line", "text"),
    [
        ("kill -s FOO words", "cannot kill container: words: invalid signal: FOO"),
        ("kill -s 99 words", "cannot kill container: words: the linux daemon does not support signal 99"),
        ("stop -s FOO words", "cannot stop container: words: invalid signal: FOO"),
        ("restart -s FOO words", "Cannot restart container words: invalid signal: FOO"),
        ("tag busybox sha256:abc", "refusing to create an ambiguous tag using digest algorithm as name"),
        ("events --since 5 --until 1", "`since` time (5) cannot be after `until` time (1)"),
        ("kill nosuch", "cannot kill container: nosuch: No such container: nosuch"),
        ("rm -l words/x", "No such container: words/x"),
        ("rm -l nosuch", "No such container: nosuch"),
        ("update --cpus 1 --cpu-quota 50000 words", "Conflicting options: Nano CPUs and CPU Quota cannot both be set"),
        ("exec -u nosuch words true", "unable to find user nosuch: no matching entries in passwd file"),
        ("exec -u root:nosuch words true", "unable to find group nosuch: no matching entries in group file"),
        ("exec --detach-keys foo words true", "Invalid escape keys (foo) provided"),
        ("commit -c '' words wordy", "file with no instructions"),
        ("cp words:/etc/passwd/ -", "lstat /etc/passwd/: not a directory"),
        (
            "image inspect --platform linux/arm64 busybox",
            "image with reference busybox was found but its platform (linux/amd64) does not match the specified"
            " platform (linux/arm64)",
        ),
    ],
)
def test_what_can_not_be_done_is_refused(docker: Cli, line: str, text: str) -> None:
    done = docker(*shlex.split(line), check=False)
    assert done.rc == 1
    assert done.err.startswith("Error response from daemon: " + text), done.err


def test_a_quota_is_no_change_of_what_cpus_said(docker: Cli) -> None:
    made = docker("create", "--cpus", "1", "busybox").line
    done = docker("update", "--cpu-quota", "50000", made, check=False)
    option = "CPU Quota cannot be updated as NanoCPUs has already been set"
    assert f"Cannot update container {made}: Conflicting options: {option}" in done.err


def test_an_update_without_a_limit_of_processes_shows_none(docker: Cli) -> None:
    made = docker("create", "--pids-limit", "10", "busybox").line
    docker("update", "--pids-limit", "-1", made)
    assert docker("inspect", "-f", "{{.HostConfig.PidsLimit}}", made).line == "0"


def test_a_mac_address_means_nothing_on_the_hosts_network(docker: Cli) -> None:
    docker("run", "--rm", "--network", "host", "--mac-address", "02:42:ac:11:00:99", "busybox", "true")


def test_a_link_local_address_is_had_besides(docker: Cli) -> None:
    flags = ["--network", "wordsnet", "--link-local-ip", "169.254.7.7"]
    assert "169.254.7.7/16" in docker("run", "--rm", *flags, "busybox", "ip", "-4", "-o", "addr", "show", "eth0").out


def test_a_directory_over_a_file_is_asked_about(docker: Cli) -> None:
    done = docker("run", "--rm", "--network", "none", "-v", "/tmp:/etc/passwd", "busybox", "true", check=False)
    assert "not a directory: Are you trying to mount a directory onto a file (or vice-versa)?" in done.err
    assert done.rc == 125


def test_a_file_is_no_place_to_work_in(docker: Cli) -> None:
    done = docker("exec", "-w", "/etc/passwd", "words", "pwd", check=False)
    assert (done.rc, done.out.rstrip()) == (
        127,
        'OCI runtime exec failed: exec failed: unable to start container process: chdir to cwd ("/etc/passwd") set in'
        " config.json failed: not a directory: Are you trying to mount a directory onto a file (or vice-versa)? Check"
        " if the specified host path exists and is the expected type",
    )


def test_without_a_network_no_port_shows(docker: Cli) -> None:
    made = docker("run", "-d", "--network", "none", "--expose", "81", "-p", "80", "busybox", "sleep", "1000").line
    assert docker("ps", "--no-trunc", "--format", "{{.Ports}}|", "--filter", f"id={made}").line == "|"


def test_no_network_goes_with_none(docker: Cli, engine: Engine) -> None:
    if engine.kind != "tiffin":
        pytest.skip("dockerd looks at networks in any order, and misses it at times")
    done = docker("run", "--rm", "--network", "none", "--network", "bridge", "busybox", "true", check=False)
    assert (done.rc, done.err.startswith(FAILED + NETWORKING + ALONE)) == (125, True)


SHORT = {"Image": "busybox"}


@pytest.mark.parametrize(
    ("path", "body", "status", "text"),
    [
        ("/containers/create", "", 400, "invalid JSON: got EOF while reading request body"),
        ("/containers/create", "{", 400, "invalid JSON: unexpected EOF"),
        ("/containers/create", "{}{}", 400, "unexpected content after JSON"),
        ("/containers/words/exec", "", 400, "No exec command specified"),
        ("/networks/create", "", 400, "invalid name: name is empty"),
        ("/networks/wordsnet/connect", "", 400, 'invalid name or ID supplied: ""'),
        ("/networks/wordsnet/disconnect", "{}", 400, 'invalid name or ID supplied: ""'),
        ("/containers/words/update", "", 200, ""),
        ("/containers/create", {**SHORT, "HostConfig": {"Memory": -1}}, 400, "Minimum memory limit allowed is 6MB"),
        (
            "/containers/create",
            {**SHORT, "HostConfig": {"ExtraHosts": ["x:y"]}},
            400,
            'invalid IP address in add-host: "y"',
        ),
    ],
)
def test_a_body_is_read_as_by_dockerd(
    docker: Cli, engine: Engine, path: str, body: str | dict[str, object], status: int, text: str
) -> None:
    data = body if isinstance(body, str) else json.dumps(body)
    answer = post(engine, path, data, {"Content-Type": "application/json"})
    assert answer[0] == status
    assert answer[1].get("message", "").startswith(text), answer


def test_a_body_without_a_type_is_refused(docker: Cli, engine: Engine) -> None:
    status, answer = post(engine, "/networks/create", '{"Name": "typeless"}', {})
    assert (status, answer["message"][:48]) == (400, "malformed Content-Type header (): mime: no media")


def test_a_signal_for_what_has_ended_does_not_matter(docker: Cli, engine: Engine) -> None:
    made = docker("create", "busybox", "true").line
    assert post(engine, f"/containers/{made}/stop?signal=FOO", "", {})[0] == 304


def post(engine: Engine, path: str, body: str, headers: dict[str, str]) -> tuple[int, dict[str, str]]:
    with contextlib.closing(http.client.HTTPConnection("engine")) as connection:
        connection.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        connection.sock.connect(str(engine.socket))
        connection.request("POST", f"/v1.51{path}", body, headers)
        answer = connection.getresponse()
        text = answer.read()
        return answer.status, json.loads(text) if text.strip() else {}


def test_nothing_is_called_by_its_empty_name(docker: Cli) -> None:
    done = docker("run", "--rm", "--network", "none", "busybox", "", check=False)
    assert 'exec: "": executable file not found in $PATH' in done.err
    assert done.rc == 127


def test_an_archive_that_is_none_says_so(docker: Cli) -> None:
    done = docker("cp", "-", "words:/tmp", input="junk\n", check=False)
    assert done.err.startswith("Error response from daemon: unexpected EOF")
