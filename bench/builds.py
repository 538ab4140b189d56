"""Builds by `docker buildx build` (the driver docker, which speaks to the engine's own BuildKit)."""

from __future__ import annotations

import itertools
import os
import random
import time
from pathlib import Path

from measures import Measure, Subject

from rig import archives
from rig.plugins import newest

STEPS = "".join(f"RUN echo {number} > /made-{number}\n" for number in range(3))
DOCKERFILE = f"FROM busybox\nARG ROUND\nWORKDIR /work\n{STEPS}COPY file /work/\nENV A=b\nRUN cat file > copied\n"
DEBIANS = "/usr/bin/docker"
FILES, SIZE = 5_000, 200 << 20
_rounds = itertools.count(time.time_ns())


def plugged(folder: Path) -> dict[str, str]:
    """The environment in which docker finds its newest plugins, in a folder that is made if need be."""
    if not folder.exists():
        (folder / "cli-plugins").mkdir(parents=True)
        for plugin in newest().iterdir():
            os.symlink(plugin, folder / "cli-plugins" / plugin.name)
    return {"DOCKER_CONFIG": str(folder), "BUILDX_CONFIG": str(folder)}


def build(subject: Subject, directory: Path, *options: str) -> float:
    """Milliseconds of one build."""
    subject.environment.update(plugged(subject.engine.root / "docker-with-plugins"))
    return subject.timed("buildx", "build", "-q", "-t", "bench-build", *options, str(directory))


def small() -> Path:
    """A context of one file, and 6 steps that do little; made once and kept."""
    directory = archives.cache() / "bench-small-context-1"
    if not directory.exists():
        partial = directory.with_suffix(".partial")
        partial.mkdir(exist_ok=True)
        (partial / "Dockerfile").write_text(DOCKERFILE)
        (partial / "file").write_text("content")
        partial.rename(directory)
    return directory


def big() -> Path:
    """A context of 200 MB in 5,000 files; made once and kept."""
    directory = archives.cache() / "bench-context-1"
    if not directory.exists():
        partial = directory.with_suffix(".partial")
        source = random.Random(1)
        for number in range(FILES):
            path = partial / f"part-{number % 50}" / f"file-{number}"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(source.randbytes(SIZE // FILES))
        (partial / "Dockerfile").write_text("FROM busybox\nCOPY . /all\n")
        partial.rename(directory)
    return directory


def cached(subject: Subject) -> float:
    build(subject, small())
    return build(subject, small())


def cached_without_plugin(subject: Subject) -> float:
    """By Debian 12's docker, 20.10, which has a BuildKit client of its own: nothing else is started before it asks."""
    subject.environment["DOCKER_BUILDKIT"] = "1"  # the others say buildx
    words = "build", "-q", "-t", "bench-build", str(small())
    subject.docker(*words, cli=DEBIANS)
    return subject.timed(*words, cli=DEBIANS)


def uncached(subject: Subject) -> float:
    build(subject, small())
    return build(subject, small(), "--build-arg", f"ROUND={next(_rounds)}", "--no-cache")


def unchanged(subject: Subject) -> float:
    build(subject, big())
    return build(subject, big())


MEASURES = (
    Measure("build-cached", "`build`, everything cached", cached, 1 / 3),
    Measure("build-without-plugin", "the same, by docker 20.10's own client", cached_without_plugin, 1 / 3),
    Measure("build-uncached", "`build`, nothing cached, 6 steps", uncached, 1 / 1.5),
    Measure("build-context", "`build` of 200 MB in 5,000 files, unchanged", unchanged, 1, rounds=3),
)
