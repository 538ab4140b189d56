"""What the tests take from Debian's archive, fetched and made before the first of them.

Once on a machine, and for minutes on a slow one: no test has that much time.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Sequence
from functools import partial

import pytest

from rig import debian, erofs_utils, plugins


def make(items: Sequence[pytest.Item]) -> None:
    """Whatever these tests want. What cannot be had is their affair: they ask again, and say why or are skipped."""
    fixtures = {name for item in items for name in getattr(item, "fixturenames", ())}
    files = {item.path.name for item in items}
    wanted: list[Callable[[], object]] = []
    if fixtures & {"debian", "python"} or "test_long_builds.py" in files:
        wanted.append(debian.archive)
    if fixtures & {"builder", "compose"}:
        wanted += [plugins.newest, partial(plugins.fetched, "trixie")]
    if "test_erofs.py" in files:
        wanted.append(partial(erofs_utils.tool, "fsck.erofs"))
    for one in wanted:
        with contextlib.suppress(Exception):
            one()
