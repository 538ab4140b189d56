"""Statistics of a group whose files go while they are read: its container has ended, or starts again."""

from pathlib import Path

import pytest

from tiffin.linux import cgroups_stats
from tiffin.linux.cgroups import UNIFIED, Cgroup


@pytest.mark.parametrize("version", [1, 2])
def test_a_group_without_files_has_used_nothing(tmp_path: Path, version: int) -> None:
    controllers = (UNIFIED,) if version == 2 else ("memory", "cpu", "cpuacct", "blkio", "pids")
    found = cgroups_stats.read(Cgroup(dict.fromkeys(controllers, str(tmp_path)), version))
    assert (found["memory"], found["pids"]) == ({}, {})
    assert found["cpu"]["total"] == 0
