"""The daemon's own life: what it holds, what survives it, how it is told to change."""

from __future__ import annotations

import json
import os
import signal
import ssl
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import docker
import pytest

from rig import Engine, eventually
from rig.peers import tiffins_own

pytestmark = pytest.mark.root
Start = Callable[..., Engine]


def only_tiffin(engine: Engine) -> None:
    tiffins_own(engine, "about tiffin's own ways")


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_containers_and_their_output_survive_the_daemon(start_engine: Start, number: int) -> None:
    engine = start_engine()
    only_tiffin(engine)
    cli = engine.cli()
    cli("run", "-d", "--name", "lasting", "busybox", "sh", "-c", "while :; do echo tick; sleep 0.05; done")
    cli("run", "-d", "--name", "ending", "busybox", "sh", "-c", "while [ ! -e /end ]; do sleep 0.05; done; exit 7")
    pid = cli("inspect", "-f", "{{.State.Pid}}", "lasting").out.strip()
    cli("exec", "-d", "ending", "sh", "-c", "sleep 0.5; touch /end")
    engine.stop(number)
    assert Path(f"/proc/{pid}").exists()
    engine.start()
    assert cli("inspect", "-f", "{{.State.Pid}} {{.State.Status}}", "lasting").out.split() == [pid, "running"]
    assert cli("wait", "ending").out.strip() == "7"
    lines = len(cli("logs", "lasting").out.splitlines())
    eventually(lambda: len(cli("logs", "lasting").out.splitlines()) > lines)
    assert cli("exec", "lasting", "echo", "reached").out == "reached\n"
    cli("rm", "-f", "lasting", "ending")


def test_a_second_daemon_on_the_same_roots_is_refused(start_engine: Start) -> None:
    engine = start_engine(images=())
    only_tiffin(engine)
    command = [one.replace("engine.sock", "other.sock") for one in engine.command()]
    done = subprocess.run(engine.inside(command), capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 1
    assert f"in use by another daemon (process {engine.daemon.pid if engine.daemon else 0})" in done.stderr


def test_hangup_reloads_what_may_change(start_engine: Start, tmp_path: Path) -> None:
    file = tmp_path / "daemon.json"
    file.write_text("{}")
    engine = start_engine("--config-file", str(file), images=())
    only_tiffin(engine)
    client = docker.DockerClient(base_url=engine.host)
    assert client.info()["Labels"] == []
    file.write_text(json.dumps({"labels": ["rack=7"], "debug": True}))
    assert engine.daemon is not None
    engine.daemon.send_signal(signal.SIGHUP)
    eventually(lambda: client.info()["Labels"] == ["rack=7"])
    assert client.info()["Debug"]
    file.write_text("{")
    engine.daemon.send_signal(signal.SIGHUP)
    eventually(lambda: "was not reloaded" in engine.log_tail())
    assert client.info()["Labels"] == ["rack=7"]
    client.close()


def test_an_orderly_end_leaves_no_process_and_no_socket(start_engine: Start) -> None:
    engine = start_engine(images=())
    only_tiffin(engine)
    assert engine.stop() == 0
    assert not engine.socket.exists()
    assert not (engine.root / "pid").exists()
    engine.start()


def test_systemd_is_told_when_the_socket_answers(tmp_path: Path, start_engine: Start) -> None:
    engine = start_engine(images=())
    only_tiffin(engine)
    engine.stop()
    script = (
        "import os, socket, subprocess, sys\n"
        "s = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM); s.bind(sys.argv[1]); s.settimeout(60)\n"
        "p = subprocess.Popen(sys.argv[2:], env={**os.environ, 'NOTIFY_SOCKET': sys.argv[1]})\n"
        "print(s.recv(100).decode()); p.terminate(); print(s.recv(100).decode()); sys.exit(p.wait())\n"
    )
    done = subprocess.run(
        engine.inside([sys.executable, "-c", script, str(tmp_path / "notify"), *engine.command()]),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (done.returncode, done.stdout.split()) == (0, ["READY=1", "STOPPING=1"])
    engine.start()


@pytest.fixture
def certificates(tmp_path: Path) -> Path:
    """ca.pem, and a certificate each for server and client, signed by it."""

    def openssl(*words: str) -> None:
        subprocess.run(["openssl", *words], cwd=tmp_path, check=True, capture_output=True)

    curve = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes")
    openssl("req", "-x509", *curve, "-keyout", "ca-key.pem", "-out", "ca.pem", "-subj", "/CN=test ca")
    for name in ("server", "client"):
        (tmp_path / "names").write_text("subjectAltName=IP:127.0.0.1\n")
        openssl("req", *curve, "-keyout", f"{name}-key.pem", "-out", f"{name}.csr", "-subj", f"/CN={name}")
        signing = ("-CA", "ca.pem", "-CAkey", "ca-key.pem", "-CAcreateserial", "-extfile", "names")
        openssl("x509", "-req", "-in", f"{name}.csr", *signing, "-out", f"{name}.pem")
    return tmp_path


def test_tcp_serves_whoever_has_a_certificate_and_nobody_else(start_engine: Start, certificates: Path) -> None:
    engine = start_engine(
        "-H", "tcp://127.0.0.1:2376", "--tlsverify", f"--tlscacert={certificates}/ca.pem",
        f"--tlscert={certificates}/server.pem", f"--tlskey={certificates}/server-key.pem",
    )  # fmt: skip
    remote = engine.cli()
    tls = [
        "-H", "tcp://127.0.0.1:2376", "--tlsverify", f"--tlscacert={certificates}/ca.pem",
        f"--tlscert={certificates}/client.pem", f"--tlskey={certificates}/client-key.pem",
    ]  # fmt: skip
    # attach is a hijacked stream: through TLS it passes a tunnel in the daemon
    done = remote(*tls, "run", "--rm", "-i", "busybox", "cat", input="through the tunnel\n" * 5000)
    assert done.out == "through the tunnel\n" * 5000
    assert remote(*tls, "run", "--rm", "busybox", "sh", "-c", "echo out; echo err >&2; exit 3", check=False).rc == 3
    stranger = remote("-H", "tcp://127.0.0.1:2376", "--tls", "version", check=False)
    assert stranger.rc == 1
    plain = remote("-H", "tcp://127.0.0.1:2376", "version", check=False)
    assert plain.rc == 1
    assert ssl.HAS_TLSv1_2
    assert os.path.exists(engine.socket)


def test_without_live_restore_containers_end_with_the_daemon_and_policies_hold(start_engine: Start) -> None:
    engine = start_engine("--live-restore=false", "--shutdown-timeout=5")
    cli = engine.cli()
    cli("run", "-d", "--init", "--name", "plain", "busybox", "sleep", "1000")
    cli("run", "-d", "--init", "--name", "always", "--restart", "always", "busybox", "sleep", "1000")
    engine.restart()
    eventually(lambda: cli("inspect", "-f", "{{.State.Running}}", "always").out.strip() == "true")
    assert cli("inspect", "-f", "{{.State.Running}}", "plain").out.strip() == "false"
    cli("rm", "-f", "plain", "always")


def test_the_daemons_defaults_reach_its_containers(start_engine: Start) -> None:
    engine = start_engine("--default-shm-size=32m", "--default-ulimit", "nofile=100:200", "--no-new-privileges")
    script = "ulimit -n; ulimit -Hn; grep NoNewPrivs /proc/self/status; df -k /dev/shm | tail -1"
    out = engine.cli()("run", "--rm", "busybox", "sh", "-c", script).out.split()
    assert out[:4] == ["100", "200", "NoNewPrivs:", "1"]
    assert "32768" in out
