"""What is not asked of other engines: each time with the reason, which `pytest -rs` shows."""

from __future__ import annotations

import pytest

from rig.engine import Engine


def needs_api(engine: Engine, version: str, reason: str) -> None:
    """Skip where the engine's newest API is older than this: `needs_api(engine, "1.42", "the type parameter")`."""
    newest = engine.api_version()
    if tuple(map(int, newest.split("."))) < tuple(map(int, version.split("."))):
        pytest.skip(f"API {newest} of this {engine.kind} is older than {version}: {reason}")


def needs_several_platforms(engine: Engine) -> None:
    """Skip where a name stands for one platform's image only, as in dockerd's own store of images."""
    if ["driver-type", "io.containerd.snapshotter.v1"] not in engine.ask("/info")["DriverStatus"]:
        pytest.skip(f"a name is one image in the store of this {engine.kind}: ask dockerd:sid+containerd")


def tiffins_own(engine: Engine, reason: str) -> None:
    """Skip on every engine but tiffin: something that it does beyond, or better than, dockerd."""
    if engine.kind != "tiffin":
        pytest.skip(f"not asked of {engine.kind}: {reason}")
