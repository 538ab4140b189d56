"""The --format flags, worded once."""

from __future__ import annotations

from tiffin.cli import flags

TYPE_CHECKING = False
if TYPE_CHECKING:
    from tiffin.cli.flags import Flag

_TABLE = (
    "Format output:\n'table':            In columns with headers (default)\n"
    "'table TEMPLATE':   In columns, by a Go template\n"
)
_PLAIN = "'json':             As JSON\n'TEMPLATE':         By a Go template"


def table_format() -> Flag:
    return flags.text("format", _TABLE + _PLAIN)


def plain_format(short: str = "") -> Flag:
    return flags.text("format", "Format output:\n" + _PLAIN, short)
