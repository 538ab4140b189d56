"""Which packages an image needs."""

import pytest

from tiffin.errors import Conflict, Invalid, NotFound
from tiffin.images.bootstrap import closure, stages
from tiffin.images.bootstrap.packages import Index, Listing, Package

BASE = "Package: base\nVersion: 1\nArchitecture: amd64\nEssential: yes\nPriority: required\n\n"


def index(*stanzas: str) -> Index:
    """`name [version] / Field: value / …` for each package."""
    text = BASE
    for stanza in stanzas:
        name, *fields = stanza.split(" / ")
        name, _, version = name.partition(" ")
        text += "\n".join([f"Package: {name}", f"Version: {version or '1'}", "Architecture: all", *fields]) + "\n\n"
    return Index([Listing(text.encode(), "http://archive")], "amd64")


def needed(found: Index, *names: str) -> list[str]:
    return [one.name for one in closure.resolved(found, closure.asked_for(found, names), "amd64")]


def test_dependencies_are_followed() -> None:
    found = index("a / Depends: b, c", "b / Pre-Depends: d", "c", "d", "e")
    assert needed(found, "a") == ["a", "b", "c", "d"]


def test_a_circle_ends() -> None:
    assert needed(index("a / Depends: b", "b / Depends: a"), "a") == ["a", "b"]


def test_the_first_alternative_that_can_be_is_taken() -> None:
    assert needed(index("a / Depends: b (>= 2) | c | d", "b", "c", "d"), "a") == ["a", "c"]


def test_an_alternative_that_is_there_already_is_enough() -> None:
    assert needed(index("a / Depends: b | c", "b", "c"), "c", "a") == ["a", "c"]


def test_an_alternative_that_excludes_what_is_there_is_passed_over() -> None:
    assert needed(index("a / Depends: b | c", "b / Conflicts: d", "c", "d"), "d", "a") == ["a", "c", "d"]


def test_an_alternative_that_what_comes_later_excludes_is_taken_back() -> None:
    found = index("a / Depends: b | c, d", "b", "c", "d / Conflicts: b")
    assert needed(found, "a") == ["a", "c", "d"]


def test_an_alternative_whose_own_dependency_cannot_be_met_is_taken_back() -> None:
    found = index("a / Depends: b | c", "b / Depends: x", "x / Depends: nowhere", "c / Depends: e | f", "e", "f")
    assert needed(found, "a") == ["a", "c", "e"]


def test_choices_are_taken_back_one_above_the_other() -> None:
    found = index(
        "a / Depends: b | c, z",
        "b / Depends: d | e",
        *("c", "z / Conflicts: d, e"),
        *("d", "e / Depends: f | g", "f", "g"),
    )
    assert needed(found, "a") == ["a", "c", "z"]


def test_where_no_choice_helps_the_first_failure_is_told() -> None:
    found = index("a / Depends: b | c, d", "b", "c", "d / Conflicts: b, c")
    with pytest.raises(Conflict, match=r"d 1 \(needed by a\) can't be installed beside b 1 \(needed by a\)"):
        needed(found, "a")
    many = " | ".join(f"m{number}" for number in range(300))
    found = index(f"a / Depends: {many}", *(f"m{number} / Depends: nowhere" for number in range(300)))
    with pytest.raises(NotFound, match=r"m0 1 \(needed by a\) depends on nowhere"):
        needed(found, "a")


def test_a_virtual_package_is_met_by_who_provides_it() -> None:
    found = index("a / Depends: mail", "b / Provides: mail", "c / Provides: mail / Priority: important")
    assert needed(found, "a") == ["a", "c"]


def test_a_real_package_comes_before_those_that_provide_its_name() -> None:
    assert needed(index("a / Depends: awk", "awk", "mawk / Provides: awk / Priority: required"), "a") == ["a", "awk"]


def test_versions_of_what_is_provided_count() -> None:
    bare, versioned = "b / Provides: api", "b / Provides: api (= 3)"
    assert needed(index("a / Depends: api (>= 2)", versioned), "a") == ["a", "b"]
    for offer in (bare, "b / Provides: api (= 1)"):
        with pytest.raises(NotFound, match=r"a 1 depends on api \(>= 2\), which this archive does not have"):
            needed(index("a / Depends: api (>= 2)", offer), "a")


def test_any_and_this_architecture_are_this_one_and_others_are_not() -> None:
    assert needed(index("a / Depends: b:any, c:amd64", "b", "c"), "a") == ["a", "b", "c"]
    with pytest.raises(NotFound, match="b:arm64"):
        needed(index("a / Depends: b:arm64", "b"), "a")


def test_packages_that_exclude_each_other_are_named_with_who_wants_them() -> None:
    found = index("a / Depends: b", "b", "c / Breaks: b (<< 2)")
    with pytest.raises(Conflict, match=r"c 1 can't be installed beside b 1 \(needed by a\)"):
        needed(found, "a", "c")
    assert needed(index("a / Depends: b", "b 2", "c / Breaks: b (<< 2)"), "a", "c") == ["a", "b", "c"]


def test_one_that_replaces_a_name_does_not_exclude_itself() -> None:
    assert needed(index("a / Provides: mail / Conflicts: mail"), "a") == ["a"]


def test_the_newest_version_of_all_suites_is_taken() -> None:
    (package,) = closure.asked_for(index("a 1.9", "a 1.10", "a 1.2"), ["a"])
    assert str(package) == "a 1.10"


def pinned(found: tuple[str, ...], *names: str) -> list[str]:
    listing = index(*found)._listings
    offered = Index(listing, "amd64", pins=closure.pins(names))
    return [str(one) for one in closure.resolved(offered, closure.asked_for(offered, names), "amd64")]


def test_a_version_can_be_asked_for() -> None:
    offered = ("a 1.10", "a 1.2", "a 1:0.9", "b / Depends: a")
    assert pinned(offered, "a", "b") == ["a 1:0.9", "b 1"]
    assert pinned(offered, "a=1.2", "b") == ["a 1.2", "b 1"], "who depends on it has that one too"
    assert pinned(offered, "a=1.*") == ["a 1.10"]
    assert pinned(("a 1.0", "b"), "a=1.00") == ["a 1.0"], "equal as dpkg compares"
    with pytest.raises(NotFound, match=r"no version 3 of package a in this archive: it has 1:0.9, 1.10, 1.2"):
        pinned(offered, "a=3")
    with pytest.raises(NotFound, match="no package c in this archive"):
        pinned(offered, "c=3")


def test_a_version_that_others_cannot_do_with_is_told() -> None:
    offered = ("a 1", "a 2", "b / Depends: a (>= 2)")
    with pytest.raises(NotFound, match=r"b 1 depends on a \(>= 2\), .* that it has \(2\) none is asked for"):
        pinned(offered, "b", "a=1")
    with pytest.raises(Invalid, match="versions 1 and 2 can't both be had"):
        pinned(offered, "a=1", "a=2")
    with pytest.raises(Invalid, match="give NAME or NAME=VERSION"):
        pinned(offered, "a=")


def test_variants() -> None:
    found = index("apt / Priority: important", "must / Priority: required", "should / Priority: important", "may")
    names = {variant: [one.name for one in closure.base(found, variant)] for variant in closure.VARIANTS}
    assert names == {
        "essential": ["base"],
        "apt": ["apt", "base"],
        "minbase": ["apt", "base", "must"],
        "important": ["apt", "base", "must", "should"],
    }
    with pytest.raises(Invalid, match="no variant 'huge'"):
        closure.base(found, "huge")


def test_what_is_depended_on_beforehand_is_installed_beforehand() -> None:
    found = index("a / Pre-Depends: b", "b / Depends: c", "c / Pre-Depends: d", "d", "e")
    base = closure.base(found, "essential")
    everything = closure.resolved(found, [*base, *closure.asked_for(found, "abcde")], "amd64")
    assert [names(group) for group in stages.waves(everything, base)] == [["d"], ["b", "c"], ["a", "e"]]


def test_a_circle_of_such_dependencies_stays_together() -> None:
    found = index("a / Pre-Depends: b", "b / Pre-Depends: a")
    everything = closure.resolved(found, closure.asked_for(found, "ab"), "amd64")
    assert [names(group) for group in stages.waves(everything, ())] == [["a", "b"]]


def names(packages: list[Package]) -> list[str]:
    return [one.name for one in packages]


@pytest.mark.parametrize("text", ["Version: 1\nArchitecture: all\n", "Package: ../x\nVersion: 1\n", "Package: x\n"])
def test_an_index_with_nameless_packages_is_refused(text: str) -> None:
    with pytest.raises(Invalid):
        Listing(text.encode(), "http://archive").package(0)


def test_a_package_without_a_checksum_cannot_be_fetched() -> None:
    package = Listing(b"Package: ab\nVersion: 1\nArchitecture: all\nFilename: x\nSize: 1\nMD5sum: y\n", "").package(0)
    with pytest.raises(Invalid, match="no SHA256"):
        _ = package.file
