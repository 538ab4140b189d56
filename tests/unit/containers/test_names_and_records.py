"""Names, and the records that hold them."""

from pathlib import Path

import pytest

from tiffin.containers.names import checked, invent, new_id
from tiffin.containers.records import Records
from tiffin.content.ledger import Ledger
from tiffin.errors import Conflict, Invalid, NotFound
from tiffin.model.container import ContainerId
from tiffin.model.container_status import Exited, Health, Probe, Running
from unit.containers.specimens import container


@pytest.fixture
def ledger(tmp_path: Path) -> Ledger:
    return Ledger(tmp_path / "ledger.db")


@pytest.mark.parametrize("name", ["web", "/web", "a.b-c_1", "0a"])
def test_a_name_of_letters_digits_and_a_few_signs_is_accepted(name: str) -> None:
    assert checked(name) == name.removeprefix("/")


@pytest.mark.parametrize("name", ["a", "_a", "-a", "a/b", "a b", "ä", "a\n", ""])
def test_other_names_are_refused_in_dockers_words(name: str) -> None:
    with pytest.raises(Invalid, match="Invalid container name"):
        checked(name)


def test_an_id_is_never_a_number_in_its_short_form() -> None:
    assert all(not new_id()[:12].isdecimal() for _ in range(2000))


def test_an_invented_name_is_free() -> None:
    taken = {invent(lambda name: False) for _ in range(20)}
    assert invent(taken.__contains__) not in taken


def test_a_record_survives_a_restart_whole(ledger: Ledger) -> None:
    made = container("web")
    records = Records(ledger)
    records.reserve_name("web", made.id)
    records.add(made)
    records.change(made.id, status=Running(pid=7, started_at=8), restart_count=2, health=Health("healthy", 0))
    again = Records(ledger).get(made.id)
    assert again == records.get(made.id)
    assert isinstance(again.status, Running) and again.status.pid == 7


def test_a_probe_log_survives_a_restart(ledger: Ledger) -> None:
    made = container("web", health=Health("starting", 1, (Probe(1, 2, 0, "ok"),)))
    records = Records(ledger)
    records.add(made)
    assert Records(ledger).get(made.id).health == made.health


def test_a_taken_name_names_its_holder(ledger: Ledger) -> None:
    records = Records(ledger)
    made = container("web")
    records.add(made)
    with pytest.raises(
        Conflict, match=f'Conflict. The container name "/web" is already in use by container "{made.id}"'
    ):
        records.reserve_name("web", "other")


def test_containers_are_found_by_name_id_and_prefix(ledger: Ledger) -> None:
    records = Records(ledger)
    first = container("first", id=ContainerId("aa" + "0" * 62))
    second = container("second", id=ContainerId("ab" + "0" * 62))
    for one in (first, second):
        records.add(one)
    assert records.find("first") is records.find("/first") is records.find(first.id) is records.find("aa")
    with pytest.raises(Invalid, match="multiple IDs found with provided prefix: a"):
        records.find("a")
    with pytest.raises(NotFound, match="No such container: b"):
        records.find("b")


def test_a_container_that_is_still_being_made_is_not_found(ledger: Ledger) -> None:
    records = Records(ledger)
    records.reserve_name("web", container("web").id)
    with pytest.raises(NotFound, match="No such container: web"):
        records.find("web")


def test_a_removed_container_frees_its_name_and_is_gone_after_a_restart(ledger: Ledger) -> None:
    records = Records(ledger)
    made = container("web", status=Exited(0, 1, 2))
    records.add(made)
    records.remove(made.id)
    assert records.reserve_name("web", "other") == "web"
    assert not list(Records(ledger))
