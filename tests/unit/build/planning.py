"""Plans from texts, with images that need no store."""

import json
from typing import Any

from tiffin.build import BuildOptions, BuildPlan, ImagesNeeded, ResolvedImage, plan_build
from tiffin.build.steps import Step
from tiffin.model.digest import digest_of
from tiffin.model.image import ImageConfig, parse_config
from tiffin.model.platform import Platform

AMD64 = Platform("linux", "amd64")


def image(architecture: str = "amd64", layers: int = 1, **run: Any) -> ImageConfig:
    document = {
        "architecture": architecture,
        "os": "linux",
        "config": {"Env": ["PATH=/bin"], **run},
        "rootfs": {"type": "layers", "diff_ids": [digest_of(bytes([index])) for index in range(layers)]},
    }
    return parse_config(json.dumps(document).encode())


def plan(text: str, images: dict[str, ImageConfig] | None = None, **options: Any) -> BuildPlan:
    """`images` by the end of their reference, such as `base:latest`; others are plain."""
    options.setdefault("build_platform", AMD64)
    known: dict[Any, ResolvedImage] = {}
    while isinstance(found := plan_build(text.encode(), BuildOptions(**options), known), ImagesNeeded):
        for request in found.requests:
            name = request.reference.rpartition("/")[2]
            known[request] = ResolvedImage((images or {}).get(name, image()), digest_of(name.encode()))
    return found


def labels(found: BuildPlan) -> list[str]:
    return [step.label for step in found.steps.values()]


def only(found: BuildPlan, kind: type[Step]) -> Any:
    steps = [step for step in found.steps.values() if isinstance(step, kind)]
    assert len(steps) == 1, labels(found)
    return steps[0]


def every(found: BuildPlan, kind: type[Step]) -> list[Any]:
    return [step for step in found.steps.values() if isinstance(step, kind)]
