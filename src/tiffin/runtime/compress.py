"""Compressing a rotated log file, in a process of its own that the forkserver forks."""

import os


def compress(path: str) -> None:
    """Make path.gz of path. When it is rotated on meanwhile (path.1 becomes path.2), its new name is followed."""
    import zlib

    packer = zlib.compressobj(6, zlib.DEFLATED, 31)
    source = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    temporary = f"{path}.{os.getpid()}.tmp"
    target = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o640)
    try:
        while block := os.read(source, 1 << 20):
            os.write(target, packer.compress(block))
        os.write(target, packer.flush())
        current = _current(path, source)
        if current is not None:
            os.rename(temporary, current + ".gz")
            os.unlink(current)
            return
    except OSError:
        pass  # a full disk: the file stays as it is
    os.unlink(temporary)


def _current(path: str, source: int) -> str | None:
    """What the open file is called now; None when it was rotated away."""
    status = os.fstat(source)
    base, _, number = path.rpartition(".")
    for behind in range(int(number), int(number) + 100):
        candidate = f"{base}.{behind}"
        try:
            if os.path.samestat(os.stat(candidate), status):
                return candidate
        except OSError:
            continue
    return None
