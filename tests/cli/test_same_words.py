"""`tiffin` and the stock docker command line, on one daemon: same output, same exit status, same errors.

What differs by purpose: the program's name, and help texts (the flags' names and kinds are compared instead).
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from pathlib import Path

import pytest

from rig import Cli, Engine
from rig.commands import Result
from tiffin.cli import registry
from tiffin.cli.main import load

pytestmark = pytest.mark.root


@pytest.fixture
def both(engine: Engine) -> tuple[Cli, Cli]:
    return engine.cli("docker"), engine.cli("tiffin")


@pytest.fixture(scope="module", autouse=True)
def subjects(engine: Engine) -> Iterator[None]:
    """A running container `same` and a stopped one `ended`, a network and a volume."""
    docker = engine.cli("docker")
    docker("run", "-d", "--name", "same", "-l", "a=b", "-l", "foo=bar", "busybox", "sleep", "10000")
    docker("exec", "same", "ln", "-s", "/nowhere", "/dangling")
    docker("run", "--name", "ended", "busybox", "sh", "-c", "echo out; echo err >&2; exit 3", check=False)
    docker("network", "create", "--driver", "bridge", "samenet", check=False)
    docker("volume", "create", "--label", "x=y", "samevol")
    yield
    docker("rm", "-f", "-v", "same", "ended")
    docker("network", "rm", "samenet", check=False)
    docker("volume", "rm", "samevol")


def named_alike(result: Result) -> tuple[int, str, str]:
    """With the program's name replaced, and what time does to a line."""
    texts = []
    for text in (result.out, result.err):
        text = re.sub(r"\btiffin\b", "docker", text).replace("the Docker daemon", "the docker daemon")
        # docker's archiver may log that nobody reads it any more
        text = re.sub(r'^time=".*\n', "", text, flags=re.MULTILINE)
        # a time that moved on may take more room
        text = re.sub(r"(Up |)(\d+ seconds?|Less than a second|About a minute|\d+ minutes?)( ago|) *", "TIME ", text)
        text = re.sub(r"(CREATED|STATUS) +", r"\1 ", text)
        # told from API 1.51 on, which docker 28.2 does not speak
        texts.append(re.sub(r'"Containers":"\d+"', '"Containers":"N/A"', text))
    return result.rc, texts[0], texts[1]


def facts(text: str) -> list[str]:
    """Lines of `info` without the client's version, words sorted: docker prints the runtimes in any order."""
    return [" ".join(sorted(line.split())) for line in text.splitlines() if not line.startswith(" Version:")]


def same(both: tuple[Cli, Cli], line: str) -> None:
    docker, tiffin = (cli(*shlex.split(line), check=False) for cli in both)
    assert named_alike(tiffin) == named_alike(docker)


LISTS = """
ps -a
ps -aq
ps -a --no-trunc
ps -a --format json
ps -a --format '{{json .}}'
ps -a --format 'table {{.ID}}\\t{{upper .Names}}\\t{{.Label "a"}}'
ps -a --format '{{.Names}}: {{.Labels}} {{.Image}} {{.Networks}}'
ps -a --filter name=same
ps -a --filter status=exited
ps --last 1
images
images -q
images --no-trunc
images --digests
images --format json
images busybox
history busybox
history --no-trunc busybox
network ls
network ls --no-trunc
network ls --format json
volume ls
volume ls --format json
inspect same
inspect same ended
inspect -f '{{.Config.Labels}} {{.State.Status}} {{.HostConfig.NetworkMode}}' same
inspect -f '{{json .Config}}' same
inspect --type container same
image inspect busybox
network inspect samenet
volume inspect samevol
logs ended
logs --tail 1 ended
diff same
port same
system df
info
version --format '{{.Server.Version}}'
ps -aq --format '{{.Names}}'
ps -as --format raw
ps -a --format raw -q
images --digests --format raw
network ls --format raw
volume ls --format raw
system df --format raw
logs --since 0 ended
inspect --size --type image busybox
inspect -f '{{.SizeRw}} {{.State.Health}} {{.HostConfig.Mounts}} {{.HostConfig.Init}} {{.HostConfig.Tmpfs}}' same
inspect -f '{{json .HostConfig.CapAdd}} {{json .HostConfig.GroupAdd}} {{json .HostConfig.SecurityOpt}}' same
inspect -f '{{json .HostConfig.DeviceCgroupRules}}' same
image inspect -f '{{json .Config}} {{.Variant}}|{{.OsVersion}}|{{.Config.User}}|{{.Config.ExposedPorts}}' busybox
cp same:/etc/passwd - --quiet
volume inspect -f '{{json .Status}} {{.UsageData}} {{.Labels}}' samevol
"""


@pytest.mark.parametrize("line", LISTS.strip().splitlines())
def test_what_is_shown_is_the_same(both: tuple[Cli, Cli], line: str) -> None:
    if line == "info":
        # the client's own version differs by purpose
        docker, tiffin = (cli("info", check=False) for cli in both)
        assert facts(tiffin.out) == facts(docker.out)
        return
    same(both, line)


REFUSALS = """
ps --foo
ps x
ps --filter zz
ps --format '{{.Foo}}'
ps --format '{{.ID'
inspect
inspect nosuch
inspect same nosuch
inspect -f '{{.Foo}}' same
inspect -f '{{' same
inspect --type image same
inspect --type zz same
container inspect nosuch
image inspect nosuch
network inspect nosuch
volume inspect nosuch
foo
container foo
--foo
rm
rm nosuch
rm -f nosuch
rm same
start nosuch
stop nosuch
kill nosuch
kill ended
restart nosuch
pause ended
unpause same
wait nosuch
rename same
rename nosuch x
logs nosuch
logs --since x same
attach nosuch
attach ended
exec
exec same
exec nosuch true
exec ended true
exec -it same sh
top nosuch
top ended
port nosuch
port same 81
update same
update --cpus x same
diff nosuch
export nosuch
commit nosuch
cp a b
cp same:/x same:/y
cp same:/nope /tmp
cp same:/etc /nonexist/x
tag nosuch a
tag busybox
rmi nosuch
rmi -f nosuch
save nosuch
load -i /nonexist
network rm nosuch
network create
network create --gateway 1.2.3.4 a
network create --subnet x a
network connect nosuch same
volume rm nosuch
volume rm -f nosuch
run
run --pull foo busybox
run --foo busybox
run -m x busybox
run -p 99999 busybox
run -p x:80 busybox
run --mount foo busybox
run --mount type=bind busybox
run --restart always --rm busybox
run -e =x busybox
run --ulimit foo busybox
run --memory-swappiness 101 busybox
run --device foo busybox
run --security-opt foo busybox
run --security-opt seccomp=/nonexist busybox
run --env-file /nonexist busybox
run --pid foo busybox
run --gpus foo busybox
run --network a --network host busybox
run --no-healthcheck --health-cmd x busybox
run --log-driver none --log-opt a=b busybox
run -d -a stdout busybox
run --name same busybox
run --expose 1:2 busybox
run --mac-address foo busybox
run -it busybox
run Busybox
run --rm busybox nosuch-command
run --rm busybox /etc/passwd
create
create --name same busybox
pull Foo
--context nosuch ps
-H foo:// ps
-H unix:///nonexist.sock ps
-H unix:///nonexist.sock run busybox
--context x -H y ps
context use nosuch
context rm nosuch
context create default
cp
cp /etc/hostname same:
cp /etc/hostname same:/nodir/
cp /etc same:/etc/passwd/
cp -L same:/dangling /tmp
cp same:/etc/passwd /etc/hostname/
start ''
stop ''
logs ''
exec '' true
kill ''
top ''
inspect ''
image inspect ''
network inspect ''
volume inspect ''
network rm ''
network connect none ''
commit ''
tag '' x
tag busybox a/B
tag busybox 'C 3'
commit same 'C 3'
import /etc/hostname UP
rm ''
inspect -f x nosuch
inspect -f '{{.Name}} {{.Nope}}' same
exec -d same nosuch-command
exec --detach-keys foo same true
export -o . same
save -o . busybox
ps --format '{{.Nope}}' --filter name=nobody
ps --format '{{json .Nope}}' --filter name=nobody
network ls --format '{{.Nope}}'
network ls --format '{{'
history --format '{{.Nope}}' busybox
history --format '{{' busybox
volume ls --format '{{'
info --format '{{'
version --format '{{'
events --since 0 --until 1 --format '{{.Nope}}'
run --platform foo busybox
run --platform a/b/c/d busybox
run --platform 'linux/a b' busybox
image inspect --platform foo busybox
history --platform foo busybox
save --platform foo busybox
rmi --platform foo busybox
run --env-file /tmp busybox
run -v :/x busybox
run -v /x: busybox
-l foo ps
login --password-stdin
update --pids-limit 0 same
"""


@pytest.mark.parametrize("line", REFUSALS.strip().splitlines())
def test_what_is_refused_is_refused_in_the_same_words(both: tuple[Cli, Cli], line: str) -> None:
    same(both, line)


RUNS = """
run --rm busybox echo hi
run --rm busybox sh -c 'echo out; echo err >&2; exit 7'
run --rm -e A=b -w /tmp busybox sh -c 'echo $A; pwd'
run --rm --entrypoint echo busybox a b
run --rm -u 1000:1000 busybox id -u
run --rm -h foo busybox hostname
run --rm --read-only busybox touch /x
run --rm --tmpfs /t busybox touch /t/x
run --rm -a stdout busybox sh -c 'echo out; echo err >&2'
run --rm -a stderr busybox sh -c 'echo out; echo err >&2'
run --rm --network none busybox ls /sys/class/net
run --rm --cap-drop ALL busybox grep CapEff /proc/self/status
exec same echo hi
exec same sh -c 'echo out; echo err >&2; exit 4'
exec -e A=b -w /tmp same sh -c 'echo $A; pwd'
exec same nosuch-command
exec -d same true
run --rm --kernel-memory 1m busybox true
run --rm --cap-add net_raw --cap-drop Chown busybox grep CapEff /proc/self/status
run --rm --platform linux busybox echo hi
stop --time 1 ended
"""


@pytest.mark.parametrize("line", RUNS.strip().splitlines())
def test_what_runs_gives_the_same_output_and_status(both: tuple[Cli, Cli], line: str) -> None:
    same(both, line)


def test_files_of_variables_and_profiles_are_read_alike(both: tuple[Cli, Cli], tmp_path: Path) -> None:
    variables, profile = tmp_path / "env", tmp_path / "profile"
    for content in (b"\xff=1\n", b"A=1\r\n# no\n\nB=2", b"=x\n", b"a b=1\n"):
        variables.write_bytes(content)
        same(both, f"run --rm --network none -h x --env-file {variables} busybox env")
    for text in ("{", "", "{}"):
        profile.write_text(text)
        same(both, f"run --rm --network none --security-opt seccomp={profile} busybox true")


def test_capabilities_show_alike(both: tuple[Cli, Cli]) -> None:
    shown = []
    for cli in both:
        flags = ["--cap-add", "net_raw", "--cap-add", "ALL", "--cap-drop", "Chown", "--network", "none"]
        cli("create", "--name", "capable", *flags, "busybox")
        shown.append(cli("inspect", "-f", "{{.HostConfig.CapAdd}} {{.HostConfig.CapDrop}}", "capable").out)
        cli("rm", "capable")
    assert shown[0] == shown[1]


def docker_flags(docker: Cli, path: str) -> dict[str, tuple[str, str]]:
    """`name: (short, kind)` from docker's help, asked without a daemon: an old one would hide some."""
    found = {}
    for line in docker(*path.split(), "--help", env={"DOCKER_HOST": "unix:///nonexistent"}).out.splitlines():
        if match := re.match(r"^  (?:-(\w), |    )--([a-z0-9-]+)(?: (\S+))?(?:   .*)?$", line):
            found[match[2]] = (match[1] or "", match[3] or "")
    found.pop("help", None)
    return found


# docker has no such commands
OWN = (
    *("image bootstrap", "image layers", "registry", "system check"),
    *("volume copy", "volume export", "volume import", "volume rename"),
)
OWN_FLAGS = {("image pull", "referrers")}
COMPARED = [
    path
    for path in registry.COMMANDS
    if path not in registry.HIDDEN and not path.startswith((*OWN, "builder", "completion", "image build"))
]


@pytest.mark.parametrize("path", COMPARED)
def test_the_flags_are_dockers(docker: Cli, path: str) -> None:
    shown = [flag for flag in load(path).flags if not flag.hidden and (path, flag.name) not in OWN_FLAGS]
    flags = {flag.name: (flag.short, flag.kind.name) for flag in shown}
    flags.pop("help", None)
    assert flags == docker_flags(docker, path)
