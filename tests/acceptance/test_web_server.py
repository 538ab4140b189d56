"""A second session: a server in the background, with a published port."""

from __future__ import annotations

import re
import uuid

import pytest

from rig import Cli, Engine, eventually

SERVER = ["python", "-m", "http.server", "8000"]


@pytest.fixture
def port() -> int:
    """A port in the engine's network namespace that no other test uses."""
    return 20000 + uuid.uuid4().int % 6000  # below those that the kernel gives away


def page(engine: Engine, port: int) -> str:
    """What curl gets from the published port, or nothing yet."""
    return engine.run("curl", "-s", "-m", "5", f"http://127.0.0.1:{port}/", check=False)


def serve(cli: Cli, engine: Engine, name: str, port: int, image: str) -> str:
    identity = cli("run", "--detach", "--name", name, "--publish", f"{port}:8000", image, *SERVER).line
    eventually(lambda: "Directory listing" in page(engine, port), what="the page")
    return identity


def test_a_detached_server_prints_its_id_and_the_page_loads(
    cli: Cli, engine: Engine, name: str, port: int, python: str
) -> None:
    identity = serve(cli, engine, name, port, python)
    assert re.fullmatch("[0-9a-f]{64}", identity)
    header, row = cli("ps", "--filter", f"name={name}").out.splitlines()
    assert header.split("  ")[0] == "CONTAINER ID"
    assert re.fullmatch(r"CONTAINER ID +IMAGE +COMMAND +CREATED +STATUS +PORTS +NAMES", header.rstrip())
    assert row.startswith(f"{identity[:12]}   {python} ")
    assert '"python -m http.serv…"' in row
    assert f"0.0.0.0:{port}->8000/tcp" in row
    assert row.endswith(name)
    assert f"0.0.0.0:{port}" in cli("port", name, "8000").out.splitlines()
    assert '"GET / HTTP/1.1" 200' in eventually(lambda: cli("logs", name).err)


def test_a_name_and_a_port_are_given_once(cli: Cli, engine: Engine, name: str, port: int, python: str) -> None:
    identity = serve(cli, engine, name, port, python)
    again = cli("run", "-d", "--name", name, "-p", f"{port}:8000", python, *SERVER, check=False)
    assert again.rc == 125
    assert f'The container name "/{name}" is already in use by container "{identity}"' in again.err
    other = cli("run", "-d", "--name", f"{name}-2", "-p", f"{port}:8000", python, *SERVER, check=False)
    assert other.rc == 125
    # the port is asked for on 0.0.0.0 and ::, and dockerd 28 names either
    assert re.search(rf"Bind for (0\.0\.0\.0|::):{port} failed: port is already allocated", other.err)
    cli("rm", "-f", name)
    serve(cli, engine, f"{name}-3", port, python)


def test_a_port_that_a_process_of_the_host_holds_is_a_clear_error(
    cli: Cli, engine: Engine, name: str, port: int, python: str
) -> None:
    import subprocess

    holder = subprocess.Popen(engine.inside(["python3", "-m", "http.server", str(port)]), stderr=subprocess.DEVNULL)
    try:
        eventually(lambda: "Directory listing" in page(engine, port))
        refused = cli("run", "-d", "--name", name, "-p", f"{port}:8000", python, *SERVER, check=False)
        assert refused.rc == 125
        assert "address already in use" in refused.err
    finally:
        holder.kill()
        holder.wait()


def test_a_shell_beside_the_server_sees_it_as_pid_1_and_its_socket(
    cli: Cli, engine: Engine, name: str, port: int, python: str
) -> None:
    serve(cli, engine, name, port, python)
    with cli.terminal("exec", "--interactive", "--tty", "-e", "TERM=dumb", name, "bash", "--norc") as terminal:
        terminal.expect("# ")
        terminal.send("cat /proc/1/comm; ss -lnt; ps -o pid= -p $$ | tr -d ' '\n")
        terminal.expect(r"^python3?\r\n")
        terminal.expect(r"LISTEN.*:8000")
        assert int(terminal.expect(r"^(\d+)\r\n")[1]) > 1
        terminal.send("exit\n")
        assert terminal.wait() == 0
    assert cli("ps", "--filter", f"name={name}", "--format", "{{.State}}").line == "running"


def test_stop_and_rm_print_the_name(cli: Cli, engine: Engine, name: str, port: int, python: str) -> None:
    serve(cli, engine, name, port, python)
    assert cli("stop", "-t", "0", name).out == f"{name}\n"
    assert page(engine, port) == ""
    assert cli("rm", name).out == f"{name}\n"


def test_an_unpublished_port_refuses_on_the_hosts_loopback(
    cli: Cli, engine: Engine, name: str, port: int, python: str
) -> None:
    cli("run", "-d", "--name", name, "--expose", str(port), python, "python", "-m", "http.server", str(port))
    address = cli("inspect", "-f", "{{.NetworkSettings.Networks.bridge.IPAddress}}", name).line
    eventually(lambda: engine.run("curl", "-s", "-m", "5", f"http://{address}:{port}/", check=False))
    assert page(engine, port) == ""
