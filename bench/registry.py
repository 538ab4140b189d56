"""Registries side by side: tiffin's and Debian's docker-registry, the same requests, one machine, rounds interleaved.

    python bench/registry.py              3 rounds
    python bench/registry.py --rounds 5

Each is a process of its own in a network namespace, its storage on the same disk. Large blobs are moved by curl, small
requests are made by Python threads. Medians; cpu is the server's, user and system, over all rounds.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT / "tests"), str(ROOT / "src")]

from rig.netns import Namespace  # noqa: E402
from rig.served import OCI_MANIFEST, Served, digest_of, with_digest  # noqa: E402

KINDS = ("tiffin", "docker-registry")
LARGE = 256 << 20
SMALL, THREADS = 100, 8


def push_large(served: Served, place: Path) -> float:
    """A blob of 256 MiB, POST and PUT, until it is acknowledged."""
    data = os.urandom(1 << 20) * (LARGE >> 20)
    (place / "large").write_bytes(data)
    digest = digest_of(data)
    (place / "digest").write_text(digest)
    url = f"http://{served.address}{with_digest(served.client().begin('large'), digest)}"
    return curl(served, "-X", "PUT", "-H", "Content-Type: application/octet-stream", "-T", place / "large", url)


def pull_large(served: Served, place: Path) -> float:
    """The same blob back."""
    return curl(served, f"http://{served.address}/v2/large/blobs/{(place / 'digest').read_text()}")


def curl(served: Served, *words: str | Path) -> float:
    command = ["nsenter", f"--net={served.namespace.path}", "curl", "-sSf", "-o", "/dev/null", *map(str, words)]
    began = time.perf_counter()
    subprocess.run(command, check=True)
    return time.perf_counter() - began


def in_threads(served: Served, work: Callable[[Served, int], None]) -> float:
    threads = [threading.Thread(target=work, args=(served, number)) for number in range(THREADS)]
    began = time.perf_counter()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return time.perf_counter() - began


def push_small(served: Served, place: Path) -> float:
    """100 images of two layers of 10 kB, by 8 clients."""

    def work(served: Served, number: int) -> None:
        client = served.client()
        for turn in range(number, SMALL, THREADS):
            client.push_image(f"small/{number}", f"t{turn}", os.urandom(10_000), os.urandom(10_000))

    return in_threads(served, work)


def ask(served: Served, place: Path) -> float:
    """2,000 times HEAD of a manifest by tag, by 8 clients."""
    served.client().push_image("asked", "1", b"layer")

    def work(served: Served, number: int) -> None:
        client = served.client()
        for _ in range(2000 // THREADS):
            assert client.head("/v2/asked/manifests/1", Accept=OCI_MANIFEST).status == 200

    return in_threads(served, work)


MEASURES = (push_large, pull_large, push_small, ask)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3)
    rounds = parser.parse_args().rounds
    network = Namespace()
    samples: dict[tuple[str, str], list[float]] = {}
    with tempfile.TemporaryDirectory() as directory:
        place = Path(directory)
        registries = {
            kind: Served(
                network, place / kind, *(["--access-log", "none"] if kind == "tiffin" else []), port=port, kind=kind
            )
            for port, kind in enumerate(KINDS, 5000)
        }
        for _ in range(rounds):
            for measure in MEASURES:
                for kind, served in registries.items():
                    own = place / f"{kind}-files"
                    own.mkdir(exist_ok=True)
                    samples.setdefault((measure.__name__, kind), []).append(measure(served, own))
        print(f"{'':<12}" + "".join(f"{kind:>18}" for kind in KINDS) + "   ratio")
        for measure in MEASURES:
            values = [statistics.median(samples[measure.__name__, kind]) for kind in KINDS]
            row = "".join(f"{value:>16.3f} s" for value in values)
            print(f"{measure.__name__:<12}{row}   1/{values[1] / values[0]:.2f}   {measure.__doc__}")
        for what, read in (("cpu", cpu), ("memory", memory)):
            print(f"{what:<12}" + "".join(f"{read(served):>18}" for served in registries.values()))
        for served in registries.values():
            served.close()
    network.close()


def cpu(served: Served) -> str:
    assert served.process is not None
    fields = Path(f"/proc/{served.process.pid}/stat").read_text().rpartition(")")[2].split()
    return f"{(int(fields[11]) + int(fields[12])) / os.sysconf('SC_CLK_TCK'):.1f} s"


def memory(served: Served) -> str:
    """The largest resident set there was."""
    assert served.process is not None
    text = Path(f"/proc/{served.process.pid}/status").read_text()
    return f"{int(text.partition('VmHWM:')[2].split()[0]) >> 10} MiB"


if __name__ == "__main__":
    main()
