"""`tiffin system check`."""

from __future__ import annotations

import base64
import json

from tiffin.cli import flags
from tiffin.cli.command import Call, Command
from tiffin.cli.formats import table_format
from tiffin.cli.table import Format, Row, show
from tiffin.cli.template_values import go_json

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

HEADERS = {
    "Domain": "DOMAIN",
    "Kind": "KIND",
    "Subject": "SUBJECT",
    "State": "STATE",
    "Problem": "PROBLEM",
    "Advice": "WHAT TO DO",
    "Error": "ERROR",
}
_COLUMNS = "{{.Domain}}\t{{.State}}\t{{.Problem}}\t{{.Advice}}"


def _state(finding: dict[str, Any]) -> str:
    if finding["Repaired"]:
        return "repaired"
    return "not repaired" if finding["Error"] else "found"


def _row(finding: dict[str, Any]) -> Row:
    # what stood in the way says more than what was to be tried
    advice = finding["Error"] or ("" if finding["Repaired"] else finding["Advice"])
    return Row({**{key: finding[key] for key in HEADERS if key in finding}, "State": _state(finding), "Advice": advice})


def _summary(answer: dict[str, Any], left: int) -> str:
    counted = answer["Checked"]
    looked = ", ".join(f"{counted[name]} {name.lower()}" for name in counted)
    mended = sum(one["Repaired"] for one in answer["Findings"])
    repaired = f"{mended} repaired, " if mended else ""
    return f"{looked}: {repaired}{left or 'nothing'} wrong"


def run(call: Call) -> int:
    form = call.values.text("format")
    query = {"repair": call.values.on("repair"), "settle": call.values.get("settle")}
    answer = call.engine.call("POST", "/system/check", query, headers=_credentials(call))
    left = sum(not one["Repaired"] for one in answer["Findings"])
    if form == "json":
        call.say(go_json(answer))
    else:
        if answer["Findings"] or form:
            show(call, Format(form or "table", _COLUMNS), HEADERS, [_row(one) for one in answer["Findings"]])
        if not form:
            call.say(_summary(answer, left))
    return 1 if left else 0


def _credentials(call: Call) -> dict[str, str]:
    """Those of every registry that this user is logged in to, for what has to be fetched again."""
    kept = call.session.settings
    servers = {*(kept.values.get("auths") or {}), *(kept.values.get("credHelpers") or {})}
    if not servers or not call.values.on("repair"):
        return {}
    found = {server: kept.credentials(server) for server in sorted(servers)}
    return {"X-Registry-Config": base64.urlsafe_b64encode(json.dumps(found).encode()).decode()}


COMMANDS = {
    "system check": Command(
        "system check",
        run,
        "",
        (
            table_format(),
            flags.number("settle", "Seconds after which what is still there is not on its way", default=5),
            flags.switch("repair", "Fetch or make again what is damaged, remove what is left over"),
        ),
        details="Verify every blob, layer and record. Ends with status 1 when something is wrong.",
    )
}
