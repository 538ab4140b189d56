"""Messages of the OCI runtime CLI in logrus's two formats, which callers of runc parse."""

import json
import os
import sys
import time

_path = ""
_json = False
_debug = False


def configure(path: str, log_format: str, *, debug: bool) -> None:
    """Where messages go from now on. Raises ValueError for an unknown format, OSError for a file that won't open."""
    global _path, _json, _debug
    if log_format not in ("", "text", "json"):
        raise ValueError("invalid log-format: " + log_format)
    _json, _debug = log_format == "json", debug
    if path:
        _path = os.path.abspath(path)
        os.close(os.open(_path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o644))


def error(text: str) -> None:
    """Also on stderr where messages go to a file."""
    _write("error", text)
    if _path:
        print(text, file=sys.stderr)


def warning(text: str) -> None:
    _write("warning", text)


def debug(text: str) -> None:
    if _debug:
        _write("debug", text)


def _write(level: str, text: str) -> None:
    stamp = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
    if _json:
        fields = {"level": level, "msg": text, "time": stamp}
        line = json.dumps(fields, separators=(",", ":"), ensure_ascii=False)
    else:
        line = f'time="{stamp}" level={level} msg={json.dumps(text, ensure_ascii=False)}'
    if not _path:
        print(line, file=sys.stderr, flush=True)
        return
    with open(_path, "a", encoding="utf-8") as file:
        file.write(line + "\n")
