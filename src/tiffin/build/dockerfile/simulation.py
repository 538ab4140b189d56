"""Patterns matched as sets of positions: time grows with path times pattern, where re might backtrack for hours."""

import re
from collections.abc import Iterator, Sequence

STAR, GROUP, REST = "[^/]*", "(?:.*/)?", ".*"
"""`*`, `**/` and a final `**`, as regular expressions."""

MOST_GROUPS, MOST_STARS = 2, 3
"""Up to these re is quick enough, whatever the path."""


class Simulation:
    """`tokens`: one of the constants, or a regular expression of one character."""

    def __init__(self, tokens: Sequence[str]):
        self.tokens = [
            token if token in (STAR, GROUP, REST) else re.compile(token, re.ASCII | re.DOTALL) for token in tokens
        ]

    def match(self, path: str) -> bool:
        # a state is (position in the pattern, inside a ** group that has begun)
        states = self._closed({(0, False)})
        for character in path:
            states = self._closed(set(self._after(states, character)))
        return (len(self.tokens), False) in states

    def _after(self, states: set[tuple[int, bool]], character: str) -> Iterator[tuple[int, bool]]:
        for at, _inside in states:
            token = self.tokens[at] if at < len(self.tokens) else None
            if token == GROUP and character != "\n":
                yield at, True
                if character == "/":
                    yield at + 1, False
            elif (token == REST and character != "\n") or (token == STAR and character != "/"):
                yield at, False
            elif isinstance(token, re.Pattern) and token.fullmatch(character):
                yield at + 1, False

    def _closed(self, states: set[tuple[int, bool]]) -> set[tuple[int, bool]]:
        pending = list(states)
        while pending:
            at, inside = pending.pop()
            if at < len(self.tokens) and not inside and isinstance(self.tokens[at], str):
                following = (at + 1, False)
                if following not in states:
                    states.add(following)
                    pending.append(following)
        return states
