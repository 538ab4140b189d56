"""`manifest`: docker's own command and tiffin's print the same, keep the same files and push the same lists."""

import json
import uuid
from pathlib import Path

import pytest

from rig import Engine
from rig.commands import Result
from rig.peers import tiffins_own
from rig.platforms import DOCKER_MANIFEST, image, index
from rig.served import Served

LIST = "application/vnd.docker.distribution.manifest.list.v2+json"


@pytest.fixture(autouse=True, scope="module")
def by_the_daemon(engine: Engine) -> None:
    tiffins_own(engine, "docker's command line does this by itself, tiffin's asks the daemon")


@pytest.fixture
def name(registry: Served) -> str:
    """A repository with the tags amd, arm (Docker's manifests) and v7 (OCI's)."""
    name = f"test-{uuid.uuid4().hex[:12]}"
    client = registry.client()
    image(client, name, "amd", "linux/amd64", kind=DOCKER_MANIFEST)
    image(client, name, "arm", "linux/arm64/v8", kind=DOCKER_MANIFEST)
    image(client, name, "v7", "linux/arm/v7")
    return f"{registry.address}/{name}"


class Both:
    """The two command lines, each with its own configuration."""

    def __init__(self, engine: Engine, directory: Path) -> None:
        self.engine, self.directory = engine, directory

    def one(self, which: str, *words: str) -> Result:
        folder = str(self.directory / which)
        return self.engine.cli(which)("manifest", *words, check=False, env={"DOCKER_CONFIG": folder})

    def __call__(self, *words: str) -> Result:
        """What both say."""
        docker, tiffin = self.one("docker", *words), self.one("tiffin", *words)
        assert tiffin == docker
        return tiffin

    def files(self, which: str) -> dict[str, object]:
        root = self.directory / which / "manifests"
        return {str(path.relative_to(root)): json.loads(path.read_text()) for path in root.glob("*/*")}


@pytest.fixture
def both(engine: Engine, tmp_path: Path) -> Both:
    return Both(engine, tmp_path)


def test_a_list_is_made_annotated_pushed_and_removed_as_by_docker(both: Both, registry: Served, name: str) -> None:
    made = both("create", "--insecure", f"{name}/list:1", f"{name}:arm", f"{name}:amd")
    assert made.out == f"Created manifest list {name}/list:1\n"
    assert both("create", "--insecure", f"{name}/list:1", f"{name}:v7").rc == 1
    both("create", "--insecure", "--amend", f"{name}/list:1", f"{name}:v7")
    both("annotate", f"{name}/list:1", f"{name}:arm", "--variant", "v9", "--os-version", "3", "--os-features", "x,y")
    assert both("annotate", f"{name}/list:1", f"{name}:arm", "--os", "beos").rc == 1
    assert both("annotate", f"{name}/list:1", f"{name}:other", "--os", "linux").rc == 1
    assert both.files("tiffin") == both.files("docker") != {}
    both("inspect", f"{name}/list:1")
    both("inspect", "--verbose", f"{name}/list:1")
    both("inspect", f"{name}/list:1", f"{name}:v7")
    # tiffin's first: docker must not have put there what it needs
    pushed = both.one("tiffin", "push", "--insecure", f"{name}/list:1")
    assert pushed == both.one("docker", "push", "--insecure", "--purge", f"{name}/list:1")
    assert [line[:10] for line in pushed.out.splitlines()] == ["Pushed ref"] * 3 + ["sha256:" + pushed.line[-64:-61]]
    path = name.partition("/")[2]
    found = registry.client().get(f"/v2/{path}/list/manifests/1", Accept=LIST)
    assert found.headers["Docker-Content-Digest"] == pushed.line.splitlines()[-1]
    assert [item["platform"].get("variant") for item in found.json["manifests"]] == [None, "v9", "v7"]
    for item in found.json["manifests"]:
        assert (
            registry.client().get(f"/v2/{path}/list/manifests/{item['digest']}", Accept=item["mediaType"]).status == 200
        )
    assert both.one("tiffin", "rm", f"{name}/list:1").rc == 0
    assert both.files("tiffin") == both.files("docker") == {}
    # both now from the registry
    both("inspect", "--insecure", f"{name}/list:1")
    both("inspect", "--insecure", "--verbose", f"{name}/list:1")


def test_manifests_are_inspected_in_the_registry_as_by_docker(both: Both, name: str) -> None:
    for tag in ("amd", "arm", "v7"):
        both("inspect", "--insecure", f"{name}:{tag}")
        both("inspect", "--insecure", "--verbose", f"{name}:{tag}")


def test_a_list_of_oci_images_is_an_oci_index(both: Both, name: str) -> None:
    both("create", "--insecure", f"{name}:list", f"{name}:v7")
    assert '"application/vnd.oci.image.index.v1+json"' in both("inspect", f"{name}:list").out
    assert both("push", "--insecure", f"{name}:list").line.startswith("sha256:")


def test_mistakes_are_told_in_dockers_words(both: Both, registry: Served, name: str) -> None:
    assert both("inspect", "--insecure", f"{name}:none").err == f"no such manifest: {name}:none\n"
    assert both("create", "--insecure", f"{name}:1", f"{name}:none").rc == 1
    assert both("push", "--insecure", f"{name}:1").err == f"No such manifest: {name}:1\n"
    assert both("rm", "one:1", "two:2").err.count("No such manifest: docker.io/library/") == 2
    assert both("create", "X:1", "y").rc == 1
    path = name.partition("/")[2]
    index(registry.client(), path, "index", ["linux/amd64", "linux/arm64"])
    assert both("create", "--insecure", f"{name}:1", f"{name}:index").err == f"{name}:index is a manifest list\n"
    both("create", "--insecure", "other.invalid:5000/x:1", f"{name}:amd")
    assert "from a different registry" in both("push", "--insecure", "other.invalid:5000/x:1").err


def test_tags_without_a_list_need_a_digest_of_each_source(engine: Engine, name: str) -> None:
    body = json.dumps({"MediaType": "application/vnd.oci.image.index.v1+json", "Document": "e30=", "Sources": [name]})
    path = f"http://docker/v1.51/distribution/{name}:x/manifest"
    command = ["curl", "-s", "--unix-socket", engine.socket, "-X", "PUT", "-H", "Content-Type: application/json"]
    assert json.loads(engine.machine.run([*command, "-d", body, path]).stdout)["message"] == (
        "manifest list: sources need a digest"
    )
