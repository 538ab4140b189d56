"""Streams of progress documents (pull, push, load, import): lines when piped, bars in place on a terminal.

A document is `{status, id, progress, progressDetail, stream, aux, error}`; source: API, POST /images/create.
"""

from __future__ import annotations

from tiffin.cli import terminal, units
from tiffin.cli.command import Failed

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from typing import Any

    from tiffin.cli.session import Session


def bar(detail: dict[str, Any], room: int) -> str:
    """`[==>   ]  1.2MB/3MB`, or the amount alone when the whole is unknown."""
    current, total = detail.get("current", 0), detail.get("total", 0)
    if not current and not total:
        return ""
    if not total:
        return f"{units.size(current, 4):>8}"
    drawn = ""
    if room > 110:
        share = min(50, int(current * 50 / total))
        drawn = f"[{'=' * share}>{' ' * (50 - share)}] "
    return f"{drawn}{units.size(min(current, total), 4):>8}/{units.size(total, 4)}"


def show(
    session: Session,
    documents: Iterable[dict[str, Any]],
    *,
    quiet: bool = False,
    to_stderr: bool = False,
    on_aux: Callable[[dict[str, Any]], None] | None = None,
) -> None:
    """Print them as they come. Raises Failed with the daemon's words when one is an error."""
    write = session.err if to_stderr else session.out
    live = not quiet and terminal.is_terminal(terminal.STDERR if to_stderr else terminal.STDOUT)
    places: dict[str, int] = {}
    for document in documents:
        if document.get("error") or document.get("errorDetail"):
            message = (document.get("errorDetail") or {}).get("message") or document.get("error", "")
            raise Failed(message)
        if "aux" in document:
            if on_aux is not None:
                on_aux(document["aux"])
            continue
        if quiet:
            continue
        if live:
            write(_live_line(document, places))
        else:
            write(_plain_line(document))
        session.flush()


def _plain_line(document: dict[str, Any]) -> str:
    if document.get("progressDetail"):
        # a line for each percent is for terminals only
        return ""
    if "stream" in document:
        return str(document["stream"])
    head = f"{document['id']}: " if document.get("id") else ""
    return f"{head}{document.get('status', '')}\n"


def _live_line(document: dict[str, Any], places: dict[str, int]) -> str:
    if "stream" in document:
        return str(document["stream"])
    columns = terminal.size()[1] or 80
    identifier = document.get("id", "")
    drawn = bar(document.get("progressDetail") or {}, columns) or document.get("progress", "")
    text = f"{document.get('status', '')} {drawn}".rstrip()
    if not identifier:
        places.clear()
        return f"{text}\n"
    text = f"{identifier}: {text}"[: columns - 1]
    if identifier not in places:
        places[identifier] = len(places)
        return f"{text}\n"
    up = len(places) - places[identifier]
    return f"\x1b[{up}A\x1b[2K\r{text}\r\x1b[{up}B"
