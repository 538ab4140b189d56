"""Who may do what in which repositories: a file with a line for each rule, `WHO REPOSITORIES ACTIONS`.

    # who        repositories     actions
    ann,bob      team/**          pull,push
    ann          **               pull,push,delete
    @users       public/*         pull             everyone who has a password
    @anyone      public/*         pull             those who give none, too

Rules add up; what none allows is refused. `*` stands for a part of a name up to the next slash, `**` for anything.
"""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from tiffin.errors import Invalid
from tiffin.registry.server.watched import Watched

PULL, PUSH, DELETE = "pull", "push", "delete"
ACTIONS = frozenset((PULL, PUSH, DELETE))
NOTHING: frozenset[str] = frozenset()
USERS, ANYONE = "@users", "@anyone"


@dataclass(frozen=True, slots=True)
class Rule:
    who: frozenset[str]
    names: re.Pattern[str]
    actions: frozenset[str]


class Rights:
    """The file is read again when it changes. One with mistakes is refused at the start, ignored later."""

    def __init__(self, path: Path) -> None:
        self._rules = Watched(path, "the rights", lambda lines: tuple(rules(lines, str(path))))

    @property
    def for_anyone(self) -> bool:
        """Whether those without a password have any right."""
        return any(ANYONE in rule.who for rule in self._rules.content())

    def allowed(self, user: str, name: str) -> frozenset[str]:
        """What a user may do in a repository. user: empty for those without a password."""
        mine = {ANYONE, USERS, user} if user else {ANYONE}
        fitting = (rule for rule in self._rules.content() if rule.who & mine and rule.names.fullmatch(name))
        return NOTHING.union(*(rule.actions for rule in fitting))


def rules(lines: Iterable[str], where: str) -> Iterable[Rule]:
    """The rules of a file's lines. Raises Invalid with the line's number."""
    for number, line in enumerate(lines, 1):
        words = line.partition("#")[0].split()
        if not words:
            continue
        if len(words) != 3:
            raise Invalid(f"{where}, line {number}: not WHO REPOSITORIES ACTIONS")
        who, name, actions = frozenset(words[0].split(",")), words[1], frozenset(words[2].split(","))
        if unknown := sorted(actions - ACTIONS):
            raise Invalid(f"{where}, line {number}: {unknown[0]!r} is no action; these are pull, push, delete")
        if unknown := sorted(one for one in who if not one or (one[0] == "@" and one not in (USERS, ANYONE))):
            raise Invalid(f"{where}, line {number}: {unknown[0]!r}: give users' names, {USERS} or {ANYONE}")
        yield Rule(who, _pattern(name), actions)


def _pattern(text: str) -> re.Pattern[str]:
    parts = re.split(r"(\*\*|\*)", text)
    known = {"**": ".*", "*": "[^/]*"}
    return re.compile("".join(known.get(part) or re.escape(part) for part in parts), re.DOTALL)


@dataclass(frozen=True, slots=True)
class Grant:
    """Whose request it is. scopes: what a token is for, by repository; None for whatever the user may do."""

    user: str
    rights: Rights | None = None
    scopes: Mapping[str, frozenset[str]] | None = None

    def allowed(self, name: str) -> frozenset[str]:
        """Without a file of rights whoever has a password may do everything."""
        own = self.rights.allowed(self.user, name) if self.rights else ACTIONS if self.user else NOTHING
        return own if self.scopes is None else own & self.scopes.get(name, NOTHING)

    def may(self, action: str, name: str) -> bool:
        return action in self.allowed(name)
