"""Plans that are remembered."""

from __future__ import annotations

from typing import Any

import pytest

from tiffin.build import BuildOptions, BuildPlan, DockerfileError, ImagesNeeded, ResolvedImage
from tiffin.build.recent import KEPT, LARGEST, Plans

from .planning import AMD64, image

SOURCE = b"FROM base\nARG A=1\nRUN echo $A\nCOPY . /all\n"


def asked(plans: Plans, source: bytes = SOURCE, layers: int = 1, **options: Any) -> BuildPlan:
    """As a build asks: with nothing known, then with the base image."""
    options = {"build_platform": AMD64, **options}
    needed = plans.plan(source, BuildOptions(**options), {})
    assert isinstance(needed, ImagesNeeded)
    found = plans.plan(
        source, BuildOptions(**options), {one: ResolvedImage(image(layers=layers)) for one in needed.requests}
    )
    assert isinstance(found, BuildPlan)
    return found


def test_who_asks_again_gets_the_same_plan() -> None:
    plans = Plans()
    assert asked(plans, build_args={"A": "2"}) is asked(plans, build_args={"A": "2"})


@pytest.mark.parametrize(
    "changed",
    [
        {"build_args": {"A": "2"}},
        {"ignore": ("x",)},
        {"labels": {"x": "y"}},
        {"no_cache": ()},
        {"source": SOURCE + b"RUN true\n"},
        {"layers": 2},
    ],
    ids=lambda changed: next(iter(changed)),
)
def test_whatever_is_different_makes_another_plan(changed: dict[str, Any]) -> None:
    plans = Plans()
    before = asked(plans)
    assert asked(plans, **changed) != before
    assert asked(plans, **changed) == asked(Plans(), **changed)
    assert asked(plans) is before


def test_what_is_wrong_is_told_each_time() -> None:
    plans = Plans()
    for _ in range(2):
        with pytest.raises(DockerfileError, match="unknown instruction"):
            plans.plan(b"FROM scratch\nNONSENSE\n", BuildOptions(), {})


def test_only_the_last_plans_and_none_of_a_huge_dockerfile_are_kept() -> None:
    plans = Plans()
    first = asked(plans)
    for number in range(KEPT):
        asked(plans, build_args={"A": str(number)})
    assert asked(plans) is not first
    huge = SOURCE + b"# more\n" * (LARGEST // 7)
    assert asked(plans, huge) is not asked(plans, huge)
