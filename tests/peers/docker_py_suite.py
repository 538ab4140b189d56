"""Runs docker-py's own integration suite (github docker/docker-py, tests/integration) against an engine in the rig.

    python tests/peers/docker_py_suite.py CHECKOUT --engine dockerd --write dockerd.txt
    python tests/peers/docker_py_suite.py CHECKOUT --engine tiffin --baseline dockerd.txt

docker.io is a docker-registry of the run's own, set as its mirror; one test wants an image by a digest that only the
real one has. Each line of a list is `outcome test - reason`. With a baseline the report names the tests that pass there
and not here.
Nothing of the suite is part of this project; it is read where it lies.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import os
import subprocess
import sys
import tarfile
import xml.etree.ElementTree as ET
from collections import Counter
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from rig import Engine, archives
from rig.engine import KINDS
from rig.registries import Registry

# No swarm, no plugins: no goal of this project.
LEFT_OUT = ("swarm", "service", "services", "nodes", "secret", "config", "plugin")
PORT = 5000
STUBS = Path(__file__).resolve().parent / "stubs"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("checkout", type=Path)
    parser.add_argument("--engine", choices=KINDS, default="tiffin")
    parser.add_argument("--junit", type=Path, default=Path("/tmp/docker-py.xml"))
    parser.add_argument("--baseline", type=Path, help="a list that another engine wrote")
    parser.add_argument("--write", type=Path, help="where the list of outcomes goes")
    parser.add_argument("-k", dest="expression", default="", help="as pytest's -k")
    options = parser.parse_args()
    engine = Engine(options.engine, options=["--registry-mirror", f"http://127.0.0.1:{PORT}"])
    try:
        prepare(engine)
        with contextlib.closing(Registry(engine, engine.root / "registry", PORT)) as registry:
            publish(engine, registry)
            run_suite(engine, options.checkout, options.junit, options.expression)
    finally:
        engine.close()
    outcomes = read(options.junit)
    lines = [
        f"{outcome} {test}{f' - {reason}' if reason else ''}" for test, (outcome, reason) in sorted(outcomes.items())
    ]
    if options.write:
        options.write.write_text("\n".join(lines) + "\n")
    print("\n".join(line for line in lines if not line.startswith("passed")))
    print(dict(Counter(outcome for outcome, _ in outcomes.values())))
    return compare(options.baseline, outcomes) if options.baseline else 0


def prepare(engine: Engine) -> None:
    """Give the engine the images that the suite means by these names."""
    engine.load("busybox")
    layers = [engine.root / "busybox.tar", engine.root / "alpine.tar"]
    layers[0].write_bytes(archives.busybox_layer())
    layers[1].write_bytes(alpine_layer())
    config = {"Cmd": ["/bin/sh"], "Env": [archives.PATH]}
    archive = engine.root / "alpine-archive.tar"
    archives.write(archive, [archives.Recipe(["alpine:3.10", "alpine:latest"], layers, config)])
    engine.cli("docker")("load", "-i", str(archive))


def publish(engine: Engine, registry: Registry) -> None:
    """Have in docker.io's mirror what the suite pulls, and of it only alpine and busybox in the engine."""
    docker = engine.cli("docker")
    for local, name in (("alpine:latest", "alpine:latest"), ("alpine:3.10", "alpine:3.10"),
                        ("busybox:latest", "busybox:latest"), ("busybox:latest", "hello-world:latest")):  # fmt: skip
        there = f"{registry.address}/library/{name}"
        docker("tag", local, there)
        docker("push", there)
        docker("rmi", there)


def alpine_layer() -> bytes:
    """What the suite expects of alpine beyond busybox: a user postgres, /var/opt."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        archives.add(tar, "var/opt", type=tarfile.DIRTYPE, mode=0o755)
        archives.add(
            tar, "etc/passwd", b"root:x:0:0:root:/root:/bin/sh\npostgres:x:70:70::/var/lib/postgresql:/bin/sh\n"
        )
        archives.add(tar, "etc/group", b"root:x:0:\npostgres:x:70:\n")
    return buffer.getvalue()


def run_suite(engine: Engine, checkout: Path, junit: Path, expression: str) -> None:
    """Run pytest in the engine's network namespace; what it prints goes to our stdout."""
    # the credential tests talk to no engine, and one of them loses the environment of those that follow
    ignored = [*(f"--ignore-glob=*_{name}_test.py" for name in LEFT_OUT), "--ignore=tests/integration/credentials"]
    pytest = [
        sys.executable,
        "-m",
        "pytest",
        "-p",
        "no:cacheprovider",
        "-p",
        "no:asyncio",
        "-q",
        "--tb=short",
        "--timeout=90",
    ]
    command = [
        *pytest,
        f"--junitxml={junit}",
        *ignored,
        "tests/integration",
        *(["-k", expression] if expression else []),
    ]
    path = os.pathsep.join([str(checkout), str(STUBS)])
    environment = {**os.environ, **engine.environment(), "PYTHONPATH": path, "PYTHONDONTWRITEBYTECODE": "1"}
    subprocess.run(engine.inside(command), cwd=checkout, env=environment)


def read(junit: Path) -> dict[str, tuple[str, str]]:
    """test -> (passed, failed or skipped; the reason in a line)."""
    outcomes: dict[str, tuple[str, str]] = {}
    for case in ET.parse(junit).getroot().iter("testcase"):
        name = f"{case.get('classname', '').removeprefix('tests.integration.')}.{case.get('name')}"
        outcome, reason = "passed", ""
        for problem in case:
            if problem.tag in ("failure", "error"):
                outcome, reason = "failed", first_line(problem.get("message") or problem.text or "")
            elif problem.tag == "skipped":
                outcome, reason = "skipped", first_line(problem.get("message") or "")
        outcomes[name] = (outcome, reason)
    return outcomes


def first_line(text: str) -> str:
    return text.strip().splitlines()[0][:300] if text.strip() else ""


def compare(baseline: Path, outcomes: dict[str, tuple[str, str]]) -> int:
    """Print what passes in the baseline and not here; how many these are."""
    passed = [line.split()[1] for line in baseline.read_text().splitlines() if line.startswith("passed ")]
    missing = [test for test in passed if test in outcomes and outcomes[test][0] != "passed"]
    print(f"{len(missing)} of the {len(passed)} tests that pass in {baseline} do not pass here:")
    for test in missing:
        print(f"  {test}: {outcomes[test][1]}")
    return min(len(missing), 100)


if __name__ == "__main__":
    sys.exit(main())
