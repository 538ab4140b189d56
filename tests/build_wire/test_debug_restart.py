"""A daemon's failed steps are not its successor's."""

from __future__ import annotations

from pathlib import Path

import pytest

from build_wire.test_buildx import write
from build_wire.test_debug import kept, writable
from rig import Engine, eventually

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


def test_a_shell_that_is_open_ends_with_its_daemon_or_at_the_next_start(tmp_path: Path) -> None:
    engine = Engine("tiffin")
    try:
        engine.load("busybox")
        tiffin = engine.cli("tiffin")
        folder = write(tmp_path / "c", Dockerfile="FROM busybox\nRUN echo left > /left; false\n")
        for number in (15, 9):
            tiffin("build", str(folder), check=False)
            with tiffin.terminal("builder", "debug") as terminal:
                terminal.expect("/ # ")
                engine.restart(number)
            eventually(lambda: not any("sh" in line.split() for line in commands(engine)), what="the shell's end")
            assert kept(engine) == writable(engine) == []
            assert list((engine.exec_root / "containers").iterdir()) == []
            assert "nothing wrong" in tiffin("system", "check").out
    finally:
        engine.close()


def commands(engine: Engine) -> list[str]:
    return list(engine.machine.processes().values())
