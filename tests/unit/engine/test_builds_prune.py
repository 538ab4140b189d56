"""How much of the build cache a prune leaves."""

from __future__ import annotations

import pytest

from tiffin.engine.builds_prune import PruneRequest, kept_bytes


@pytest.mark.parametrize(
    ("asked", "free", "kept"),
    [
        ({}, 50, None),
        ({"keep_storage": 30}, 50, 30),
        ({"max_used_space": 40}, 50, 40),
        ({"max_used_space": 40, "keep_storage": 60}, 50, 60),
        ({"min_free_space": 50}, 50, 100),
        ({"min_free_space": 70}, 50, 80),
        ({"min_free_space": 70, "max_used_space": 40}, 50, 40),
        ({"min_free_space": 70, "max_used_space": 90}, 50, 80),
        ({"min_free_space": 500}, 50, 0),
        ({"min_free_space": 500, "keep_storage": 20}, 50, 20),
    ],
)
def test_every_limit_is_kept_to_above_what_is_reserved(asked: dict[str, int], free: int, kept: int | None) -> None:
    assert kept_bytes(PruneRequest(**asked), 100, free) == kept  # type: ignore[arg-type]
