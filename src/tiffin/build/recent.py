"""The plans of the last builds: a build is often the former one once more, and its plan a function of what it gets."""

from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass

from tiffin.build.options import BuildOptions, ImageRequest, ResolvedImage
from tiffin.build.plan import BuildPlan, ImagesNeeded, plan_build
from tiffin.build.steps import Step

KEPT = 16

LARGEST = 64 << 10
"""Bytes of a Dockerfile whose plan is kept."""

Images = Mapping[ImageRequest, ResolvedImage]


@dataclass(frozen=True, slots=True)
class _Asked:
    source: bytes
    options: BuildOptions
    images: Images
    context: Step | None


class Plans:
    """`plan_build` that remembers. One thread at a time; nobody changes a plan, or what it was made from."""

    def __init__(self) -> None:
        self._kept: deque[tuple[_Asked, BuildPlan | ImagesNeeded]] = deque(maxlen=KEPT)

    def plan(
        self, source: bytes, options: BuildOptions, images: Images, context: Step | None = None
    ) -> BuildPlan | ImagesNeeded:
        """Raises DockerfileError, each time anew."""
        asked = _Asked(source, options, images, context)
        found = next((plan for known, plan in self._kept if known == asked), None)
        if found is None:
            found = plan_build(source, options, images, context)
            if len(source) <= LARGEST:
                self._kept.append((asked, found))
        return found
