"""A copy of a volume shares its data with the first where the file system can."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from rig import Engine

pytestmark = pytest.mark.root

MEBIBYTES = 8
LEAST = 320  # MiB that xfs wants


@pytest.fixture(params=["btrfs", "xfs"])
def tiffin(request: pytest.FixtureRequest) -> Iterator[Engine]:
    """An engine whose data root lies on such a file system, in a file."""
    kind = request.param
    if shutil.which(f"mkfs.{kind}") is None:
        pytest.skip(f"mkfs.{kind} is not installed")
    if f"\t{kind}\n" not in Path("/proc/filesystems").read_text() or not Path("/dev/loop-control").exists():
        pytest.skip(f"this kernel mounts no {kind} from a file")
    engine = Engine("tiffin", start=False)
    try:
        image = engine.root / "disk"
        with image.open("wb") as sparse:
            sparse.truncate(LEAST << 20)
        subprocess.run([f"mkfs.{kind}", "-q", str(image)], check=True, capture_output=True, timeout=60)
        engine.data_root.mkdir()
        mount = ["mount", "-o", "loop", str(image), str(engine.data_root)]
        subprocess.run(engine.machine.inside(mount, mounts=True), check=True, timeout=60)
        engine.start()
        yield engine
    finally:
        engine.close()
    assert not engine.leftovers


def test_copied_volumes_share_their_extents(tiffin: Engine) -> None:
    cli = tiffin.cli("tiffin")

    def run(*argv: str) -> str:
        command = tiffin.machine.inside(argv, mounts=True)
        return subprocess.run(command, check=True, capture_output=True, text=True, timeout=60).stdout

    def path(volume: str) -> str:
        return cli("volume", "inspect", "-f", "{{.Mountpoint}}", volume).line + "/file"

    cli("volume", "create", "data")
    run("dd", "if=/dev/urandom", f"of={path('data')}", "bs=1M", f"count={MEBIBYTES}", "conv=fsync")
    assert "shared" not in run("filefrag", "-v", path("data"))
    cli("volume", "copy", "data", "other")
    assert "shared" in run("filefrag", "-v", path("other"))
    run("cmp", path("data"), path("other"))
    # they are two volumes all the same
    before = run("sha256sum", path("data"))
    run("dd", "if=/dev/zero", f"of={path('other')}", "bs=1M", "count=1", "conv=notrunc")
    assert run("sha256sum", path("data")) == before
