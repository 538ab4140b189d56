"""What files take on disk."""

import os
import stat


def disk_usage(directory: str) -> int:
    """Bytes beneath a directory, as du counts: hard links once, holes not. -1 where it can't be told."""
    counted: set[tuple[int, int]] = set()
    total = 0
    try:
        # by descriptors: a container that swaps directories for links meanwhile leads us nowhere
        for _, directories, files, fd in os.fwalk(directory, follow_symlinks=False):
            for name in (*directories, *files):
                try:
                    status = os.stat(name, dir_fd=fd, follow_symlinks=False)
                except FileNotFoundError:
                    continue
                if status.st_nlink > 1 and not stat.S_ISDIR(status.st_mode):
                    key = (status.st_dev, status.st_ino)
                    if key in counted:
                        continue
                    counted.add(key)
                total += status.st_blocks * 512
    except OSError:
        return -1
    return total
