"""`--cache-to` of a job: what its client wants written, and the writing."""

from __future__ import annotations

from collections.abc import Collection

from tiffin.build.solve.request import CachePlace
from tiffin.build.solve.solved import Solved
from tiffin.engine.builds import Builds
from tiffin.engine.builds_caches_out import options_of
from tiffin.errors import Invalid
from tiffin.http.buildkit.callers import Caller
from tiffin.http.buildkit.jobs import Job
from tiffin.http.buildkit.sessions import Session


def places(job: Job) -> list[CachePlace]:
    """Raises Invalid, Unsupported: before anything is built."""
    found = [CachePlace(entry.Type, dict(entry.Attrs)) for entry in job.request.Cache.Exports]
    for place in found:
        options_of(place)
    if len(set(map(str, found))) < len(found):
        raise Invalid(f"duplicate cache exports [{' '.join(place.type for place in found)}]")
    return found


def whole(job: Job) -> bool:
    """Whether one wants the layers of every step."""
    return any(place.type != "inline" and options_of(place).whole for place in places(job))


async def export(builds: Builds, session: Session, job: Job, results: Collection[Solved]) -> dict[str, str]:
    """Write them; what the client is told of it. Raises tiffin.errors."""
    response: dict[str, str] = {}
    for place in places(job):
        if place.type == "inline":
            job.complete(job.begin("preparing layers for inline cache"))
        else:
            response |= await builds.export_cache(place, list(results), Caller(session), job.report)
    return response
