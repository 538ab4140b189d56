"""These faults are tiffin's, whatever engine the other tests are run on."""

from __future__ import annotations

import functools
from collections.abc import Callable

import pytest

from rig import Engine


@pytest.fixture
def start_engine(start_engine: Callable[..., Engine]) -> Callable[..., Engine]:
    """Always tiffind."""
    return functools.partial(start_engine, kind="tiffin")
