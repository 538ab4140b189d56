"""Fixtures of the network tests."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from kernel.network_host import Containers, Host


@pytest.fixture
def host(tmp_path: Path) -> Iterator[Host]:
    """A host with networks."""
    made = Host(tmp_path)
    yield made
    made.close()


@pytest.fixture
def container() -> Containers:
    """Makes records of containers."""
    return Containers()
