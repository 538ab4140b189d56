"""The image that images are measured with, and what is done with it: 5 layers, 324 MB, 10,000 files.

Made from a fixed seed: every machine has the same bytes. Files are as in a distribution's image, many small ones and a
few of megabytes; half of what is in them does not compress.
"""

from __future__ import annotations

import io
import os
import random
import shutil
import subprocess
import tarfile
from pathlib import Path

from measures import Measure, Subject

from rig import archives
from rig.registries import Registry

NAME = "bench/big:1"
LAYERS, FILES, SIZE = 5, 10_000, 324 << 20
_PORT = 5000
_TEXT = b"What is in the files of images: words, and words again; a compressor finds most of them twice. "


def archive() -> Path:
    """The image as `docker load` takes it; made once and kept."""
    path = archives.cache() / "bench-big-1.tar"
    if not path.exists():
        layers = [_layer(number) for number in range(LAYERS)]
        archives.write(path, [archives.Recipe([NAME], layers, {"Cmd": ["true"]})])
        for layer in layers:
            layer.unlink()
    return path


def _layer(number: int) -> Path:
    path = archives.cache() / f"bench-big-1.{number}.layer"
    source = random.Random(number)
    noise = source.randbytes(8 << 20)
    count = FILES // LAYERS
    weights = [source.paretovariate(1.1) for _ in range(count)]
    scale = SIZE / LAYERS / sum(weights)
    with tarfile.open(path, mode="w") as tar:
        for index in range(100):
            archives.add(tar, f"usr/lib/part-{number}/{index:03}", type=tarfile.DIRTYPE, mode=0o755)
        for index, weight in enumerate(weights):
            size = int(weight * scale)
            name = f"usr/lib/part-{number}/{index % 100:03}/file-{index:05}"
            archives.add(tar, name, _content(source, noise, size), mode=0o755 if index % 7 == 0 else 0o644)
    return path


def _content(source: random.Random, noise: bytes, size: int) -> bytes:
    pieces = io.BytesIO()
    while pieces.tell() < size:
        start = source.randrange(len(noise) - 65536)
        pieces.write(noise[start : start + source.randrange(200, 8192)])
        pieces.write(_TEXT * source.randrange(1, 80))
    return pieces.getvalue()[:size]


# -- where it comes from and goes to -----------------------------------------------------------------------------------


def registry(subject: Subject) -> Registry:
    """A docker-registry in the engine's network namespace, with the image in it."""
    if subject.registry is None:
        subject.registry = Registry(subject.engine, subject.engine.root / "registry", _PORT)
    return subject.registry


def seeded(subject: Subject) -> str:
    """The image's name in the registry, which has it."""
    data = registry(subject).root / "data"
    if not data.exists():
        kept = archives.cache() / "bench-big-1.registry"
        if not kept.exists():
            target = f"docker://127.0.0.1:{_PORT}/{NAME}"
            options = ["--dest-tls-verify=false", "--dest-compress-format", "gzip"]
            copy = ["skopeo", "copy", "-q", *options, f"docker-archive:{archive()}", target]
            subject.engine.machine.run(copy, timeout=600)
            shutil.copytree(data, kept)
        else:
            shutil.copytree(kept, data)
    return f"127.0.0.1:{_PORT}/{NAME}"


def emptied(subject: Subject) -> str:
    """The image's name in the registry, which has nothing."""
    shutil.rmtree(registry(subject).root / "data", ignore_errors=True)
    return f"127.0.0.1:{_PORT}/{NAME}"


def loaded(subject: Subject) -> str:
    if not subject.docker("images", "-q", NAME).strip():
        subject.docker("load", "-q", "-i", str(archive()))
    return NAME


def absent(subject: Subject) -> None:
    """No trace of the image, nothing waiting to be written to the disk."""
    if found := subject.docker("images", "-q", "--no-trunc").split():
        listed = subject.docker("images", "--format", "{{.Repository}}:{{.Tag}}").split()
        names = [name for name in listed if name.endswith(NAME)]
        if names and found:
            subject.docker("rmi", *names)
    os.sync()


# -- measures ----------------------------------------------------------------------------------------------------------


def load(subject: Subject) -> float:
    source = str(archive())
    absent(subject)
    return subject.timed("load", "-q", "-i", source)


def pull(subject: Subject) -> float:
    name = seeded(subject)
    absent(subject)
    return subject.timed("pull", "-q", name)


def save(subject: Subject) -> float:
    name, target = loaded(subject), subject.engine.root / "saved.tar"
    os.sync()
    elapsed = subject.timed("save", "-o", str(target), name)
    target.unlink()
    return elapsed


def remove(subject: Subject) -> float:
    absent(subject)
    name = loaded(subject)
    os.sync()
    return subject.timed("rmi", name)


def push(subject: Subject) -> float:
    absent(subject)  # what an engine remembers of the registry goes with the image
    name = loaded(subject)
    target = emptied(subject)
    subject.docker("tag", name, target)
    os.sync()
    elapsed = subject.timed("push", "-q", target)
    emptied(subject)
    return elapsed


def peak_of_load(subject: Subject) -> float:
    absent(subject)
    return _peak(subject, "load", "-q", "-i", str(archive()))


def peak_of_pull(subject: Subject) -> float:
    name = seeded(subject)
    absent(subject)
    return _peak(subject, "pull", "-q", name)


def _peak(subject: Subject, *words: str) -> float:
    """The sum of the largest resident sets of the engine's own processes, in MiB, while it does something."""
    pids = subject.own_processes()
    for pid in pids:
        Path(f"/proc/{pid}/clear_refs").write_text("5")
    subject.docker(*words)
    return sum(_high_water(pid) for pid in pids) / 1024


def _high_water(pid: int) -> int:
    """KiB; 0 of a process that has ended."""
    try:
        text = Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return 0
    return next((int(line.split()[1]) for line in text.splitlines() if line.startswith("VmHWM:")), 0)


def processor_of_load(subject: Subject) -> float:
    absent(subject)
    return _processor(subject, "load", "-q", "-i", str(archive()))


def processor_of_pull(subject: Subject) -> float:
    name = seeded(subject)
    absent(subject)
    return _processor(subject, "pull", "-q", name)


def _processor(subject: Subject, *words: str) -> float:
    """Processor time of the engine's own processes and of children that they have waited for, in milliseconds."""
    before = {pid: _spent(pid) for pid in subject.own_processes()}
    subject.docker(*words)
    return sum(_spent(pid) - before.get(pid, 0) for pid in subject.own_processes()) * 1000


def _spent(pid: int) -> float:
    """Seconds; 0 of a process that has ended."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return 0
    return sum(map(int, fields[11:15])) / os.sysconf("SC_CLK_TCK")


def disk_of_load(subject: Subject) -> float:
    absent(subject)
    return _disk(subject, "load", "-q", "-i", str(archive()))


def disk_of_pull(subject: Subject) -> float:
    name = seeded(subject)
    absent(subject)
    return _disk(subject, "pull", "-q", name)


def _disk(subject: Subject, *words: str) -> float:
    before = _used(subject.engine.data_root)
    subject.docker(*words)
    os.sync()
    return (_used(subject.engine.data_root) - before) / 2**20


def _used(root: Path) -> int:
    # overlays of running containers would be counted again: they are other file systems
    return int(subprocess.check_output(["du", "-s", "-x", "-B1", str(root)], text=True).split()[0])


MEASURES = (
    Measure("load", "load 324 MB, 5 layers, 10,000 files", load, 1 / 6),
    Measure("pull", "pull the same, gzip", pull, 1 / 5),
    Measure("save", "save the same", save, 1 / 4),
    Measure("rmi", "rmi of the same", remove, 1 / 10),
    Measure("push", "push of the same", push, 1 / 1.5),
    Measure("load-cpu", "engine's processor time, load", processor_of_load),
    Measure("pull-cpu", "engine's processor time, pull", processor_of_pull),
    Measure("load-memory", "engine's memory at most, load", peak_of_load, unit="MiB", rounds=1),
    Measure("pull-memory", "engine's memory at most, pull", peak_of_pull, unit="MiB", rounds=1),
    Measure("load-disk", "disk used by it, loaded", disk_of_load, unit="MiB", rounds=1),
    Measure("pull-disk", "disk used by it, pulled", disk_of_pull, unit="MiB", rounds=1),
)
