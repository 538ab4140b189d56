"""Log files: rotation, long lines, odd bytes, a full disk."""

import gzip
import json
from pathlib import Path

import pytest

from kernel import plans
from kernel.launching import Rig, eventually, with_forkserver
from tiffin.linux import mounts

pytestmark = pytest.mark.root


def test_a_full_file_is_rotated_at_a_line_and_the_oldest_goes(tmp_path: Path) -> None:
    async def body(rig: Rig) -> None:
        log = plans.json_log(rig.place, max_size=20000, max_file=3)
        await rig.output("seq", "1", "3000", log=log)
        files = [rig.place / name for name in ("log.2", "log.1", "log")]
        assert all(file.stat().st_size <= 20000 for file in files)
        assert not (rig.place / "log.3").exists()
        numbers = [int(json.loads(line)["log"]) for file in files for line in file.read_text().splitlines()]
        assert numbers == list(range(numbers[0], 3001))

    with_forkserver(tmp_path, body)


def test_rotated_files_are_compressed(tmp_path: Path) -> None:
    async def body(rig: Rig) -> None:
        log = plans.json_log(rig.place, max_size=20000, max_file=3, compress=True)
        await rig.output("seq", "1", "500", log=log)
        await eventually(lambda: (rig.place / "log.1.gz").exists() and not (rig.place / "log.1").exists())
        older = gzip.decompress((rig.place / "log.1.gz").read_bytes()).decode().splitlines()
        numbers = [int(json.loads(line)["log"]) for line in older] + [int(line["log"]) for line in rig.lines()]
        assert numbers[-1] == 500

    with_forkserver(tmp_path, body)


def test_a_long_line_is_split_and_odd_bytes_stay_readable(tmp_path: Path) -> None:
    async def body(rig: Rig) -> None:
        line = "ä" * 20000
        (rig.place / "root/tmp/text").write_bytes(line.encode() + b'\n"quoted" \\ \t \x1b[1m \x01 \xff end\nlast')
        await rig.output("cat", "/tmp/text", log=plans.json_log(rig.place))
        texts = [entry["log"] for entry in rig.lines()]
        assert "".join(texts[:3]) == line + "\n"
        assert [text.endswith("\n") for text in texts[:3]] == [False, False, True]
        assert all(len(text.encode()) <= 16384 for text in texts)
        assert texts[3] == '"quoted" \\ \t \x1b[1m \x01 � end\n'
        assert texts[4] == "last"

    with_forkserver(tmp_path, body)


def test_a_full_disk_drops_lines_and_never_blocks_the_container(tmp_path: Path) -> None:
    async def body(rig: Rig) -> None:
        disk = rig.place / "disk"
        disk.mkdir()
        mount = mounts.create(b"tmpfs", (b"size=64k",))
        mounts.attach(mount, mounts.AT_FDCWD, bytes(disk))
        try:
            _, how = await rig.output("seq", "1", "5000", log=plans.json_log(rig.place, path=str(disk / "log")))
            assert how.code == 0
            numbers = [int(json.loads(line)["log"]) for line in (disk / "log").read_text().splitlines()]
            assert 0 < len(numbers) < 5000
            assert numbers[:10] == list(range(1, 11))
        finally:
            mounts.umount(bytes(disk), mounts.MNT_DETACH)

    with_forkserver(tmp_path, body)
