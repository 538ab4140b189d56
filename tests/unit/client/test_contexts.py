"""Contexts and settings as docker keeps them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tiffin.client.contexts import Contexts, check_name
from tiffin.client.endpoint import Endpoint, from_environment
from tiffin.client.settings import HUB, Settings, registry_of
from tiffin.errors import Conflict, Invalid, NotFound


def test_a_context_is_found_where_docker_looks(tmp_path: Path) -> None:
    contexts = Contexts(str(tmp_path))
    document = {"Name": "foo", "Metadata": {}, "Endpoints": {"docker": {"Host": "tcp://h:1", "SkipTLSVerify": False}}}
    contexts.create(document, {"ca.pem": b"x"})
    digest = "2c26b46b68ffc68ff99b453c1d30413413422d706483bfa0f98a5e886266e7ae"
    assert json.loads((tmp_path / "contexts/meta" / digest / "meta.json").read_text()) == document
    assert (tmp_path / "contexts/tls" / digest / "docker/ca.pem").stat().st_mode & 0o777 == 0o600
    host, tls = contexts.endpoint("foo")
    assert host == "tcp://h:1" and tls is not None and tls.ca.endswith("ca.pem") and tls.verify
    with pytest.raises(Conflict):
        contexts.create(document, {})
    contexts.remove("foo")
    with pytest.raises(NotFound, match="context not found"):
        contexts.get("foo")


def test_reserved_and_odd_names_are_refused() -> None:
    for name in ("default", "a b", "-x"):
        with pytest.raises(Invalid):
            check_name(name)


def test_settings_keep_what_they_do_not_know(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text('{"future": [1], "currentContext": "a"}')
    settings = Settings(str(tmp_path))
    settings.values["currentContext"] = "b"
    settings.save()
    assert json.loads((tmp_path / "config.json").read_text()) == {"future": [1], "currentContext": "b"}


def test_credentials_are_stored_as_docker_stores_them(tmp_path: Path) -> None:
    settings = Settings(str(tmp_path))
    settings.store("r.example", {"username": "u", "password": "p:q"})
    assert Settings(str(tmp_path)).values["auths"]["r.example"] == {"auth": "dTpwOnE="}
    assert Settings(str(tmp_path)).credentials("r.example") == {
        "serveraddress": "r.example",
        "username": "u",
        "password": "p:q",
    }


@pytest.mark.parametrize(
    ("image", "registry"),
    [("busybox", HUB), ("a/b:1", HUB), ("r.io/a", "r.io"), ("localhost/a", "localhost"), ("h:5000/a", "h:5000")],
)
def test_the_registry_of_an_image(image: str, registry: str) -> None:
    assert registry_of(image) == registry


def test_the_environment_names_a_daemon() -> None:
    assert from_environment({"DOCKER_HOST": "tcp://a:1"}) == ("tcp://a:1", None)
    assert from_environment({"DOCKER_HOST": "tcp://a:1", "TIFFIN_HOST": "unix:///b"})[0] == "unix:///b"
    tls = from_environment({"DOCKER_TLS_VERIFY": "1"})[1]
    assert tls is not None and tls.verify


def test_hosts_without_a_known_scheme_are_refused() -> None:
    for host in ("foo://x", "x"):
        with pytest.raises(Invalid):
            Endpoint(host)
