"""Names of containers, through the command line: who finds whom, and what the name files say."""

from __future__ import annotations

import subprocess
import sys
import textwrap
from collections.abc import Callable, Iterator

import pytest

from rig import Cli, Engine
from rig.peers import needs_api, tiffins_own

pytestmark = pytest.mark.root

IDLE = ("-d", "--init", "busybox", "sleep", "600")


@pytest.fixture
def net(engine: Engine, docker: Cli, tidy: None) -> Iterator[str]:
    """A network; it is removed with everything on it."""
    docker("network", "create", "--subnet", "10.73.0.0/24", "net")
    yield "net"
    engine.clear()
    docker("network", "rm", "net")


def find(docker: Cli, container: str, name: str) -> str:
    """What a name stands for in a container, "" where it is not known."""
    shown = docker("exec", container, "nslookup", "-type=a", name, check=False)
    return shown.out.rpartition("Address:")[2].strip() if shown.rc == 0 and "Name:" in shown.out else ""


def run(docker: Cli, name: str, *options: str) -> None:
    docker("run", "--name", name, *options, *IDLE)


def test_containers_on_a_user_network_find_each_other(docker: Cli, net: str) -> None:
    run(docker, "web", "--network", net, "--network-alias", "www", "--hostname", "front", "--ip", "10.73.0.80")
    run(docker, "client", "--network", net, "--link", "web:server")
    short = docker("inspect", "-f", "{{.Id}}", "web").line[:12]
    for name in ("web", "WWW", "front", short, "web.net", "server"):
        assert find(docker, "client", name) == "10.73.0.80", name
    assert "name = web.net" in docker("exec", "client", "nslookup", "10.73.0.80").out
    lines = docker("exec", "client", "cat", "/etc/resolv.conf").out.splitlines()  # dockerd 28 adds remarks
    said = [line for line in lines if line and not line.startswith("#")]
    assert (said[0], said[-1]) == ("nameserver 127.0.0.11", "options ndots:0")


def test_default_bridge_knows_no_names(docker: Cli, tidy: None) -> None:
    run(docker, "web")
    run(docker, "client", "--link", "web:server")
    assert "127.0.0.11" not in docker("exec", "client", "cat", "/etc/resolv.conf").out
    address = docker("inspect", "-f", "{{.NetworkSettings.IPAddress}}", "web").line
    assert f"{address}\tserver " in docker("exec", "client", "cat", "/etc/hosts").out


def test_name_follows_a_rename(docker: Cli, net: str) -> None:
    run(docker, "old", "--network", net, "--ip", "10.73.0.80")
    docker("rename", "old", "new")
    assert find(docker, "new", "new") == "10.73.0.80"
    assert find(docker, "new", "old") == ""


def test_files_and_settings_follow_the_networks_of_a_running_container(docker: Cli, net: str) -> None:
    run(docker, "moving", "--hostname", "mover")
    docker("exec", "moving", "sh", "-c", "echo '192.0.2.1\tmine' >> /etc/hosts")
    docker("network", "connect", "--ip", "10.73.0.80", "--alias", "here", net, "moving")
    assert "10.73.0.80\tmover\n" in docker("exec", "moving", "cat", "/etc/hosts").out
    assert find(docker, "moving", "here") == "10.73.0.80"
    assert docker("exec", "moving", "cat", "/proc/sys/net/ipv6/conf/eth1/disable_ipv6").line == "1"
    docker("network", "disconnect", "bridge", "moving")
    assert docker("exec", "moving", "ip", "route", "show", "default").line.startswith("default via 10.73.0.1")
    docker("network", "disconnect", net, "moving")
    hosts = docker("exec", "moving", "cat", "/etc/hosts").out
    assert "mover" not in hosts
    assert "192.0.2.1\tmine\n" in hosts, "what the container wrote itself stays"


def test_resolv_conf_that_the_container_changed_stays(engine: Engine, docker: Cli, net: str) -> None:
    tiffins_own(engine, "dockerd 20.10 writes the file anew")
    run(docker, "own")
    docker("exec", "own", "sh", "-c", "echo nameserver 192.0.2.53 > /etc/resolv.conf")
    docker("network", "connect", net, "own")
    assert docker("exec", "own", "cat", "/etc/resolv.conf").out == "nameserver 192.0.2.53\n"


ASK = textwrap.dedent("""
    import socket, struct
    client = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    client.connect(("127.0.0.11", 53))
    client.send(struct.pack("!6H", 7, 0x100, 1, 0, 0, 0) + b"\\3web\\0" + struct.pack("!HH", 1, 1))
    print("asked", flush=True)
    print(socket.inet_ntoa(client.recv(512)[-4:]))
""")


def test_question_asked_while_the_daemon_is_dead_is_answered(start_engine: Callable[[], Engine]) -> None:
    engine = start_engine(kind="tiffin")  # dockerd takes its containers along
    docker = engine.cli("docker")
    docker("network", "create", "--subnet", "10.73.0.0/24", "net")
    run(docker, "web", "--network", "net", "--ip", "10.73.0.80")
    pid = docker("inspect", "-f", "{{.State.Pid}}", "web").line
    engine.kill()
    command = ["nsenter", f"--net=/proc/{pid}/ns/net", sys.executable, "-c", ASK]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as asking:
        assert asking.stdout is not None
        assert asking.stdout.readline() == "asked\n"
        engine.start()
        assert asking.stdout.readline() == "10.73.0.80\n"


def test_setting_that_does_not_exist_is_refused_and_nothing_stays(engine: Engine, docker: Cli, net: str) -> None:
    needs_api(engine, "1.46", "settings of one endpoint")
    run(docker, "plain")
    option = "com.docker.network.endpoint.sysctls=net.ipv4.conf.IFNAME.no_such_thing=1"
    refused = docker("network", "connect", "--driver-opt", option, net, "plain", check=False)
    assert refused.rc == 1
    assert "no_such_thing" in refused.err
    assert "eth1" not in docker("exec", "plain", "ip", "link").out
    docker("network", "connect", net, "plain")
