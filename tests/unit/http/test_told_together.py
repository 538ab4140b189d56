"""What followers of a build are told, and in how many messages."""

from __future__ import annotations

import asyncio

from tiffin.build.solve.events import VertexCompleted, VertexLog, VertexStarted
from tiffin.http.buildkit.jobs import Job
from tiffin.model.digest import digest_of
from tiffin.wire.buildkit import parse


def test_vertices_come_together_and_a_log_before_the_vertex_that_ends_after_it() -> None:
    async def main() -> list[bytes]:
        job = Job("ref", "session", None)
        one, two = digest_of(b"one"), digest_of(b"two")
        job.report(VertexStarted(digest=one, name="one"))
        job.report(VertexStarted(digest=two, name="two"))
        job.report(VertexLog(digest=two, stream=1, data=b"first"))
        job.report(VertexLog(digest=two, stream=1, data=b"second"))
        job.report(VertexCompleted(digest=two))
        job.end()
        return [data async for data in job.follow()]

    told = [parse("moby.buildkit.v1.StatusResponse", data) for data in asyncio.run(main())]
    assert [[vertex.name for vertex in one.vertexes] for one in told] == [["one", "two"], [], ["two"]]
    assert [[log.msg for log in one.logs] for one in told] == [[], [b"first", b"second"], []]


def test_who_follows_is_told_what_comes_later_until_the_end() -> None:
    async def main() -> list[str]:
        job, names = Job("ref", "session", None), list[str]()
        job.report(VertexStarted(digest=digest_of(b"0"), name="0"))
        async with asyncio.timeout(60):
            async for data in job.follow():
                names += [vertex.name for vertex in parse("moby.buildkit.v1.StatusResponse", data).vertexes]
                if len(names) < 3:
                    job.report(VertexStarted(digest=digest_of(bytes([len(names)])), name=str(len(names))))
                else:
                    job.end()
        return names

    assert asyncio.run(main()) == ["0", "1", "2"]
