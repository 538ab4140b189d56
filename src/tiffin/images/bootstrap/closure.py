"""Which packages an image needs: those of the variant, those asked for, and what they depend on.

No search for the best answer: an alternative that is there already is taken, else the first that can be. A choice that
comes to nothing is taken back, the nearest above what failed, and everything is done again without it; it is not taken
up again, so that a few answers are missed that trying every combination would find.
"""

from collections import deque
from collections.abc import Iterable, Iterator, Sequence, Set

from tiffin.errors import Conflict, Invalid, NotFound, TiffinError
from tiffin.images.bootstrap.packages import PRIORITIES, Index, Package
from tiffin.images.bootstrap.relations import Alternatives, Relation, shown

_TRIES = 200
VARIANTS = ("essential", "apt", "minbase", "important")


def base(index: Index, variant: str) -> list[Package]:
    """The packages that make a variant, by name. Raises Invalid for one that is none.

    essential   what is marked so, without which no package's scripts can run
    apt         these and apt
    minbase     these and all of priority required
    important   these and all of priority important
    """
    if variant not in VARIANTS:
        raise Invalid(f"no variant {variant!r}: there are {', '.join(VARIANTS)}")
    least = {"minbase": "required", "important": "important"}.get(variant)
    most = PRIORITIES.index(least) if least else -1
    found = {one.name: one for one in index.basic() if one.essential or one.rank <= most}
    if variant != "essential":
        found["apt"] = _named(index, "apt")
    return [found[name] for name in sorted(found)]


def pins(names: Iterable[str]) -> dict[str, str]:
    """The versions that `a=1.0` asks for, by package. Raises Invalid for two of one package."""
    found: dict[str, str] = {}
    for text in names:
        name, equals, version = text.partition("=")
        if equals and not version:
            raise Invalid(f"{text!r}: give NAME or NAME=VERSION")
        if equals and found.setdefault(name.lower(), version) != version:
            raise Invalid(f"{name}: versions {found[name.lower()]} and {version} can't both be had")
    return found


def asked_for(index: Index, names: Iterable[str]) -> list[Package]:
    """Packages by name, or as `name=version`; the index knows the pins. Raises NotFound."""
    return [_named(index, name) for name in names]


def _named(index: Index, text: str) -> Package:
    name, _, version = text.partition("=")
    name = name.lower()
    candidates = [one for one in index.candidates(Relation(name)) if not version or one.name == name]
    if not candidates:
        others = index.passed_over(name)
        if others:
            raise NotFound(f"no version {version} of package {name} in this archive: it has {', '.join(others)}")
        raise NotFound(f"no package {name} in this archive")
    return candidates[0]


def resolved(index: Index, roots: Sequence[Package], architecture: str) -> list[Package]:
    """roots and all they depend on, by name.

    Raises NotFound for a dependency that can't be met, with the way to it; Conflict for packages that exclude each
    other.
    """
    refused: set[_Choice] = set()
    first: TiffinError | None = None
    for _ in range(_TRIES):
        closure = _Closure(index, architecture, refused)
        try:
            for root in roots:
                closure.add(root, None)
            closure.complete()
            closure.check()
            return sorted(closure.chosen.values(), key=lambda one: one.name)
        except _DeadEnd as end:
            first = first or end.error
            blamed = next((choice for package in end.packages for choice in closure.choices(package)), None)
            if blamed is None:
                break
            refused.add(blamed)
    assert first is not None
    raise first


_Choice = tuple[str, str]
"""Who depends on several, and which of them was taken."""


class _DeadEnd(Exception):
    """What can't be, said for the user, and the packages whose choice may be to blame, the likeliest first."""

    def __init__(self, error: TiffinError, *packages: Package) -> None:
        self.error = error
        self.packages = packages


class _Closure:
    """One attempt. refused: choices that have come to nothing."""

    def __init__(self, index: Index, architecture: str, refused: Set[_Choice]) -> None:
        self._index = index
        self._architecture = architecture
        self._refused = refused
        self._chosen_among: set[_Choice] = set()
        self.chosen: dict[str, Package] = {}
        self._because: dict[str, Package | None] = {}
        self._names: dict[str, list[Package]] = {}  # the chosen, by their own and their virtual names
        self._pending: deque[Package] = deque()

    def add(self, package: Package, because: Package | None) -> None:
        if package.name in self.chosen:
            return
        self.chosen[package.name] = package
        self._because[package.name] = because
        for name in {package.name, *(relation.name for relation in package.provides)}:
            self._names.setdefault(name, []).append(package)
        self._pending.append(package)

    def complete(self) -> None:
        while self._pending:
            package = self._pending.popleft()
            for alternatives in package.relations("pre-depends", "depends"):
                if not any(self._meeting(relation) for relation in alternatives):
                    self.add(self._choice(package, alternatives), package)

    def _meeting(self, relation: Relation) -> list[Package]:
        """The chosen packages that a relation means."""
        if not self._fits(relation):
            return []
        return [one for one in self._names.get(relation.name, ()) if one.is_called(relation)]

    def _fits(self, relation: Relation) -> bool:
        # one architecture only: `any` and `native` are this one
        return relation.qualifier in ("", "any", "native", self._architecture)

    def _choice(self, package: Package, alternatives: Alternatives) -> Package:
        offers = [one for relation in alternatives if self._fits(relation) for one in self._index.candidates(relation)]
        if not offers:
            passed = [one for relation in alternatives for one in self._index.passed_over(relation.name)]
            why = f": of the versions that it has ({', '.join(passed)}) none is asked for" if passed else ""
            text = f"{self._way(package)} depends on {shown(alternatives)}, which this archive does not have{why}"
            raise _DeadEnd(NotFound(text), package)
        left = [one for one in offers if (package.name, one.name) not in self._refused]
        if not left:
            raise _DeadEnd(NotFound(f"{self._way(package)}: none of {shown(alternatives)} can be installed"), package)
        taken = next((one for one in left if not self._excluded(one)), left[0])
        if len(offers) > 1:
            self._chosen_among.add((package.name, taken.name))
        return taken

    def choices(self, package: Package) -> Iterator[_Choice]:
        """Those that brought a package in, the nearest first."""
        below, above = package, self._because.get(package.name)
        while above is not None:
            if (above.name, below.name) in self._chosen_among:
                yield above.name, below.name
            below, above = above, self._because.get(above.name)

    def _excluded(self, package: Package) -> bool:
        return any(self._enemies(package)) or any(package in self._enemies(one) for one in self.chosen.values())

    def _enemies(self, package: Package) -> list[Package]:
        """The chosen packages that can't be installed beside one; never itself, whatever it provides."""
        relations = [relation for group in package.relations("conflicts", "breaks") for relation in group]
        return [one for relation in relations for one in self._meeting(relation) if one.name != package.name]

    def _way(self, package: Package) -> str:
        """`a (needed by b, which c needs)`: how it came in."""
        names: list[str] = []
        above = self._because.get(package.name)
        while above is not None and len(names) < 8:
            names.append(above.name)
            above = self._because.get(above.name)
        return f"{package}" + (f" (needed by {', which is needed by '.join(names)})" if names else "")

    def check(self) -> None:
        """Raises _DeadEnd for the first two that exclude each other."""
        order = list(self.chosen)
        for package in self.chosen.values():
            for other in self._enemies(package):
                text = f"{self._way(package)} can't be installed beside {self._way(other)}: they exclude each other"
                later = sorted((package, other), key=lambda one: order.index(one.name), reverse=True)
                raise _DeadEnd(Conflict(text), *later)
