"""How registries are reached and who may: TLS, mirrors, tokens, uploads that take their own way."""

import base64
import json
import subprocess
import urllib.parse
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from rig import Cli, Engine, eventually
from rig.archives import architecture
from rig.registries import Exchange, Fake, Registry, certificate, digest_of, fake, made_image

PORT = 5200


@pytest.fixture
def registry(engine: Engine) -> Iterator[Fake]:
    with fake(engine) as made:
        yield made


@pytest.fixture
def own_uploads(engine: Engine) -> None:
    """dockerd sends a blob as one PATCH of unknown length, and starts over where that breaks."""
    if engine.kind != "tiffin":
        pytest.skip("how blobs are sent is this engine's own")


@pytest.fixture
def made(engine: Engine, docker: Cli) -> Iterator[str]:
    """The name of a small image that is nowhere else."""
    name = f"made-{uuid.uuid4().hex[:12]}:1"
    made_image(engine, docker, name)
    yield name
    docker("rmi", name)


@pytest.fixture
def as_name(docker: Cli, made: str) -> Iterator[Callable[[str], str]]:
    """as_name(x) gives the image this name too, until the test's end."""
    given: list[str] = []

    def tag(name: str) -> str:
        docker("tag", made, name)
        given.append(name)
        return name

    yield tag
    for name in given:
        docker("rmi", name, check=False)


def inside_mounts(engine: Engine, *argv: str | Path) -> None:
    """Run a command among the mounts that the daemon sees."""
    subprocess.run(engine.machine.inside(argv, mounts=True), check=True, capture_output=True)


def test_a_registry_with_its_own_authority_is_trusted_by_certs_d(
    start_engine: Callable[..., Engine], tmp_path: Path
) -> None:
    # not on 127.0.0.0/8: what is there is never verified
    engine = start_engine(images=())
    engine.machine.run(["ip", "addr", "add", "198.51.100.1/32", "dev", "lo"])
    docker = engine.cli("docker")
    ca, cert, key = certificate(tmp_path / "tls", "198.51.100.1")
    registry = Registry(engine, tmp_path / "registry", PORT, certificate=(cert, key), bind="198.51.100.1")
    try:
        name = f"{registry.address}/tls/x:1"
        made_image(engine, docker, name)
        untrusted = docker("push", name, check=False).err
        assert "x509: certificate signed by unknown authority" in untrusted
        inside_mounts(engine, "mkdir", "-p", "/etc/docker")
        inside_mounts(engine, "mount", "-t", "tmpfs", "none", "/etc/docker")
        directory = f"/etc/docker/certs.d/{registry.address}"
        inside_mounts(engine, "mkdir", "-p", directory)
        inside_mounts(engine, "cp", ca, f"{directory}/ca.crt")
        docker("push", name)
        docker("rmi", name)
        docker("pull", name)
    finally:
        registry.close()


def test_a_registry_without_tls_must_be_named_insecure(start_engine: Callable[..., Engine], tmp_path: Path) -> None:
    address = f"198.51.100.1:{PORT}"
    for options, works in (((), False), (("--insecure-registry", "198.51.100.0/24"), True)):
        engine = start_engine(*options, images=())
        engine.machine.run(["ip", "addr", "add", "198.51.100.1/32", "dev", "lo"])
        docker = engine.cli("docker")
        registry = Registry(engine, tmp_path / f"registry-{works}", PORT, bind="198.51.100.1")
        try:
            made_image(engine, docker, f"{address}/x:1")
            pushed = docker("push", f"{address}/x:1", check=False)
            assert (pushed.rc == 0) == works
            if not works:
                assert "http: server gave HTTP response to HTTPS client" in pushed.err
        finally:
            registry.close()


def test_docker_hub_and_any_other_registry_have_mirrors(start_engine: Callable[..., Engine], tmp_path: Path) -> None:
    configuration = tmp_path / "daemon.json"
    hub, other, rest = (f"http://127.0.0.1:{port}" for port in (PORT, PORT + 1, PORT + 2))
    settings = {"registry-mirrors": [hub], "mirrors": {"quay.invalid": [f"{other}/some/prefix"], "*": [rest]}}
    configuration.write_text(json.dumps(settings))
    engine = start_engine("--config-file", str(configuration), kind="tiffin", images=())
    docker = engine.cli("docker")
    registries = [Registry(engine, tmp_path / f"{number}", PORT + number) for number in range(3)]
    try:
        for number, path in enumerate(("library/nosuch", "some/prefix/a/b", "c/d")):
            name = f"127.0.0.1:{PORT + number}/{path}:1"
            made_image(engine, docker, name)
            docker("push", name)
            docker("rmi", name)
        assert "Status: Downloaded newer image for nosuch:1" in docker("pull", "nosuch:1").out
        docker("pull", "quay.invalid/a/b:1")
        docker("pull", "third.invalid/c/d:1")
        assert "ns=third.invalid" in eventually(lambda: registries[2].requests("GET", "/manifests/"))[0]
        # what a mirror does not have is asked of the registry itself
        assert "lookup third.invalid" in docker("pull", "third.invalid/c/e:1", check=False).err
    finally:
        for registry in registries:
            registry.close()


def test_a_mirror_gets_no_credentials_and_may_be_down(start_engine: Callable[..., Engine], tmp_path: Path) -> None:
    configuration = tmp_path / "daemon.json"
    configuration.write_text("{}")
    engine = start_engine("--config-file", str(configuration), kind="tiffin", images=())
    docker = engine.cli("docker")
    own = Registry(engine, tmp_path / "own", PORT, users={"user": "secret"})
    try:
        with fake(engine) as mirror:
            down = f"http://127.0.0.1:{PORT + 1}"
            configuration.write_text(json.dumps({"mirrors": {own.address: [down, f"http://{mirror.address}"]}}))
            engine.restart()
            mirror.hooks.append(
                lambda exchange: exchange.answer(401, b"{}", WWW_Authenticate='Basic realm="x"')  # type: ignore[func-returns-value]
            )
            name = f"{own.address}/x:1"
            made_image(engine, docker, name)
            docker("login", "-u", "user", "-p", "secret", own.address)
            docker("push", name)
            assert mirror.seen == []
            docker("rmi", name)
            docker("pull", name)
            assert mirror.seen
            assert not any("Authorization" in exchange.headers for exchange in mirror.seen)
    finally:
        own.close()


def guard_by_token(registry: Fake, tokens: list[dict[str, str]], *, allow: str = "user:secret") -> None:
    """Have the registry ask for a bearer token, which it gives itself; `tokens` notes what was asked for."""

    def hook(exchange: Exchange) -> bool | None:
        path, _, query = exchange.path.partition("?")
        given = exchange.headers.get("Authorization", "")
        if path == "/token":
            asked = dict(urllib.parse.parse_qsl(query))
            if exchange.method == "POST":
                length = int(exchange.headers["Content-Length"])
                asked = dict(urllib.parse.parse_qsl(exchange.handler.rfile.read(length).decode()))
            tokens.append({**asked, "authorization": given})
            basic = "Basic " + base64.b64encode(allow.encode()).decode()
            if given == basic or asked.get("refresh_token") == "identity":
                token = f"for {asked.get('scope', 'nothing')}"
                answer: dict[str, object] = {"token": token, "access_token": token, "expires_in": 300}
                if asked.get("offline_token"):
                    answer["refresh_token"] = "identity"
                exchange.answer(200, json.dumps(answer).encode())
            else:
                exchange.answer(401, b'{"errors":[{"code":"UNAUTHORIZED","message":"incorrect username or password"}]}')
            return True
        if given.startswith("Bearer for "):
            return False
        realm = f"http://{registry.address}/token"
        repository = path.removeprefix("/v2/").partition("/manifests/")[0].partition("/blobs/")[0]
        scope = f',scope="repository:{repository}:pull"' if repository else ""
        exchange.answer(401, b"{}", WWW_Authenticate=f'Bearer realm="{realm}",service="tests"{scope}')
        return True

    registry.hooks.append(hook)


def small_image(registry: Fake) -> None:
    tar = bytes(10240)
    rootfs = {"type": "layers", "diff_ids": [digest_of(tar)]}
    config = {"architecture": architecture(), "os": "linux", "config": {}, "rootfs": rootfs}
    kind = "application/vnd.oci.image.config.v1+json"
    described = {**registry.add_blob(json.dumps(config).encode()), "mediaType": kind}
    layer = {**registry.add_blob(tar), "mediaType": "application/vnd.oci.image.layer.v1.tar"}
    manifest = {"schemaVersion": 2, "mediaType": "application/vnd.oci.image.manifest.v1+json"}
    registry.add_manifest({**manifest, "config": described, "layers": [layer]}, "1")


def test_a_token_is_fetched_for_what_is_asked(docker: Cli, registry: Fake) -> None:
    tokens: list[dict[str, str]] = []
    guard_by_token(registry, tokens)
    small_image(registry)
    docker("login", "-u", "user", "-p", "secret", registry.address)
    tokens.clear()
    try:
        docker("pull", f"{registry.address}/a/b:1")
    finally:
        docker("logout", registry.address)
    [asked] = tokens
    assert asked["service"] == "tests"
    assert asked["scope"] == "repository:a/b:pull"
    docker("rmi", f"{registry.address}/a/b:1")


def test_an_identity_token_takes_the_place_of_the_password(engine: Engine, docker: Cli, registry: Fake) -> None:
    tokens: list[dict[str, str]] = []
    guard_by_token(registry, tokens)
    small_image(registry)
    docker("login", "-u", "user", "-p", "secret", registry.address)
    kept = json.loads((engine.root / "home/.docker/config.json").read_text())["auths"][registry.address]
    assert kept["identitytoken"] == "identity"
    assert base64.b64decode(kept["auth"]).decode().rstrip(":") in ("user", "")
    tokens.clear()
    try:
        docker("pull", f"{registry.address}/a/b:1")
    finally:
        docker("logout", registry.address)
    assert tokens[0]["grant_type"] == "refresh_token" and tokens[0]["authorization"] == ""
    docker("rmi", f"{registry.address}/a/b:1")


def test_wrong_passwords_are_told_as_docker_tells_them(docker: Cli, registry: Fake) -> None:
    guard_by_token(registry, [])
    done = docker("login", "-u", "user", "-p", "wrong", registry.address, check=False)
    assert done.rc == 1
    # dockerd 28 shows the token server's JSON as it came
    assert "unauthorized: " in done.err and "incorrect username or password" in done.err


def test_an_image_that_one_may_not_see_is_denied(docker: Cli, registry: Fake) -> None:
    def deny(exchange: Exchange) -> bool | None:
        if exchange.path == "/v2/":
            return False
        challenge = f'Bearer realm="http://{registry.address}/token",service="x",error="insufficient_scope"'
        if exchange.path.startswith("/token"):
            exchange.answer(200, b'{"token":"t"}')
        else:
            exchange.answer(401, b'{"errors":[{"code":"UNAUTHORIZED"}]}', WWW_Authenticate=challenge)
        return True

    registry.hooks.append(deny)
    err = docker("pull", f"{registry.address}/a/b:1", check=False).err
    words = (
        "repository does not exist or may require 'docker login': denied: requested access to the resource is denied"
    )
    assert f"pull access denied for {registry.address}/a/b, {words}" in err


class Uploads:
    """The writing half of a registry: takes blobs by PUT or by PATCHes, as it pleases."""

    def __init__(self, registry: Fake, *, limit: int = 1 << 40, break_after: int = 0) -> None:
        self.registry = registry
        self.limit = limit
        self.break_after = break_after
        self.data = b""
        self.used: list[str] = []
        registry.hooks.append(self.hook)

    def hook(self, exchange: Exchange) -> bool | None:
        path, _, query = exchange.path.partition("?")
        length = int(exchange.headers.get("Content-Length") or 0)
        if exchange.method in ("GET", "HEAD") and "/uploads/" not in path:
            return False
        if exchange.method == "GET":
            self._where(exchange, 204)
        elif exchange.method == "POST":
            self.data = b""
            self._where(exchange, 202)
        elif length > self.limit:
            exchange.answer(413, b"", Connection="close")
            exchange.hang_up()
        else:
            self._take(exchange, path, query, length)
        return True

    def _take(self, exchange: Exchange, path: str, query: str, length: int) -> None:
        if self.break_after and length > self.break_after:
            self.data += exchange.handler.rfile.read(self.break_after)
            self.break_after = 0
            exchange.hang_up()
            return
        body = exchange.handler.rfile.read(length)
        if length:
            self.used.append(exchange.method)
        if "/manifests/" in path:
            self.registry.manifests[path.rpartition("/")[2]] = (exchange.headers["Content-Type"], body)
            exchange.answer(201, b"", Docker_Content_Digest=digest_of(body))
            return
        self.data += body
        if exchange.method == "PATCH":
            self._where(exchange, 202)
            return
        digest = dict(urllib.parse.parse_qsl(query))["digest"]
        if digest_of(self.data) != digest:
            exchange.answer(400, b'{"errors":[{"code":"DIGEST_INVALID","message":"not what it says"}]}')
            return
        self.registry.blobs[digest] = self.data
        exchange.answer(201, b"", Location=f"/v2/x/blobs/{digest}")

    def _where(self, exchange: Exchange, status: int) -> None:
        place = f"0-{max(0, len(self.data) - 1)}"
        exchange.answer(status, b"", Location="/v2/x/blobs/uploads/1?state=s", Range=place)


@pytest.mark.usefixtures("own_uploads")
def test_a_blob_is_sent_in_one_request(docker: Cli, registry: Fake, as_name: Callable[[str], str]) -> None:
    uploads = Uploads(registry)
    docker("push", as_name(f"{registry.address}/x:1"))
    assert uploads.used == ["PUT", "PUT", "PUT"]  # layer, configuration, manifest


@pytest.mark.usefixtures("own_uploads")
def test_a_blob_that_is_too_much_for_one_request_goes_in_chunks(engine: Engine, docker: Cli, registry: Fake) -> None:
    uploads = Uploads(registry, limit=2 << 20)
    name = f"{registry.address}/x:1"
    made_image(engine, docker, name, size=3 << 20)
    docker("push", name)
    assert uploads.used.count("PATCH") == 4
    docker("rmi", name)
    docker("pull", name)
    docker("rmi", name)


@pytest.mark.usefixtures("own_uploads")
def test_an_upload_that_breaks_goes_on_in_chunks(docker: Cli, registry: Fake, as_name: Callable[[str], str]) -> None:
    uploads = Uploads(registry, break_after=20_000)
    name = as_name(f"{registry.address}/x:1")
    docker("push", name)
    assert "PATCH" in uploads.used
    docker("rmi", name)
    docker("pull", name)


def test_malformed_credentials_are_ignored(engine: Engine, docker: Cli, registry: Fake) -> None:
    small_image(registry)
    url = f"http://docker/v1.41/images/create?fromImage={registry.address}/x&tag=1"
    for header in ("%%%", "bm90IGpzb24", "W10=", "e30", ""):
        out = engine.run(
            "curl", "-s", "--unix-socket", engine.socket, "-X", "POST", url, "-H", f"X-Registry-Auth: {header}"
        )
        assert "Status: " in out
    docker("rmi", f"{registry.address}/x:1")


def test_the_command_lines_log_in_pull_push_and_log_out_alike(engine: Engine, cli: Cli, tmp_path: Path) -> None:
    registry = Registry(engine, tmp_path / "registry", PORT + 10, users={"user": "secret"})
    try:
        name = f"{registry.address}/x:1"
        made_image(engine, cli, name)
        login = cli("login", "--username", "user", "--password-stdin", registry.address, input="secret\n")
        assert "Login Succeeded" in login.out
        assert "digest: sha256:" in cli("push", name).out
        cli("rmi", name)
        pulled = cli("pull", name).out
        assert f"Status: Downloaded newer image for {name}\n{name}\n" in pulled
        assert cli("pull", "-q", name).out == f"{name}\n"
        assert cli("logout", registry.address).out == f"Removing login credentials for {registry.address}\n"
        cli("rmi", name)
        refused = cli("pull", name, check=False)
        assert refused.rc == 1 and "no basic auth credentials" in refused.err
    finally:
        registry.close()


def test_a_credential_helper_is_asked(engine: Engine, cli: Cli, tmp_path: Path) -> None:
    registry = Registry(engine, tmp_path / "registry", PORT + 11, users={"user": "secret"})
    helper = tmp_path / "docker-credential-tests"
    answer = json.dumps({"ServerURL": registry.address, "Username": "user", "Secret": "secret"})
    helper.write_text(f"#!/bin/sh\ncat > /dev/null\n[ $1 = get ] && echo '{answer}'\n")
    helper.chmod(0o755)
    config = tmp_path / "config"
    config.mkdir()
    (config / "config.json").write_text(json.dumps({"credHelpers": {registry.address: "tests"}}))
    environment = {"DOCKER_CONFIG": str(config), "PATH": f"{tmp_path}:/usr/local/bin:/usr/bin:/bin"}
    try:
        name = f"{registry.address}/x:1"
        made_image(engine, cli, name)
        cli("push", name, env=environment)
        cli("rmi", name)
        cli("pull", name, env=environment)
        cli("rmi", name)
    finally:
        registry.close()
