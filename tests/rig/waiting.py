"""Waiting for conditions."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")
PATIENCE = float(os.environ.get("TIFFIN_TEST_PATIENCE", "1"))
"""How many times as long to wait for anything: for machines that are emulated."""


def eventually(
    condition: Callable[[], T],
    *,
    within: float = 60.0,
    what: str = "",
    every: float = 0.02,
    errors: type[Exception] = OSError,
) -> T:
    """The first true value of condition(); AssertionError with `what` after `within` seconds.

    The deadline is generous on purpose: it bounds a failure and never decides a success. `errors` count as not yet.
    """
    deadline = time.monotonic() + within * PATIENCE
    while True:
        problem: Exception | None = None
        try:
            if value := condition():
                return value
        except errors as error:
            problem = error
        if time.monotonic() > deadline:
            raise AssertionError(f"not within {within:g} s: {what or condition}") from problem
        time.sleep(every)
