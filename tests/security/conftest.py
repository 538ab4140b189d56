"""Containers that the tests of a module share."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from rig import Engine
from security.boxes import Box, own_capabilities, start


@pytest.fixture(scope="module")
def box(engine: Engine) -> Iterator[Box]:
    engine.clear()
    yield start(engine, "box")
    engine.clear()


@pytest.fixture(scope="module")
def grants_everything(engine: Engine) -> None:
    """runc fails where the machine itself lacks a capability that --privileged means; tiffin grants what there is."""
    highest = int(Path("/proc/sys/kernel/cap_last_cap").read_text())
    if engine.kind == "dockerd" and own_capabilities() != (2 << highest) - 1:
        pytest.skip("this machine lacks capabilities, so that dockerd can't start privileged containers")


@pytest.fixture(scope="module")
def privileged(engine: Engine, box: Box, grants_everything: None) -> Box:
    return start(engine, "privileged", "--privileged")
