"""The `filters` query parameter: a map from a key to the values that may match.

Clients send it as Go does, `{"label": {"a=b": true}}`, or as Python does, `{"label": ["a=b"]}`; both mean the same.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping

import msgspec

from tiffin.errors import Invalid

_TRUE = frozenset(("1", "true"))
_FALSE = frozenset(("0", "false"))


class Filters(dict[str, tuple[str, ...]]):
    """Filter keys with their values. An empty instance matches everything."""

    def values_of(self, key: str) -> tuple[str, ...]:
        """The values given for a key, () when it was not given."""
        return self.get(key, ())

    def only(self, allowed: Collection[str]) -> Filters:
        """Itself. Raises Invalid `invalid filter 'x'` when a key is not in `allowed`."""
        for key in self:
            if key not in allowed:
                raise Invalid(f"invalid filter '{key}'")
        return self

    def flag(self, key: str, default: bool = False) -> bool:
        """A filter that is a boolean, such as `dangling`. Raises Invalid for anything but one of true, false, 1, 0."""
        values = self.get(key)
        if not values:
            return default
        truths = {value.lower() for value in values}
        if truths <= _TRUE:
            return True
        if truths <= _FALSE:
            return False
        raise Invalid(f"invalid filter '{key}=[{' '.join(values)}]'")

    def single(self, key: str) -> str | None:
        """The one value of a filter that can be given once, None without it. Raises Invalid when there are several."""
        values = self.get(key, ())
        if len(values) > 1:
            raise Invalid(f"invalid filter '{key}=[{' '.join(values)}]': give it once")
        return values[0] if values else None


def parse(text: str) -> Filters:
    """Read the parameter; an empty text is no filter. Raises Invalid when it is neither of the two shapes."""
    if not text:
        return Filters()
    try:
        given = msgspec.json.decode(text)
    except (msgspec.DecodeError, UnicodeError, RecursionError) as error:
        raise Invalid(f"invalid filter: the parameter is not JSON: {error}") from error
    if given is None:
        return Filters()
    if not isinstance(given, dict):
        raise Invalid("invalid filter: the parameter is not a JSON object")
    return Filters({key: _values(key, values) for key, values in given.items()})


def _values(key: str, given: object) -> tuple[str, ...]:
    if isinstance(given, Mapping):
        # {"a": false} deselects in Go's encoding, though no known client sends it
        return tuple(str(value) for value, chosen in given.items() if chosen)
    if isinstance(given, list) and all(isinstance(value, (str, bool, int)) for value in given):
        return tuple(str(value).lower() if isinstance(value, bool) else str(value) for value in given)
    if isinstance(given, (str, bool)):
        return (str(given).lower() if isinstance(given, bool) else given,)
    raise Invalid(f"invalid filter '{key}'")
