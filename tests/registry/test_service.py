"""What `tiffin registry serve` has besides the protocol: users, TLS, read-only, figures, its log, its options."""

import json
import os
import ssl
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from rig.registries import certificate
from rig.served import OCI_MANIFEST, Client, Served, basic, digest_of, passwords, with_digest
from rig.waiting import eventually

Serve = Callable[..., Served]


def test_only_users_come_in_and_a_changed_file_counts_at_once(serve: Serve, tmp_path: Path) -> None:
    file = passwords(tmp_path / "users", ann="secret", bob="hunter2")
    served = serve("--htpasswd", str(file))
    stranger = served.client()
    for path in ("/v2/", "/v2/a/manifests/1", "/metrics", "/v2/UPPER/x"):
        refused = stranger.get(path)
        assert (refused.status, refused.code) == (401, "UNAUTHORIZED")
        assert refused.headers["WWW-Authenticate"].startswith("Basic realm=")
    for wrong in (basic("ann", "hunter2"), basic("eve", "secret"), "Basic !!!", "Bearer x", basic("ann", "sec\0ret")):
        assert stranger.get("/v2/", Authorization=wrong).status == 401
    ann = served.client(Authorization=basic("ann", "secret"))
    ann.push_image("a", "1", b"layer")
    assert served.client(Authorization=basic("bob", "hunter2")).get("/v2/a/manifests/1").status == 200
    put = eventually(lambda: served.requests("PUT"), what="the log's line, which comes after the answer")
    assert put[-1]["user"] == "ann"
    assert "secret" not in served.log.read_text()
    passwords(file, bob="changed", carol="new one")
    assert ann.get("/v2/").status == 401
    assert stranger.get("/v2/", Authorization=basic("bob", "hunter2")).status == 401
    assert stranger.get("/v2/", Authorization=basic("carol", "new one")).status == 200
    file.write_text("carol:{SHA}no-bcrypt\n")
    assert stranger.get("/v2/", Authorization=basic("carol", "new one")).status == 200, "the last good one holds"


def test_guesses_do_not_hold_up_those_who_are_in(serve: Serve, tmp_path: Path) -> None:
    file = tmp_path / "users"
    file.write_text(subprocess.check_output(["htpasswd", "-nbB", "-C", "10", "ann", "secret"], text=True))
    served = serve("--htpasswd", str(file))
    ann = served.client(Authorization=basic("ann", "secret"))
    assert ann.get("/v2/").status == 200
    guessing = [served.client().open() for _ in range(40)]
    for number, sock in enumerate(guessing):
        guess = basic("ann", str(number))
        sock.sendall(f"GET /v2/ HTTP/1.1\r\nHost: x\r\nAuthorization: {guess}\r\n\r\n".encode())
    ann.push_image("a", "1", b"layer")
    for sock in guessing:
        sock.close()


def test_tls_with_a_certificate_that_is_renewed(serve: Serve, tmp_path: Path) -> None:
    ca, cert, key = certificate(tmp_path / "tls", "127.0.0.1")
    served = serve("--tls-cert", str(cert), "--tls-key", str(key))
    client = served.client()

    def connect(authority: Path) -> str:
        sock = ssl.create_default_context(cafile=str(authority)).wrap_socket(client.open(), server_hostname="127.0.0.1")
        client.connection.sock = sock
        return str(sock.version())

    assert connect(ca) in ("TLSv1.2", "TLSv1.3")
    data = os.urandom(5 << 20)
    digest = client.push_blob("a", data)
    assert client.get(f"/v2/a/blobs/{digest}").body == data
    assert client.get(f"/v2/a/blobs/{digest}", Range="bytes=1000000-4000000").body == data[1_000_000:4_000_001]
    other, new_cert, new_key = certificate(tmp_path / "renewed", "127.0.0.1")
    cert.write_bytes(new_cert.read_bytes())
    key.write_bytes(new_key.read_bytes())
    assert served.process is not None
    served.process.send_signal(1)
    eventually(lambda: connect(other), errors=ssl.SSLError, what="the renewed certificate")
    assert client.get(f"/v2/a/blobs/{digest}").body == data


def test_read_only_takes_nothing(serve: Serve, shared: Served) -> None:
    first = serve(root="same")
    digest = first.client().push_image("a", "1", b"layer")
    first.stop()
    client = serve("--read-only", root="same").client()
    assert client.get("/v2/a/manifests/1").status == 200
    assert client.get(f"/v2/a/blobs/{digest_of(b'layer')}").body == b"layer"
    for method, path in (
        ("POST", "/v2/a/blobs/uploads/"),
        ("PUT", "/v2/a/manifests/2"),
        ("DELETE", f"/v2/a/manifests/{digest}"),
        ("DELETE", f"/v2/a/blobs/{digest}"),
    ):
        refused = client.request(method, path)
        assert (refused.status, refused.code) == (405, "UNSUPPORTED")


def test_figures_for_prometheus(serve: Serve) -> None:
    served = serve()
    client = served.client()
    client.push_image("a", "1", b"x" * 1000)
    client.get(f"/v2/a/blobs/{digest_of(b'x' * 1000)}")
    client.get("/v2/a/manifests/2")
    client.begin("a")
    assert served.figure("requests_total", method="PUT", kind="manifest", code="201") == 1
    assert served.figure("requests_total", method="GET", kind="manifest", code="404") == 1
    assert served.figure("received_bytes_total") > 1000
    assert served.figure("sent_bytes_total") > 1000
    assert served.figure("uploads_open") == 1
    assert served.figure("request_seconds_count") >= 7
    text = served.client().get("/metrics")
    assert text.headers["Content-Type"].startswith("text/plain; version=0.0.4")
    declared = {line.split()[2] for line in text.body.decode().splitlines() if line.startswith("# TYPE")}
    assert {"tiffin_registry_gc_runs_total", "tiffin_registry_cache_requests_total"} <= declared


def test_figures_at_an_address_of_their_own(serve: Serve, tmp_path: Path) -> None:
    file = passwords(tmp_path / "users", ann="secret")
    served = serve("--htpasswd", str(file), "--metrics-listen", "127.0.0.1:5099")
    assert served.client(Authorization=basic("ann", "secret")).get("/metrics").status == 404
    with served.namespace.open("127.0.0.1") as sock:
        sock.connect(("127.0.0.1", 5099))
        sock.sendall(b"GET /metrics HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        answer = b"".join(iter(lambda: sock.recv(65536), b""))
    assert answer.startswith(b"HTTP/1.1 200")
    assert b"tiffin_registry_requests_total{" in answer


def test_each_request_is_a_line_of_json(serve: Serve) -> None:
    served = serve()
    client = served.client(User_Agent='odd "agent" \u00e9')
    digest = client.push_blob("a", b"content")
    client.get(f"/v2/a/blobs/{digest}")
    client.get("/v2/%0a%1b/manifests/x")
    lines = eventually(lambda: (found := served.requests())[3:] and found, what="four lines")
    assert [(line["method"], line["status"]) for line in lines] == [
        ("POST", 202),
        ("PUT", 201),
        ("GET", 200),
        ("GET", 400),
    ]
    assert (lines[1]["received"], lines[2]["sent"], lines[2]["from"]) == (7, 7, "127.0.0.1")
    assert lines[3]["path"] == "/v2/\n\x1b/manifests/x"


def test_a_stopped_registry_goes_on_where_it_was(serve: Serve) -> None:
    served = serve()
    client = served.client()
    digest = client.push_image("a", "1", b"layer")
    location = client.request("PATCH", client.begin("a"), b"first ", Content_Range="0-5").location
    assert served.stop() == 0
    served.start()
    client = served.client()
    assert client.head("/v2/a/manifests/1").headers["Docker-Content-Digest"] == digest
    assert client.get(location).headers["Range"] == "0-5"
    assert client.request("PATCH", location, b"second", Content_Range="6-11").status == 202
    whole = digest_of(b"first second", "sha512")
    assert client.request("PUT", with_digest(location, whole)).status == 201


def test_one_process_at_a_time_has_a_directory(serve: Serve) -> None:
    served = serve(root="same")
    with pytest.raises(RuntimeError, match="another registry serves"):
        serve(root="same")
    assert served.client().get("/v2/").status == 200


def test_options_by_environment_and_file(serve: Serve, tmp_path: Path) -> None:
    config = tmp_path / "registry.toml"
    config.write_text('read-only = true\naccess-log = "none"\nlisten = ["127.0.0.1:1"]\ngc-interval = "1d"\n')
    served = serve("--config", str(config), start=False)
    served.start(TIFFIN_REGISTRY_READ_ONLY="false")
    served.client().push_image("a", "1", b"layer")
    assert served.requests() == []


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        ([], "--storage is missing"),
        (["--storage", "/x", "--tls-cert", "a"], "--tls-cert and --tls-key belong together"),
        (["--storage", "/x", "--gc-grace", "soon"], "--gc-grace=soon: a duration"),
        (["--storage", "/x", "--listen", "nowhere"], "cannot listen on 'nowhere'"),
        (["--storage", "/x", "--no-such"], "unrecognized arguments"),
        (["--storage", "/x", "--config", "/nowhere"], "cannot read the configuration /nowhere"),
        (["--storage", "{tmp}/s", "--htpasswd", "/nowhere"], "cannot read the passwords in /nowhere"),
        (["--storage", "{tmp}/s", "--upstream", "ftp://x"], 'unsupported scheme "ftp"'),
        (["--storage", "{tmp}"], "holds images of another program"),
        (["--storage", "s3://", "--state", "{tmp}/s"], "give s3://BUCKET"),
    ],
)
def test_mistakes_in_options_are_told(flags: list[str], words: str, tmp_path: Path) -> None:
    (tmp_path / "oci-layout").write_text("{}")
    command = [sys.executable, "-m", "tiffin.daemon.registry", "serve"]
    given = [flag.replace("{tmp}", str(tmp_path)) for flag in flags]
    done = subprocess.run([*command, *given], capture_output=True, text=True, timeout=60)
    assert done.returncode == 1
    assert words in done.stderr
    assert "Traceback" not in done.stderr


def test_the_command_line_knows_the_programs_options() -> None:
    from tiffin.cli.registry_serve import SERVING, STORAGE
    from tiffin.daemon.registry_options import _SECRET, Options, read

    named = {flag.name: flag for flag in STORAGE + SERVING}
    assert set(named) == {name.replace("_", "-") for name in Options.__dataclass_fields__ if name not in _SECRET} | {
        "config"
    }
    _, plain = read(["serve", "--storage=/x"], {})
    shown = [
        f"--{name}={flag.default}"
        for name, flag in named.items()
        if flag.default and name != "listen" and not isinstance(flag.default, bool)
    ]
    assert read(["serve", "--storage=/x", *shown], {})[1] == plain, "help shows the real defaults"


def test_serve_by_the_command_line(serve: Serve, own: Client) -> None:
    served = serve(start=False)
    tiffin = str(Path(sys.executable).parent / "tiffin")
    served.command = lambda: [  # type: ignore[method-assign]
        *(tiffin, "registry", "serve", "--listen", served.address, f"--storage={served.root}", "--read-only=false")
    ]
    served.start()
    served.client().push_image("a", "1", b"layer")
    command = ["nsenter", f"--net={served.namespace.path}", tiffin, "registry", "gc", "--storage", str(served.root)]
    assert "removed 0 manifests" in subprocess.check_output(command, text=True)
    served.stop()
    assert "removed 0 manifests" in subprocess.check_output(command, text=True), "nobody serves: it is done here"
    assert json.loads((served.root / "oci-layout").read_text())
    assert OCI_MANIFEST in (served.root / "repositories/a/_manifests").iterdir().__next__().read_text()
