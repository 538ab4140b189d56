"""What packages say of each other: `a (>= 1) | b:any, c` (deb-control(5), Debian Policy 7)."""

import re
from dataclasses import dataclass
from functools import lru_cache

from tiffin.errors import Invalid

_RELATION = re.compile(
    r"(?P<name>[a-z0-9][a-z0-9+.-]*)(?::(?P<qualifier>[a-z0-9-]+))?"
    r"(?:\s*\(\s*(?P<operator><<|<=|=|>=|>>|<|>)\s*(?P<version>[^\s()]+)\s*\))?"
    r"(?:\s*\[[^\]]*\])?(?:\s*<[^>]*>)*",
    re.ASCII | re.IGNORECASE,
)


@dataclass(frozen=True, slots=True)
class Relation:
    """One package, perhaps of some version. qualifier: what stands behind the colon (`any`, an architecture)."""

    name: str
    operator: str = ""
    version: str = ""
    qualifier: str = ""

    def __str__(self) -> str:
        suffix = f":{self.qualifier}" if self.qualifier else ""
        return f"{self.name}{suffix}" + (f" ({self.operator} {self.version})" if self.operator else "")


Alternatives = tuple[Relation, ...]


def shown(alternatives: Alternatives) -> str:
    """As it is written in a control file."""
    return " | ".join(map(str, alternatives))


@lru_cache(maxsize=1 << 14)
def parse(text: str) -> tuple[Alternatives, ...]:
    """What must all hold, each by one of its alternatives. Raises Invalid."""
    groups = (group.strip() for group in text.split(","))
    return tuple(tuple(_relation(item) for item in group.split("|")) for group in groups if group)


def _relation(text: str) -> Relation:
    match = _RELATION.fullmatch(text.strip())
    if match is None:
        raise Invalid(f"{text.strip()[:80]!r} is no relation to a package")
    return Relation(match["name"].lower(), match["operator"] or "", match["version"] or "", match["qualifier"] or "")
