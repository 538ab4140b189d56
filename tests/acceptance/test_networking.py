"""Containers find each other by name; the host reaches what is published."""

from __future__ import annotations

import json
import uuid
from collections.abc import Callable, Iterator

import pytest

from acceptance.conftest import inspect
from rig import Cli, Engine, eventually


@pytest.fixture
def port() -> int:
    """A port in the engine's network namespace that no other test uses."""
    return 26000 + uuid.uuid4().int % 6000  # below those that the kernel gives away


@pytest.fixture
def network(engine: Engine, tidy: None, name: str) -> Iterator[Callable[..., str]]:
    """network("--internal") is the name of a network; removed afterwards."""
    docker, made = engine.cli("docker"), []

    def make(*flags: str) -> str:
        made.append(f"{name}-net-{len(made)}")
        docker("network", "create", *flags, made[-1])
        return made[-1]

    yield make
    engine.clear()
    for one in made:
        docker("network", "rm", one, check=False)


def serve(cli: Cli, name: str, *flags: str, says: str = "hello") -> None:
    """A web server on port 8000 of a new container."""
    command = f"mkdir /www; echo {says} > /www/index.html; exec httpd -f -p 8000 -h /www"
    cli("run", "-d", "--name", name, *flags, "busybox", "sh", "-c", command)


@pytest.fixture
def client(python: str, cli: Cli, name: str) -> Callable[..., str]:
    """client("--network", "net") is a container that can ask for pages by name: a static busybox resolves none."""

    def start(*flags: str) -> str:
        return cli("run", "-d", "--init", "--name", f"{name}-client", *flags, python, "sleep", "1000").line

    return start


def page(cli: Cli, client: str, url: str, patience: float = 20) -> str:
    """What a container gets from a URL, "" where it gets nothing."""
    ask = f"import urllib.request as r; print(r.urlopen({url!r}, timeout={patience}).read().decode(), end='')"
    return cli("exec", client, "python", "-c", ask, check=False).out


def test_a_published_port_leads_from_the_hosts_to_the_containers(
    cli: Cli, engine: Engine, name: str, port: int
) -> None:
    serve(cli, name, "--publish", f"{port}:8000")
    curl = ["curl", "-s", "-m", "5", f"http://localhost:{port}/"]
    eventually(lambda: engine.run(*curl, check=False) == "hello\n")
    assert engine.run("curl", "-s", "-m", "5", "http://localhost:8000/", check=False) == ""


def test_port_ps_and_inspect_agree(cli: Cli, name: str, port: int) -> None:
    serve(cli, name, "-p", f"127.0.0.1:{port}:8000", "-p", "53/udp", "--expose", "9000")
    ports = inspect(cli, name)["NetworkSettings"]["Ports"]
    assert ports["8000/tcp"] == [{"HostIp": "127.0.0.1", "HostPort": str(port)}]
    assert ports["9000/tcp"] is None
    ephemeral = next(one["HostPort"] for one in ports["53/udp"] if one["HostIp"] == "0.0.0.0")
    assert cli("port", name, "8000/tcp").line == f"127.0.0.1:{port}"
    assert f"53/udp -> 0.0.0.0:{ephemeral}" in cli("port", name).out.splitlines()
    shown = cli("ps", "--filter", f"name={name}", "--no-trunc", "--format", "{{.Ports}}").line.split(", ")
    assert {f"127.0.0.1:{port}->8000/tcp", f"0.0.0.0:{ephemeral}->53/udp", "9000/tcp"} <= set(shown)


def test_containers_on_one_network_connect_by_name_without_publishing(
    cli: Cli, name: str, network: Callable[..., str], client: Callable[..., str]
) -> None:
    net = network()
    serve(cli, f"{name}-web", "--network", net, "--network-alias", "db", "--hostname", "webhost")
    asking = client("--network", net)
    for host in (f"{name}-web", "db", "webhost", f"{name}-web.{net}"):
        eventually(lambda host=host: page(cli, asking, f"http://{host}:8000/") == "hello\n", what=host)  # type: ignore[misc]
    assert inspect(cli, f"{name}-web")["NetworkSettings"]["Ports"] == {}


def test_networks_are_apart_until_they_are_connected(
    cli: Cli, name: str, network: Callable[..., str], client: Callable[..., str]
) -> None:
    one, other = network(), network()
    serve(cli, f"{name}-web", "--network", one)
    asking = client("--network", other)
    address = inspect(cli, f"{name}-web")["NetworkSettings"]["Networks"][one]["IPAddress"]
    assert page(cli, asking, f"http://{address}:8000/", patience=1) == ""
    cli("network", "connect", "--alias", "late", other, f"{name}-web")
    eventually(lambda: page(cli, asking, "http://late:8000/") == "hello\n")
    address = inspect(cli, f"{name}-web")["NetworkSettings"]["Networks"][other]["IPAddress"]
    cli("network", "disconnect", other, f"{name}-web")
    assert page(cli, asking, f"http://{address}:8000/", patience=1) == ""


def test_a_network_in_use_is_not_removed_and_inspect_shows_by_whom(
    cli: Cli, name: str, network: Callable[..., str]
) -> None:
    net = network()
    identity = cli("run", "-d", "--name", name, "--network", net, "busybox", "sleep", "1000").line
    refused = cli("network", "rm", net, check=False)
    assert refused.rc == 1
    assert "has active endpoints" in refused.err
    (shown,) = json.loads(cli("network", "inspect", net).out)
    assert shown["Containers"][identity]["Name"] == name
    cli("rm", "-f", name)
    assert cli("network", "rm", net).out == f"{net}\n"


def test_the_default_bridge_links(cli: Cli, name: str, client: Callable[..., str]) -> None:
    serve(cli, f"{name}-web", "--expose", "8000")
    asking = client("--link", f"{name}-web:web")
    eventually(lambda: page(cli, asking, "http://web:8000/") == "hello\n")
    variables = cli("exec", asking, "env").out.splitlines()
    address = inspect(cli, f"{name}-web")["NetworkSettings"]["Networks"]["bridge"]["IPAddress"]
    assert f"WEB_PORT_8000_TCP=tcp://{address}:8000" in variables
    cli("stop", "-t", "0", f"{name}-web")
    serve(cli, f"{name}-2")
    cli("start", f"{name}-web")
    moved = inspect(cli, f"{name}-web")["NetworkSettings"]["Networks"]["bridge"]["IPAddress"]
    assert moved != address
    eventually(lambda: page(cli, asking, "http://web:8000/") == "hello\n", what="the link at its new address")
