"""A daemon's failed steps are not its successor's."""

from __future__ import annotations

from pathlib import Path

import pytest

from build_wire.test_buildx import write
from build_wire.test_debug import kept, writable
from rig import Engine

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]


@pytest.mark.parametrize("number", [15, 9])
def test_what_failed_steps_have_left_goes_with_the_daemon(number: int, tmp_path: Path) -> None:
    engine = Engine("tiffin")
    try:
        engine.load("busybox")
        folder = write(tmp_path / "c", Dockerfile="FROM busybox\nRUN echo left > /left; false\n")
        engine.cli("tiffin")("build", str(folder), check=False)
        assert len(kept(engine)) == len(writable(engine)) == 1
        engine.restart(number)
        assert kept(engine) == writable(engine) == []
        assert "nothing wrong" in engine.cli("tiffin")("system", "check").out
    finally:
        engine.close()
