"""Engines side by side: the same docker command line, one machine, rounds interleaved, medians, the ratio to dockerd.

    python bench/run.py                       everything, 5 rounds
    python bench/run.py --rounds 20 run exec  two measures
    python bench/run.py --engine tiffin       one engine

Each engine runs in a network and mount namespace of its own (tests/rig). A measure that fails on an engine is a dash
in the table and a line below it; the exit status is 0 all the same.
"""

from __future__ import annotations

import argparse
import os
import shutil
import statistics
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT / "tests"), str(ROOT / "bench")]

import builds  # noqa: E402
import images  # noqa: E402
import measures  # noqa: E402
import networks  # noqa: E402
from measures import Measure, Subject  # noqa: E402

from rig import Engine  # noqa: E402
from rig.engine import KINDS  # noqa: E402

MEASURES = (*measures.MEASURES, *networks.MEASURES, *images.MEASURES, *builds.MEASURES)
Samples = dict[tuple[str, str], list[float]]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("measures", nargs="*", metavar="measure", help=" ".join(measure.name for measure in MEASURES))
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--engine", action="append", choices=KINDS, help="all that are installed without it")
    options = parser.parse_args()
    if unknown := set(options.measures) - {measure.name for measure in MEASURES}:
        parser.error(f"no such measure: {', '.join(sorted(unknown))}")
    chosen = [measure for measure in MEASURES if not options.measures or measure.name in options.measures]
    problems: list[str] = []
    subjects = start(options.engine or [kind for kind in ("dockerd", "podman", "tiffin") if installed(kind)], problems)
    samples: Samples = {}
    try:
        for measure in chosen:
            collect(measure, subjects, options.rounds, samples, problems)
    finally:
        for subject in subjects.values():
            if subject.registry is not None:
                subject.registry.close()
            subject.engine.close()
    print(table(chosen, list(subjects), samples))
    for problem in problems:
        print(f"\n{problem}")


def installed(kind: str) -> bool:
    return kind == "tiffin" or shutil.which(kind) is not None


def started(kind: str) -> Engine:
    """An engine that is up. What it keeps while containers run is on a tmpfs, as /run is."""
    engine = Engine(kind, start=False)
    engine.exec_root.mkdir(0o711)
    try:
        mount = ["mount", "-t", "tmpfs", "-o", "mode=711", "tmpfs", engine.exec_root]
        subprocess.run(engine.machine.inside(mount, mounts=True), check=True)
        engine.start()
    except BaseException:
        engine.machine.close()
        raise
    return engine


def start(kinds: list[str], problems: list[str]) -> dict[str, Subject]:
    """The engines that start, each with the busybox image."""
    subjects: dict[str, Subject] = {}
    for kind in kinds:
        try:
            engine = started(kind)
        except (RuntimeError, OSError) as error:
            problems.append(f"{kind}: {error}")
            continue
        try:
            engine.load("busybox")
            subjects[kind] = Subject(engine)
        except AssertionError as error:
            problems.append(f"{kind}: {error}")
            engine.close()
    return subjects


def collect(measure: Measure, subjects: dict[str, Subject], rounds: int, samples: Samples, problems: list[str]) -> None:
    """Take turns: a round is one sample of each engine, so that a slow moment of the machine hits all of them."""
    failed: set[str] = set()
    for number in range(min(rounds, measure.rounds or rounds) + 1):
        for kind, subject in subjects.items():
            if kind in failed or (measure.engines and kind not in measure.engines):
                continue
            try:
                value = measure.sample(subject)
            except Exception as error:
                problems.append(f"{measure.name} on {kind}: {error}")
                failed.add(kind)
                continue
            if number or measure.rounds == 1:  # the first round warms up
                samples.setdefault((measure.name, kind), []).append(value)
        if measure.rounds == 1:
            break
    medians = {
        kind: statistics.median(samples[measure.name, kind]) for kind in subjects if (measure.name, kind) in samples
    }
    figures = ", ".join(f"{kind} {value:.1f}" for kind, value in medians.items())
    print(f"{measure.name}: {figures} {measure.unit}", file=sys.stderr)


def medians_of(measure: Measure, samples: Samples) -> dict[str, float]:
    """engine -> median."""
    return {kind: statistics.median(values) for (name, kind), values in samples.items() if name == measure.name}


def table(chosen: list[Measure], kinds: list[str], samples: Samples) -> str:
    """Markdown: a row a measure, a column an engine, one for the ratio to each dockerd, and what it may be."""
    peers = [kind for kind in kinds if kind.startswith("dockerd")]
    heads = ["work", *kinds, *(f"tiffin / {kind}" for kind in peers), "budget"]
    lines = [
        f"{os.uname().sysname} {os.uname().release}, {os.cpu_count()} CPUs; medians",
        "",
        f"| {' | '.join(heads)} |",
        "|---|" + "---:|" * (len(heads) - 1),
    ]
    for measure in chosen:
        medians = medians_of(measure, samples)
        cells = [measure.title]
        cells += [f"{medians[kind]:,.1f} {measure.unit}" if kind in medians else "–" for kind in kinds]
        cells += [
            judged(measure, medians["tiffin"] / medians[kind]) if {"tiffin", kind} <= medians.keys() else "–"
            for kind in peers
        ]
        lines.append(f"| {' | '.join([*cells, allowed(measure, medians)])} |")
    return "\n".join(lines)


def judged(measure: Measure, ratio: float) -> str:
    """A ratio the way budgets are written, 1/5.3 or 1.20, and whether the budget is kept."""
    verdict = "" if measure.budget is None else " kept" if ratio <= measure.budget else " missed"
    return (f"1/{1 / ratio:.1f}" if ratio < 1 else f"{ratio:.2f}") + verdict


def allowed(measure: Measure, medians: dict[str, float]) -> str:
    """The budget: a ratio; where it is a ceiling of tiffin's own, whether it is kept as well."""
    if measure.ceiling is None:
        return f"1/{1 / measure.budget:g}" if measure.budget else "–"
    kept = "" if "tiffin" not in medians else " kept" if medians["tiffin"] <= measure.ceiling else " missed"
    return f"{measure.ceiling:g} {measure.unit}{kept}"


if __name__ == "__main__":
    main()
