"""POST /system/check: whether everything is as the records say. Not docker's."""

from __future__ import annotations

from functools import partial
from typing import Any

from tiffin.engine.check import SETTLE, Check, Report
from tiffin.engine.transfers import Transfers
from tiffin.http import response
from tiffin.http.request import Request
from tiffin.http.response import Response
from tiffin.http.router import route
from tiffin.images.check import ImagesCheck
from tiffin.model.digest import Digest
from tiffin.model.reference import Reference
from tiffin.registry.credentials import NOBODY, Credentials, from_config_header


@route("POST", "/system/check")
async def checked(request: Request) -> Response:
    """What is wrong; `repair` mends what can be. `settle`: seconds, see `Check.run`.

    X-Registry-Config: credentials to fetch damaged blobs with.
    """
    check: Check = request.services.check
    known = from_config_header(request.headers.get("x-registry-config", ""))
    images = ImagesCheck(request.services.images, partial(_fetch, request.services.registry, known))
    settle = request.query.integer("settle", SETTLE)
    report = await check.run(repair=request.query.flag("repair"), settle=settle, more=(images,))
    return response.json(_shape(report))


def _fetch(transfers: Transfers, known: dict[str, Credentials], reference: Reference, image: Digest) -> None:
    transfers.again(reference, image, known.get(reference.domain, NOBODY))


def _shape(report: Report) -> dict[str, Any]:
    return {
        "Checked": report.counted,
        "Findings": [
            {
                "Domain": one.finding.domain,
                "Kind": one.finding.kind,
                "Subject": one.finding.subject,
                "Problem": one.finding.problem,
                "Advice": one.finding.advice,
                "Repairable": one.finding.repair is not None,
                "Repaired": one.repaired,
                "Error": one.error,
            }
            for one in report.results
        ],
    }
