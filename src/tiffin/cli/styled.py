"""Tables on a terminal: a bold header, states in colour, no line wider than the screen. Never for piped output."""

from __future__ import annotations

import os

from tiffin.cli import terminal

TYPE_CHECKING = False
if TYPE_CHECKING:
    from tiffin.cli.session import Session


def print_table(session: Session, text: str) -> None:
    """An aligned table, its first line the header."""
    if os.environ.get("NO_COLOR") or os.environ.get("TERM") in (None, "dumb"):
        session.out(f"{text}\n")
        return
    from rich.console import Console
    from rich.highlighter import RegexHighlighter
    from rich.text import Text
    from rich.theme import Theme

    class States(RegexHighlighter):
        base_style = "state."
        highlights = [
            r"(?P<up>\bUp \S+( \S+)*?(?= {2}|$))",
            r"(?P<ok>\(healthy\)|\bExited \(0\))",
            r"(?P<bad>\(unhealthy\)|\bExited \([1-9]\d*\)|\bDead\b)",
            r"(?P<wait>\bCreated\b|\bRestarting \(\d+\)|\(Paused\)|\(health: starting\))",
        ]

    theme = Theme({"state.up": "green", "state.ok": "green", "state.bad": "red", "state.wait": "yellow"})
    columns = terminal.size()[1] or 80
    console = Console(theme=theme, highlight=False, width=columns, soft_wrap=False)
    head, *rest = text.split("\n")
    states = States()
    session.flush()
    console.print(Text(head, style="bold"), overflow="fold", no_wrap=False)
    for line in rest:
        # long lines fold rather than lose what they say: people copy from tables
        console.print(states(Text(line)), overflow="fold", no_wrap=False)
