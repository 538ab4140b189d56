"""Versions compared as dpkg compares them: by a table, and by dpkg itself."""

import shutil
import subprocess
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tiffin.errors import Invalid
from tiffin.images.bootstrap.versions import compare, newest, satisfies

# each is older than the next
RISING = [
    "1.0~~",
    "1.0~~a",
    "1.0~",
    "1.0",
    "1.0-0.1",
    "1.0-1",
    "1.0-1+b1",
    "1.0a",
    "1.0+",
    "1.0.1",
    "1.2",
    "1.10",
    "1:0",
]


def test_versions_rise_as_dpkg_says() -> None:
    for older, newer in pairwise(RISING):
        assert compare(older, newer) < 0 < compare(newer, older)
    assert max(RISING, key=newest) == "1:0"


@pytest.mark.parametrize("a, b", [("1.0", "1.0-0"), ("0:1.0", "1.0"), ("1.00", "1.0"), ("1.01", "1.1")])
def test_spellings_that_are_equal(a: str, b: str) -> None:
    assert compare(a, b) == compare(b, a) == 0


@pytest.mark.parametrize("text", ["", ":1", "a:1", "1_0", "1.0-", "1 0", "1.0\n"])
def test_what_is_no_version_is_refused(text: str) -> None:
    with pytest.raises(Invalid):
        compare(text, "1")


@pytest.mark.parametrize(
    "operator, holds",
    [("<<", (True, False, False)), ("<=", (True, True, False)), ("=", (False, True, False)),
     (">=", (False, True, True)), (">>", (False, False, True)), ("", (True, True, True))],
)  # fmt: skip
def test_relations(operator: str, holds: tuple[bool, bool, bool]) -> None:
    assert tuple(satisfies(version, operator, "2") for version in ("1", "2", "3")) == holds


parts = st.text("0123456789ab+.~", min_size=1, max_size=8).map(lambda text: "1" + text)
versions = st.builds(
    lambda epoch, upstream, revision: f"{epoch}{upstream}{revision}",
    st.sampled_from(["", "0:", "1:"]),
    parts,
    st.one_of(st.just(""), parts.map(lambda text: f"-{text}")),
)


@pytest.mark.skipif(shutil.which("dpkg") is None, reason="compares with dpkg, which this machine does not have")
@settings(max_examples=60, deadline=None)
@given(versions, versions)
def test_every_pair_is_ordered_as_dpkg_orders_it(a: str, b: str) -> None:
    order = next(name for name in ("lt", "eq", "gt") if holds(a, name, b))
    assert (compare(a, b) > 0) - (compare(a, b) < 0) == {"lt": -1, "eq": 0, "gt": 1}[order]


def holds(a: str, relation: str, b: str) -> bool:
    return subprocess.run(["dpkg", "--compare-versions", a, relation, b]).returncode == 0
