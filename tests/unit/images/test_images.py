"""Names, removal, pruning, import, commit: by docker's rules."""

import contextlib
import gzip
import io
import json
import threading
from pathlib import Path

import pytest

from tiffin.errors import Conflict, Forbidden, Internal, Invalid, NotFound
from tiffin.images import Commit, Deleted, Query, Untagged, User
from tiffin.images.instructions import changed
from tiffin.model.digest import digest_of
from tiffin.model.image import Image
from tiffin.model.reference import parse_reference

from .conftest import Store, docker_archive, open_store, tar

pytestmark = pytest.mark.root
LAYER = tar({"etc/a": b"a"})
ABOVE = tar({"etc/b": b"bb"})
CONTAINER = "c0ffee" * 10 + "abcd"


def loaded(store: Store, *tags: str, layers: tuple[bytes, ...] = (LAYER,)) -> Image:
    [image] = store.images.load(io.BytesIO(tar(docker_archive(list(tags), *layers))))
    return image


def commit(store: Store, image: str, key: str, **options: object) -> Image:
    layers = store.images.snapshots.prepare(key, store.images.get(image).chain)
    upper = layers[0].option("upperdir")
    assert upper is not None
    (Path(upper) / key).write_text(key)
    made = store.images.commit(image, Commit(key, store.images.get(image).config.run, **options))  # type: ignore[arg-type]
    store.images.snapshots.remove(key)
    return made


def test_an_image_is_found_by_name_id_and_the_beginning_of_one(store: Store) -> None:
    image = loaded(store, "org/x:latest")
    for name in ("org/x", "org/x:latest", "docker.io/org/x", image.id, image.id[7:], image.id[7:19], image.id[:20]):
        assert store.images.get(name).id == image.id


@pytest.mark.parametrize("name", ["nothing", "org/x:2", "f" * 64, "sha256:" + "f" * 64, "org/x@sha256:" + "f" * 64])
def test_what_is_not_there_is_told_in_docker_s_words(store: Store, name: str) -> None:
    loaded(store, "org/x:latest")
    with pytest.raises(NotFound, match=r"^No such image: "):
        store.images.get(name)


def test_a_tag_moves_to_another_image(store: Store) -> None:
    first, second = loaded(store, "x:1"), loaded(store, "y:1", layers=(ABOVE,))
    store.images.tag("y:1", "x:1")
    assert store.images.get("x:1").id == second.id
    assert store.images.get(first.id).repo_tags == ()
    with pytest.raises(Invalid, match="refusing to create a tag with a digest reference"):
        store.images.tag("y:1", "z@" + first.id)


def test_a_name_with_other_tags_is_only_untagged(store: Store) -> None:
    image = loaded(store, "x:1", "y:1")
    assert store.images.remove("x:1") == [Untagged("x:1")]
    assert store.images.remove("y:1") == [Untagged("y:1"), Deleted(image.id), Deleted(image.chain)]  # type: ignore[arg-type]
    assert store.is_empty()


@pytest.mark.parametrize("step", [1, 2])
def test_a_crash_leaves_an_image_with_its_last_name_or_neither(
    store: Store, monkeypatch: pytest.MonkeyPatch, step: int
) -> None:
    loaded(store, "x:1")
    passed: list[str] = []

    def point(name: str) -> None:
        if name == "ledger-commit":
            passed.append(name)
            if len(passed) == step:
                raise KeyboardInterrupt  # what was not committed is rolled back

    monkeypatch.setattr("tiffin.content.crash.point", point)
    with contextlib.suppress(KeyboardInterrupt):
        store.images.remove("x:1")
    monkeypatch.undo()
    assert [image.repo_tags for image in store.images.catalog.images()] in ([], [("x:1",)])


def test_an_id_with_several_repositories_needs_force(store: Store) -> None:
    image = loaded(store, "x:1", "y:1")
    with pytest.raises(Conflict) as caught:
        store.images.remove(image.short_id)
    assert str(caught.value) == (
        f"conflict: unable to delete {image.short_id} (must be forced) - image is referenced in multiple repositories"
    )
    removed = store.images.remove(image.short_id, force=True)
    assert removed[:2] == [Untagged("x:1"), Untagged("y:1")]
    assert store.is_empty()


def test_an_image_of_a_stopped_container_needs_force(store: Store) -> None:
    image = loaded(store, "x:1")
    store.containers.users[image.id] = [User(CONTAINER, False)]
    with pytest.raises(Conflict) as caught:
        store.images.remove("x:1")
    assert str(caught.value) == (
        f'conflict: unable to remove repository reference "x:1" (must force) - '
        f"container {CONTAINER[:12]} is using its referenced image {image.short_id}"
    )
    with pytest.raises(Conflict, match=r"\(must be forced\) - image is being used by stopped container c0ffee"):
        store.images.remove(image.id)
    assert Deleted(image.id) in store.images.remove("x:1", force=True)


def test_an_image_of_a_running_container_can_not_be_forced(store: Store) -> None:
    image = loaded(store, "x:1")
    store.containers.users[image.id] = [User(CONTAINER, True)]
    with pytest.raises(Conflict, match=r"\(cannot be forced\) - image is being used by running container c0ffee"):
        store.images.remove(image.id, force=True)
    assert store.images.remove("x:1", force=True) == [Untagged("x:1")]
    assert store.images.get(image.id).repo_tags == ()


def test_an_image_with_children_stays_and_goes_with_the_last_of_them(store: Store) -> None:
    parent = loaded(store, "x:1")
    child = commit(store, "x:1", "one", name=parse_reference("child:1"))
    with pytest.raises(Conflict, match=r"\(cannot be forced\) - image has dependent child images"):
        store.images.remove(parent.id, force=True)
    assert store.images.remove("x:1") == [Untagged("x:1")]
    assert [image.id for image in store.images.select()] == [child.id]
    assert {image.id for image in store.images.select(Query(all=True))} == {child.id, parent.id}
    removed = store.images.remove("child:1")
    assert Deleted(child.id) in removed and Deleted(parent.id) in removed
    assert store.is_empty()


def test_noprune_keeps_the_parents(store: Store) -> None:
    parent = loaded(store, "x:1")
    commit(store, "x:1", "one", name=parse_reference("child:1"))
    store.images.remove("x:1")
    store.images.remove("child:1", prune=False)
    assert [image.id for image in store.images.select(Query(all=True))] == [parent.id]


def test_layers_that_other_images_have_stay(store: Store) -> None:
    loaded(store, "x:1")
    both = loaded(store, "y:1", layers=(LAYER, ABOVE))
    removed = store.images.remove("y:1")
    assert [item for item in removed if isinstance(item, Deleted)] == [Deleted(both.id), Deleted(both.chain)]  # type: ignore[arg-type]
    store.images.snapshots.prepare("one", store.images.get("x:1").chain)


def test_prune_takes_dangling_images_and_with_all_the_unused_ones(store: Store) -> None:
    loaded(store, "x:1")
    used = loaded(store, "used:1", layers=(LAYER, ABOVE))
    dangling = loaded(store, layers=(ABOVE,))
    store.containers.users[used.id] = [User(CONTAINER, False)]
    removed, freed = store.images.prune(lambda image: True)
    assert Deleted(dangling.id) in removed and freed > 0
    removed, _ = store.images.prune(lambda image: True, dangling=False)
    assert Untagged("x:1") in removed
    assert [image.id for image in store.images.select()] == [used.id]


def test_filters_choose_as_docker_does(store: Store) -> None:
    plain = loaded(store, "x:1", "org/y:1")
    child = commit(store, "x:1", "one", name=parse_reference("child:1"), changes=["LABEL a=b c=d"])
    dangling = loaded(store, layers=(ABOVE,))

    def chosen(query: Query) -> set[str]:
        return {image.id for image in store.images.select(query)}

    assert chosen(Query(labels=["a"])) == chosen(Query(labels=["a=b", "c"])) == {child.id}
    assert chosen(Query(labels=["a=x"])) == set()
    assert chosen(Query(dangling=True)) == {dangling.id}
    assert chosen(Query(dangling=False)) == {plain.id, child.id}
    assert chosen(Query(references=["x"])) == chosen(Query(references=["*:1", "nothing"])) - {child.id} == {plain.id}
    assert store.images.select(Query(references=["org/*"]))[0].repo_tags == ("org/y:1",)
    assert chosen(Query(since=["x:1"])) == {child.id}
    assert chosen(Query(before=["child:1"])) == {plain.id, dangling.id}
    with pytest.raises(NotFound, match="No such image: nothing"):
        chosen(Query(before=["nothing"]))


def test_history_tells_instructions_and_sizes_newest_first(store: Store) -> None:
    loaded(store, "x:1", layers=(LAYER, ABOVE))
    child = commit(store, "x:1", "one", comment="note", command="sh")
    steps = store.images.history(child.id)
    assert [(step.id, step.created_by, step.size, step.comment) for step in steps] == [
        (child.id, "sh", 3, "note"),
        ("<missing>", "layer 1", 2, ""),
        ("<missing>", "layer 0", 1, ""),
    ]


def test_a_root_file_system_is_imported_with_changes(store: Store) -> None:
    data = gzip.compress(tar({"bin/sh": b"#!"}))
    image = store.images.import_(io.BytesIO(data), "base:1", changes=['CMD ["sh"]', "ENV A=b"], message="mine")
    assert image.config.texts("Cmd") == ("sh",)
    assert image.config.comment == "mine"
    assert store.images.history("base:1")[0].comment == "mine"
    assert store.events[-1] == ("import", image.id, {"name": "base:1"})


@pytest.mark.parametrize(
    "data", [b"no tar at all" * 100, gzip.compress(tar({"../evil": b"x"})), gzip.compress(LAYER)[:-5]]
)
def test_a_bad_import_leaves_nothing(store: Store, data: bytes) -> None:
    with pytest.raises(Invalid):
        store.images.import_(io.BytesIO(data), "x:1")
    assert store.is_empty()


def test_a_commit_of_nothing_adds_no_layer(store: Store) -> None:
    image = loaded(store, "x:1")
    store.images.snapshots.prepare("one", image.chain)
    made = store.images.commit("x:1", Commit("one", {}))
    assert made.config.diff_ids == image.config.diff_ids
    assert made.config.history[-1]["empty_layer"] is True


def test_images_survive_a_restart(store: Store, tmp_path: Path) -> None:
    image = loaded(store, "x:1")
    again = open_store(tmp_path)
    assert again.images.get("x:1") == image
    assert again.images.collect() == 0
    assert json.loads((tmp_path / "content/index.json").read_text())["manifests"][0]["annotations"] == {
        "org.opencontainers.image.ref.name": "x:1"
    }


def test_the_host_image_is_there_and_stays(store: Store, tmp_path: Path) -> None:
    store.images.reserve_host([tmp_path])
    image = store.images.get("host")
    assert image.repo_tags == ("host:latest",) and image.warnings
    for refused in (lambda: store.images.remove("host", force=True), lambda: store.images.tag("host", "mine")):
        with pytest.raises(Forbidden):
            refused()
    loaded(store, "x:1")
    with pytest.raises(Forbidden):
        store.images.tag("x:1", "host:latest")
    store.images.prune(lambda image: True, dangling=False)
    assert store.images.get("host:latest").id == image.id


def test_loads_and_removals_at_once_do_not_disturb_each_other(store: Store) -> None:
    errors: list[BaseException] = []
    archive = tar(docker_archive(["shared:1"], LAYER, ABOVE))

    def work(number: int) -> None:
        try:
            for _ in range(5):
                own = tar(docker_archive([f"own{number}:1"], LAYER, tar({f"{number}": b"x"})))
                store.images.load(io.BytesIO(own))
                store.images.load(io.BytesIO(archive))
                store.images.remove(f"own{number}:1")
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors == []
    assert store.images.get("shared:1").size == 3
    store.images.snapshots.prepare("one", store.images.get("shared:1").chain)
    store.images.snapshots.remove("one")
    store.images.remove("shared:1")
    assert store.is_empty()


def test_instructions_change_a_configuration() -> None:
    run = changed(
        {"Cmd": ["old"], "Env": ["A=1", "B=2"], "WorkingDir": "/srv"},
        [
            "ENV A=3 C='x y'",
            "env D old form",
            "EXPOSE 80 53/udp 7000-7001",
            "LABEL l=1 m='2 3'",
            "USER 1000:1000",
            'VOLUME ["/data", "/with space"]',
            "WORKDIR sub\nSTOPSIGNAL SIGINT",
            "ENTRYPOINT run me",
            "ONBUILD RUN true",
            "HEALTHCHECK --interval=1m30s --retries=3 CMD curl localhost",
            'SHELL ["/bin/bash", "-c"]',
        ],
    )
    assert run == {
        "Cmd": None,
        "Env": ["A=3", "B=2", "C=x y", "D=old form"],
        "WorkingDir": "/srv/sub",
        "ExposedPorts": {"80/tcp": {}, "53/udp": {}, "7000/tcp": {}, "7001/tcp": {}},
        "Labels": {"l": "1", "m": "2 3"},
        "User": "1000:1000",
        "Volumes": {"/data": {}, "/with space": {}},
        "StopSignal": "SIGINT",
        "Entrypoint": ["/bin/sh", "-c", "run me"],
        "OnBuild": ["RUN true"],
        "Healthcheck": {"Interval": 90 * 10**9, "Retries": 3, "Test": ["CMD-SHELL", "curl localhost"]},
        "Shell": ["/bin/bash", "-c"],
    }


@pytest.mark.parametrize(
    "change",
    ["RUN true", "FROM x", "CMD", "EXPOSE x", "EXPOSE 99999", "ENV a", "LABEL 'a", "HEALTHCHECK x", "ONBUILD FROM x"],
)
def test_a_wrong_instruction_is_refused(change: str) -> None:
    with pytest.raises(Invalid):
        changed({}, [change])


@pytest.mark.parametrize("which", ["configuration", "manifest"])
def test_an_image_with_damaged_documents_is_set_aside_removed_and_loaded_again(store: Store, which: str) -> None:
    image, other = loaded(store, "x:1"), loaded(store, "y:1", layers=(ABOVE,))
    damaged = image.id if which == "configuration" else digest_of(image.manifest.raw)
    store.images.blobs.path(damaged).write_bytes(b"{}")
    again = open_store(store.root)
    assert [one.id for one in again.images.select()] == [other.id]
    with pytest.raises((Internal, NotFound)):
        again.images.get("x:1")
    assert Deleted(image.id) in again.images.remove("x:1")
    assert loaded(again, "x:1") == again.images.get("x:1")
    assert again.images.get("x:1").id == image.id
