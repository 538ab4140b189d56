"""The functions templates can call: Go's own and docker's."""

from __future__ import annotations

from tiffin.cli.template_values import MISSING, GoError, Typed, go_json, quoted, show, truth, type_name

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any


# -- comparisons


def _basic(value: Any) -> str:
    if isinstance(value, bool):
        return "bool"
    if isinstance(value, int):
        return "int"
    if isinstance(value, float):
        return "float"
    return "string" if isinstance(value, str) else ""


def _same_kind(left: Any, right: Any) -> None:
    if _basic(left) != _basic(right) or not _basic(left):
        raise GoError("incompatible types for comparison")


def equal(first: Any, *others: Any) -> bool:
    if not others:
        raise GoError("missing argument for comparison")
    for other in others:
        if first is None or other is None or first is MISSING or other is MISSING:
            if (first is None or first is MISSING) and (other is None or other is MISSING):
                return True
            continue
        if isinstance(first, dict | list) or isinstance(other, dict | list):
            raise GoError(f"non-comparable type {show(first)}: {type_name(first)}")
        _same_kind(first, other)
        if first == other:
            return True
    return False


def _less(left: Any, right: Any) -> bool:
    _same_kind(left, right)
    if isinstance(left, bool):
        raise GoError("invalid type for comparison")
    return bool(left < right)


def _unequal(left: Any, right: Any) -> bool:
    return not equal(left, right)


# -- collections


def index(item: Any, *keys: Any) -> Any:
    for key in keys:
        if item is None or item is MISSING:
            raise GoError("index of untyped nil")
        if isinstance(item, dict):
            if not isinstance(key, str):
                raise GoError(f"value has type {type_name(key)}; should be string")
            item = item.get(key, "" if _holds_texts(item) else MISSING)
        elif isinstance(item, list | tuple | str):
            if isinstance(key, bool) or not isinstance(key, int):
                raise GoError(f"cannot index slice/array with type {type_name(key)}")
            if not 0 <= key < len(item):
                raise GoError(f"index out of range: {key}")
            item = item.encode()[key] if isinstance(item, str) else item[key]
        else:
            raise GoError(f"can't index item of type {type_name(item)}")
    return item


def _holds_texts(item: dict[str, Any]) -> bool:
    """A map[string]string: a missing key is the empty string."""
    return isinstance(item, Typed) and all(isinstance(value, str) for value in item.values())


def cut(item: Any, *bounds: int) -> Any:
    if not isinstance(item, list | tuple | str):
        raise GoError(f"can't slice item of type {type_name(item)}")
    for bound in bounds:
        if not 0 <= bound <= len(item):
            raise GoError(f"index out of range: {bound}")
    low, high = (*bounds, 0, len(item))[:2] if len(bounds) > 1 else ((*bounds, 0)[0], len(item))
    if low > high:
        raise GoError(f"invalid slice index: {low} > {high}")
    return item[low:high]


def length(item: Any) -> int:
    if isinstance(item, str):
        return len(item.encode())
    if isinstance(item, list | tuple | dict):
        return len(item)
    if item is None or item is MISSING:
        raise GoError("len of nil pointer" if item is None else "len of untyped nil")
    raise GoError(f"len of type {type_name(item)}")


# -- printing


def joined(*values: Any) -> str:
    """Go's Sprint: a blank between two operands when neither is a string."""
    pieces: list[str] = []
    for position, value in enumerate(values):
        if position and not isinstance(value, str) and not isinstance(values[position - 1], str):
            pieces.append(" ")
        pieces.append(show(value))
    return "".join(pieces)


def _line(*values: Any) -> str:
    return " ".join(show(value) for value in values) + "\n"


def _verb(verb: str, flags: str, precision: str, value: Any) -> str:
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    if verb == "v":
        return ("+" if "+" in flags and is_number and value >= 0 else "") + show(value)
    if verb == "s" and (isinstance(value, str | list | dict)):
        text = show(value)
        return text[: int(precision)] if precision else text
    if verb == "q" and isinstance(value, str):
        return quoted(value)
    if verb == "t" and isinstance(value, bool):
        return show(value)
    if verb == "T":
        return type_name(value)
    if verb in "dbocxX" and isinstance(value, int) and not isinstance(value, bool):
        return chr(value) if verb == "c" else format(value, ("+" if "+" in flags else "") + verb)
    if verb in "xX" and isinstance(value, str):
        text = value.encode().hex()
        return text.upper() if verb == "X" else text
    if verb in "feEgG" and isinstance(value, float):
        if verb in "gG" and not precision:
            return show(value)
        return format(value, f".{precision or 6}{verb}")
    return f"%!{verb}({type_name(value)}={show(value)})"


def formatted(pattern: str, *values: Any) -> str:
    """Go's Sprintf for the verbs v s q t T d b o c x X f e g."""
    import re

    rest = list(values)

    def fill(match: re.Match[str]) -> str:
        flags, width, precision, verb = match.groups()
        if verb == "%":
            return "%"
        if width == "*":
            width = str(rest.pop(0))
        if not rest:
            return f"%!{verb}(MISSING)"
        text = _verb(verb, flags, precision or "", rest.pop(0))
        if not width:
            return text
        if "-" in flags:
            return text.ljust(int(width))
        return text.zfill(int(width)) if "0" in flags else text.rjust(int(width))

    result = re.sub(r"%([-+# 0]*)(\d+|\*)?(?:\.(\d+))?(.)", fill, pattern, flags=re.DOTALL)
    if rest:
        extra = ", ".join(f"{type_name(value)}={show(value)}" for value in rest)
        result += f"%!(EXTRA {extra})"
    return result


# -- texts


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise GoError(f"wrong type for value; expected string; got {type_name(value)}")
    return value


def _join(items: Any, separator: str) -> str:
    if not isinstance(items, list | tuple):
        raise GoError(f"wrong type for value; expected []string; got {type_name(items)}")
    return separator.join(show(item) for item in items)


def _pad(text: str, before: int, after: int) -> str:
    return " " * before + text + " " * after if text else text


def _title(text: str) -> str:
    import re

    return re.sub(r"(^|[^\w'])(\w)", lambda match: match.group(1) + match.group(2).upper(), _text(text))


def _truncate(text: str, limit: int) -> str:
    return _text(text)[:limit]


def _html(*values: Any) -> str:
    text = joined(*values)
    for character, entity in (("&", "&amp;"), ("<", "&lt;"), (">", "&gt;"), ('"', "&#34;"), ("'", "&#39;")):
        text = text.replace(character, entity)
    return text.replace("\0", "\ufffd")


def _js(*values: Any) -> str:
    escapes = {"\\": "\\\\", "'": "\\'", '"': '\\"', "<": "\\u003C", ">": "\\u003E", "&": "\\u0026", "=": "\\u003D"}
    return "".join(
        escapes.get(letter) or (f"\\u{ord(letter):04X}" if ord(letter) < 32 else letter) for letter in joined(*values)
    )


def _urlquery(*values: Any) -> str:
    from urllib.parse import quote_plus

    return quote_plus(joined(*values))


def _not(value: Any) -> bool:
    return not truth(value)


FUNCTIONS: dict[str, Callable[..., Any]] = {
    "eq": equal,
    "ge": lambda left, right: not _less(left, right),
    "gt": lambda left, right: not (_less(left, right) or equal(left, right)),
    "html": _html,
    "index": index,
    "join": _join,
    "js": _js,
    "json": go_json,
    "le": lambda left, right: _less(left, right) or equal(left, right),
    "len": length,
    "lower": lambda text: _text(text).lower(),
    "lt": _less,
    "ne": _unequal,
    "not": _not,
    "pad": _pad,
    "print": joined,
    "printf": formatted,
    "println": _line,
    "slice": cut,
    "split": lambda text, separator: _text(text).split(separator) if separator else list(_text(text)),
    "title": _title,
    "truncate": _truncate,
    "upper": lambda text: _text(text).upper(),
    "urlquery": _urlquery,
}
# evaluated by the interpreter itself: they stop at the first operand that decides
LAZY = ("and", "or")
