"""Builds that have ended: what `docker buildx history` lists. In memory, the last hundred."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Mapping
from time import time_ns
from typing import Any

from tiffin.http.buildkit.jobs import Job
from tiffin.wire.buildkit import control, stamp
from tiffin.wire.grpc.status import StatusError

KEPT = 100

LOGS = 256 << 10
"""Bytes of a build's log that are kept, its end."""

_COMPLETE, _DELETED = 1, 2


class History:
    """Records by ref, oldest first."""

    def __init__(self) -> None:
        self._records: dict[str, Any] = {}
        self._jobs: dict[str, Job] = {}
        self._unlisted: deque[Job] = deque(maxlen=KEPT)
        self._listeners: set[asyncio.Queue[Any]] = set()

    def remember(self, job: Job, response: Mapping[str, str], failure: StatusError | None) -> None:
        """A job has ended. Internal ones, such as a client's probes, are not listed."""
        if job.request.Internal:
            job.forget(LOGS)
            self._unlisted.append(job)
            return
        request = job.request
        record = control(
            "BuildHistoryRecord",
            Ref=job.ref,
            Frontend=job.frontend or request.Frontend,
            FrontendAttrs=job.attributes or request.FrontendAttrs,
            Exporters=request.Exporters,
            ExporterResponse=response,
            numCachedSteps=job.narrator.cached,
            numTotalSteps=job.narrator.total,
            numCompletedSteps=job.narrator.completed,
            numWarnings=job.narrator.warnings,
        )
        stamp(record.CreatedAt, job.began)
        stamp(record.CompletedAt, time_ns())
        if failure is not None:
            record.error.code, record.error.message = int(failure.code), failure.message
        if self._jobs:
            # not this one: its client may still be reading
            next(reversed(self._jobs.values())).forget(LOGS)
        self._records[job.ref], self._jobs[job.ref] = record, job
        while len(self._records) > KEPT:
            oldest = next(iter(self._records))
            del self._records[oldest], self._jobs[oldest]
        self._tell(control("BuildHistoryEvent", type=_COMPLETE, record=record))

    def told(self, ref: str) -> Job | None:
        """A build that has ended, for its log; an internal one too, as its client may ask when it is over."""
        return self._jobs.get(ref) or next((job for job in self._unlisted if job.ref == ref), None)

    async def events(self, request: Any) -> AsyncIterator[Any]:
        """What has been, then, unless the request says EarlyExit, what is to come."""
        queue: asyncio.Queue[Any] = asyncio.Queue(KEPT)
        self._listeners.add(queue)
        try:
            known = [] if request.ActiveOnly else list(self._records.values())
            if request.Limit:
                known = known[-request.Limit :]
            for record in known:
                if request.Ref in ("", record.Ref):
                    yield control("BuildHistoryEvent", type=_COMPLETE, record=record)
            while not request.EarlyExit:
                event = await queue.get()
                if request.Ref in ("", event.record.Ref):
                    yield event
        finally:
            self._listeners.discard(queue)

    def update(self, request: Any) -> None:
        """Pin or forget a record."""
        record = self._records.get(request.Ref)
        if record is None:
            return
        if request.Delete:
            del self._records[request.Ref], self._jobs[request.Ref]
            self._tell(control("BuildHistoryEvent", type=_DELETED, record=record))
        elif not request.Finalize:
            record.pinned = request.Pinned

    def _tell(self, event: Any) -> None:
        for queue in list(self._listeners):
            if queue.full():
                # a listener that does not read has to ask again
                self._listeners.discard(queue)
            else:
                queue.put_nowait(event)
