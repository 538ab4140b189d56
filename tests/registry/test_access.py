"""Rights of single users, by password and by token: the protocol, then docker, skopeo and podman as they are."""

import json
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import pytest

from rig import Engine, archives
from rig.machine import Machine
from rig.registries import made_image
from rig.served import Answer, Client, Inside, Served, basic, digest_of, passwords

Serve = Callable[..., Served]

RULES = """
ann      **         pull,push,delete
bob      team/**    pull,push
@users   shared/*   pull
@anyone  public/**  pull
"""


def files(directory: Path, rules: str = RULES) -> list[str]:
    users = passwords(directory / "users", ann="secret", bob="hunter2", eve="guess")
    (directory / "access").write_text(rules)
    return ["--htpasswd", str(users), "--access", str(directory / "access")]


def token(served: Served, user: str, password: str, *scopes: str) -> str:
    """As docker asks for it."""
    query = urlencode([("service", "tiffin-registry"), *(("scope", scope) for scope in scopes)])
    headers = {"Authorization": basic(user, password)} if user else {}
    answer = served.client().get(f"/token?{query}", **headers)
    assert answer.status == 200, answer.body
    assert answer.json["token"] == answer.json["access_token"]
    return str(answer.json["token"])


def bearer(served: Served, *given: str) -> Client:
    return served.client(Authorization=f"Bearer {token(served, *given)}")


def challenge(answer: Answer) -> str:
    assert (answer.status, answer.code) == (401, "UNAUTHORIZED")
    return str(answer.headers["WWW-Authenticate"])


def test_passwords_give_the_rights_of_their_users(serve: Serve, tmp_path: Path) -> None:
    served = serve(*files(tmp_path, RULES.replace("@anyone", "@users")))
    ann, bob, eve = (
        served.client(Authorization=basic(*pair)) for pair in (("ann", "secret"), ("bob", "hunter2"), ("eve", "guess"))
    )
    for name in ("team/app", "shared/base", "public/x", "private"):
        ann.push_image(name, "1", b"layer of " + name.encode())
    assert bob.get("/v2/team/app/manifests/1").status == 200
    assert bob.get("/v2/shared/base/manifests/1").status == 200
    refused = bob.get("/v2/private/manifests/1")
    assert (refused.status, refused.code) == (403, "DENIED")
    assert "bob may not pull" in refused.json["errors"][0]["message"]
    bob.push_image("team/new", "1", b"layer")
    for method, path in (
        ("POST", "/v2/shared/base/blobs/uploads/"),
        ("PUT", "/v2/shared/base/manifests/2"),
        ("DELETE", "/v2/team/app/manifests/1"),
        ("DELETE", f"/v2/team/app/blobs/{digest_of(b'layer of team/app')}"),
        ("GET", f"/v2/private/blobs/{digest_of(b'layer of private')}"),
        ("HEAD", "/v2/private/manifests/1"),
        ("GET", "/v2/private/tags/list"),
        ("GET", f"/v2/private/referrers/{digest_of(b'x')}"),
    ):
        assert bob.request(method, path).status == 403, (method, path)
    # one may not take over by a mount what one can't read
    stolen = digest_of(b"layer of private")
    assert bob.request("POST", f"/v2/team/new/blobs/uploads/?mount={stolen}&from=private").status == 202
    taken = digest_of(b"layer of team/app")
    assert bob.request("POST", f"/v2/team/new/blobs/uploads/?mount={taken}&from=team/app").status == 201
    assert ann.get("/v2/_catalog").json["repositories"] == [
        "private",
        "public/x",
        "shared/base",
        "team/app",
        "team/new",
    ]
    assert eve.get("/v2/_catalog").json["repositories"] == ["public/x", "shared/base"]
    page = bob.get("/v2/_catalog?n=2")
    assert page.json["repositories"] == ["public/x", "shared/base"]
    behind = page.headers["Link"].partition("<")[2].partition(">")[0]
    assert bob.get(behind).json["repositories"] == ["team/app", "team/new"]
    assert served.client().get("/v2/team/app/manifests/1").status == 401
    (tmp_path / "access").write_text("eve ** pull")
    assert bob.get("/v2/team/app/manifests/1").status == 403, "a changed file counts at once"
    assert eve.get("/v2/private/manifests/1").status == 200


def test_tokens_carry_what_was_asked_for_and_allowed(serve: Serve, tmp_path: Path) -> None:
    served = serve(*files(tmp_path), "--tokens")
    stranger = served.client()
    realm = f'Bearer realm="http://{served.address}/token",service="tiffin-registry"'
    assert challenge(stranger.get("/v2/")) == realm
    ann = bearer(served, "ann", "secret", "repository:public/x:pull,push", "repository:private:pull,push")
    assert ann.get("/v2/").status == 200
    for name in ("public/x", "private"):
        ann.push_image(name, "1", b"layer of " + name.encode())
    insufficient = challenge(ann.request("DELETE", "/v2/private/manifests/1"))
    assert insufficient == f'{realm},scope="repository:private:delete",error="insufficient_scope"'
    assert 'scope="repository:other:pull,push"' in challenge(ann.request("POST", "/v2/other/blobs/uploads/"))
    bob = bearer(served, "bob", "hunter2", "repository:private:pull", "repository:team/app:pull,push")
    assert challenge(bob.get("/v2/private/manifests/1"))
    bob.push_image("team/app", "1", b"layer")
    anyone = bearer(served, "", "", "repository:public/x:pull,push", "repository:private:pull")
    assert anyone.get("/v2/public/x/manifests/1").status == 200
    assert challenge(anyone.get("/v2/private/manifests/1"))
    assert challenge(anyone.request("POST", "/v2/public/x/blobs/uploads/"))
    assert anyone.get("/v2/_catalog").json["repositories"] == ["public/x"]
    assert anyone.get("/metrics").status == 404, "figures are for users"
    assert ann.get("/metrics").status == 200
    passwords(tmp_path / "users", bob="hunter2")
    assert challenge(ann.get("/v2/private/manifests/1")), "a user who is gone has no token"
    for wrong in ("Bearer x", "Bearer a.b.c", "Bearer ", basic("bob", "secret")):
        assert challenge(stranger.get("/v2/", Authorization=wrong))
    assert served.client(Authorization=basic("bob", "hunter2")).get("/v2/team/app/manifests/1").status == 200
    log = served.log.read_text()
    assert "hunter2" not in log and "eyJ" not in log


def test_the_token_endpoint(serve: Serve, tmp_path: Path) -> None:
    served = serve(*files(tmp_path), "--tokens", "--token-realm", "https://auth.example/token")
    client = served.client()
    assert 'realm="https://auth.example/token"' in challenge(client.get("/v2/"))
    assert client.get("/token", Authorization=basic("ann", "wrong")).status == 401
    assert client.get("/token?scope=nonsense&scope=repository:UPPER:pull").status == 200

    def form(**fields: str) -> Answer:
        kind = "application/x-www-form-urlencoded"
        return client.request("POST", "/token", urlencode(fields).encode(), Content_Type=kind)

    known = {"username": "bob", "password": "hunter2", "scope": "repository:team/a:pull,push repository:x:pull"}
    answer = form(grant_type="password", service="tiffin-registry", client_id="containerd-client", **known)
    assert answer.status == 200
    served.client(Authorization=f"Bearer {answer.json['access_token']}").push_image("team/a", "1", b"layer")
    assert form(grant_type="password", username="bob", password="no").status == 401
    assert form(grant_type="refresh_token", refresh_token="x").json == {"error": "unsupported_grant_type"}
    assert client.request("DELETE", "/token").status == 405
    assert served.stop() == 0
    served.start()
    old = served.client(Authorization=f"Bearer {answer.json['access_token']}")
    assert old.get("/v2/team/a/manifests/1").status == 200, "a push goes on after a restart"
    assert (served.root / "token.key").stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (["--tokens"], "give --htpasswd too"),
        (["--access", "{tmp}/access"], "give --htpasswd too"),
        (["--htpasswd", "{tmp}/users", "--access", "{tmp}/access"], "rights of @anyone need --tokens"),
        (["--htpasswd", "{tmp}/users", "--access", "/nowhere"], "cannot read the rights in /nowhere"),
        (["--htpasswd", "{tmp}/users", "--tokens", "--token-realm", "x"], "give the URL of /token"),
    ],
)
def test_mistakes_are_told(serve: Serve, tmp_path: Path, flags: list[str], words: str) -> None:
    files(tmp_path)
    with pytest.raises(RuntimeError, match=words):
        serve(*(flag.replace("{tmp}", str(tmp_path)) for flag in flags))


def run(machine: Machine, home: Path, *words: str, fine: bool = True, given: str = "") -> str:
    environment = {"HOME": str(home), "REGISTRY_AUTH_FILE": str(home / "auth.json")}
    done = subprocess.run(
        machine.inside(["env", *(f"{key}={value}" for key, value in environment.items()), *words], mounts=True),
        capture_output=True,
        text=True,
        timeout=120,
        input=given,
    )
    assert (done.returncode == 0) == fine, (words, done.stdout, done.stderr)
    return done.stdout + done.stderr


@pytest.fixture
def machine() -> Any:
    made = Machine()
    yield made
    made.close()


def test_skopeo_with_tokens(machine: Machine, tmp_path: Path) -> None:
    served = Served(Inside(machine), tmp_path / "registry", *files(tmp_path), "--tokens", port=5056)
    source, at = f"docker-archive:{archives.busybox()}", f"docker://{served.address}"
    skopeo = ("skopeo", "--insecure-policy")
    copy = (*skopeo, "copy", "--dest-tls-verify=false")
    run(machine, tmp_path, *copy, "--dest-creds", "bob:hunter2", source, f"{at}/team/app:1")
    run(machine, tmp_path, *copy, "--dest-creds", "ann:secret", source, f"{at}/public/app:1")
    run(machine, tmp_path, *copy, "--dest-creds", "bob:hunter2", source, f"{at}/public/app:2", fine=False)
    run(machine, tmp_path, *copy, source, f"{at}/public/app:2", fine=False)
    inspect = (*skopeo, "inspect", "--raw", "--tls-verify=false")
    raw = json.loads(run(machine, tmp_path, *inspect, f"{at}/public/app:1"))
    assert raw["layers"]
    run(machine, tmp_path, *inspect, f"{at}/team/app:1", fine=False)
    both = ("--src-tls-verify=false", "--src-creds", "ann:secret", "--dest-creds", "ann:secret")
    run(machine, tmp_path, *copy, *both, f"{at}/team/app:1", f"{at}/public/copy:1")
    served.close()


@pytest.mark.slow
def test_podman_with_tokens(machine: Machine, tmp_path: Path) -> None:
    served = Served(Inside(machine), tmp_path / "registry", *files(tmp_path), "--tokens", port=5056)
    roots = ("--root", str(tmp_path / "root"), "--runroot", str(machine.root / "run"), "--storage-driver", "vfs")
    podman = ("sh", "-c", 'cd / && exec "$@"', "sh", "podman", *roots)
    off = "--tls-verify=false"
    run(machine, tmp_path, *podman, "load", "-i", str(archives.busybox()))
    image = run(machine, tmp_path, *podman, "images", "-q").split()[0]
    run(machine, tmp_path, *podman, "push", off, image, f"{served.address}/team/app:1", fine=False)
    login = ("login", off, "-u", "bob", "--password-stdin", served.address)
    run(machine, tmp_path, *podman, *login, given="wrong", fine=False)
    run(machine, tmp_path, *podman, *login, given="hunter2")
    run(machine, tmp_path, *podman, "push", off, image, f"{served.address}/team/app:1")
    run(machine, tmp_path, *podman, "push", off, image, f"{served.address}/other:1", fine=False)
    run(machine, tmp_path, *podman, "pull", off, f"{served.address}/team/app:1")
    served.close()


@pytest.mark.parametrize("kind", ["tiffin", pytest.param("dockerd", marks=pytest.mark.slow)])
def test_docker_with_tokens(start_engine: Callable[..., Engine], tmp_path: Path, kind: str) -> None:
    engine = start_engine(kind=kind, images=())
    docker = engine.cli("docker")
    served = Served(Inside(engine.machine), tmp_path / "registry", *files(tmp_path), "--tokens", port=5056)
    mine, public, other = (f"{served.address}/{path}:1" for path in ("team/app", "public/app", "other"))
    made_image(engine, docker, mine, layers=2)
    assert docker("push", mine, check=False).rc != 0
    assert docker("login", served.address, "-u", "bob", "-p", "wrong", check=False).rc != 0
    docker("login", served.address, "-u", "bob", "--password-stdin", input="hunter2")
    docker("push", mine)
    docker("tag", mine, other)
    refused = docker("push", other, check=False)
    assert refused.rc != 0 and ("denied" in refused.err or "unauthorized" in refused.err), refused
    docker("logout", served.address)
    docker("login", served.address, "-u", "ann", "--password-stdin", input="secret")
    docker("tag", mine, public)
    pushed = docker("push", public)
    # dockerd tries mounts only from where the same user has pushed
    assert kind == "dockerd" or "Mounted from team/app" in pushed.out
    docker("logout", served.address)
    docker("rmi", mine, public, other)
    docker("pull", public)
    assert docker("pull", mine, check=False).rc != 0, "who is not logged in has what is for anyone"
    docker("rmi", public)
    served.close()
