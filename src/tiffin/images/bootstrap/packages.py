"""The index of packages: everything an archive offers for one architecture.

An index has 70,000 stanzas in 50 MB of text, of which an image needs a hundred. So it stays a file that is mapped, of
which only the places of names are kept; a package is read when it is asked for.
"""

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from mmap import mmap

from tiffin.errors import Invalid
from tiffin.images.bootstrap import stanzas, versions
from tiffin.images.bootstrap.relations import Alternatives, Relation, parse
from tiffin.images.bootstrap.release import File

_NAME = re.compile(r"[a-z0-9][a-z0-9+.-]*", re.ASCII)
_LINE = re.compile(rb"^(Package|Architecture|Essential|Priority|Provides):[ \t]*(.*?)[ \t]*$", re.MULTILINE)
_PROVIDED = re.compile(rb"(?:^|,)\s*([^\s,(:]+)")
_SHA256 = re.compile(r"[0-9a-f]{64}", re.ASCII)
PRIORITIES = ("required", "important", "standard", "optional", "extra")
_BASIC = (b"required", b"important")


@dataclass(frozen=True)
class Package:
    """One version of a package in one archive. archive: where its `file` is fetched from, a URL."""

    name: str
    version: str
    architecture: str
    fields: dict[str, str] = field(default_factory=dict, repr=False, compare=False)
    archive: str = ""

    @property
    def essential(self) -> bool:
        return self.fields.get("essential") == "yes"

    @property
    def rank(self) -> int:
        """0 for what every system needs, more for what fewer do."""
        priority = self.fields.get("priority", "optional")
        return PRIORITIES.index(priority) if priority in PRIORITIES else len(PRIORITIES)

    @cached_property
    def provides(self) -> tuple[Relation, ...]:
        """Virtual packages, perhaps of a version. Raises Invalid."""
        return tuple(alternatives[0] for alternatives in parse(self.fields.get("provides", "")))

    def relations(self, *names: str) -> tuple[Alternatives, ...]:
        """What those fields ask for. Raises Invalid."""
        return tuple(group for name in names for group in parse(self.fields.get(name, "")))

    @property
    def path(self) -> str:
        return self.fields.get("filename", "")

    @property
    def file(self) -> File:
        """Its .deb. Raises Invalid where the index has no SHA-256 of it."""
        sha256, size = self.fields.get("sha256", ""), self.fields.get("size", "")
        if not _SHA256.fullmatch(sha256) or not size.isdigit() or not self.path:
            raise Invalid(f"package {self.name}: the archive's index has no SHA256, size or name of its file")
        return File(sha256, int(size))

    def __str__(self) -> str:
        return f"{self.name} {self.version}"

    def is_called(self, relation: Relation) -> bool:
        """Whether this is what a relation means, by its own name or by what it provides."""
        if self.name == relation.name:
            return versions.satisfies(self.version, relation.operator, relation.version)
        return any(_is_provided(one, relation) for one in self.provides if one.name == relation.name)


def _is_provided(offer: Relation, wanted: Relation) -> bool:
    # a virtual package without a version satisfies no versioned relation (Policy 7.5)
    if not wanted.operator:
        return True
    return bool(offer.version) and versions.satisfies(offer.version, wanted.operator, wanted.version)


@dataclass(frozen=True, slots=True)
class Listing:
    """One archive's index, plain. archive: the URL below which its packages lie."""

    text: bytes | mmap
    archive: str

    def stanzas(self) -> Iterator[tuple[int, bytes]]:
        """Where each begins, and itself."""
        start, size = 0, len(self.text)
        while start < size:
            end = self.text.find(b"\n\n", start)
            end = size if end < 0 else end
            if stanza := self.text[start:end].strip(b"\n"):
                yield start, stanza
            start = end + 2

    def package(self, start: int) -> Package:
        """The package whose stanza begins there. Raises Invalid."""
        end = self.text.find(b"\n\n", start)
        stanza = self.text[start : end if end >= 0 else len(self.text)]
        found = stanzas.fields(stanza.decode("utf-8", "replace"))
        name, version = found.get("package", ""), found.get("version", "")
        if not _NAME.fullmatch(name) or not version:
            raise Invalid(f"{self.archive}: the index has a package without a name or version: {stanza[:60]!r}")
        return Package(name, version, found.get("architecture", ""), found, self.archive)


class Index:
    """What listings together offer for an architecture: of each package its newest version; of equal ones the first.

    pins: versions by package, see `versions.pinned`; of such a package no other counts. check: called now and then;
    raises when nobody waits any more. Raises Invalid for what is no index.
    """

    def __init__(
        self,
        listings: Iterable[Listing],
        architecture: str,
        check: Callable[[], None] = lambda: None,
        pins: Mapping[str, str] | None = None,
    ) -> None:
        self._pins = dict(pins or {})
        self._passed: dict[str, list[str]] = {}
        self._listings = list(listings)
        self._places: dict[str, tuple[int, int]] = {}
        self._made: dict[str, Package] = {}
        self._providers: dict[bytes, str] = {}  # names with spaces between: a hundred thousand sets would be too much
        self._basic: set[str] = set()
        fitting = (architecture.encode(), b"all")
        for number, listing in enumerate(self._listings):
            for count, (start, stanza) in enumerate(listing.stanzas()):
                if count % 1000 == 0:
                    check()
                found = dict(_LINE.findall(stanza))
                if found.get(b"Architecture") in fitting:
                    self._add(found, number, start)

    def _add(self, found: dict[bytes, bytes], number: int, start: int) -> None:
        name = found.get(b"Package", b"").decode("ascii", "replace")
        if name in self._pins:
            version = self._listings[number].package(start).version
            if not versions.pinned(version, self._pins[name]):
                self._passed.setdefault(name, []).append(version)
                return
        if name in self._places or not name:
            # the newer of two; one without a name is told here
            package = self._listings[number].package(start)
            if versions.compare(package.version, self._at(name).version) <= 0:
                return
            self._made[name] = package
        self._places[name] = (number, start)
        for virtual in _PROVIDED.findall(found.get(b"Provides", b"")):
            self._providers[virtual] = f"{self._providers[virtual]} {name}" if virtual in self._providers else name
        if found.get(b"Essential") == b"yes" or found.get(b"Priority") in _BASIC:
            self._basic.add(name)

    def _at(self, name: str) -> Package:
        if name not in self._made:
            number, start = self._places[name]
            self._made[name] = self._listings[number].package(start)
        return self._made[name]

    def passed_over(self, name: str) -> list[str]:
        """The versions of a package that its pin leaves out, the newest first."""
        return sorted(set(self._passed.get(name, ())), key=versions.newest, reverse=True)

    def __len__(self) -> int:
        return len(self._places)

    def basic(self) -> list[Package]:
        """What is essential, or of priority required or important, by name."""
        return [self._at(name) for name in sorted(self._basic)]

    def candidates(self, relation: Relation) -> list[Package]:
        """What can stand for a relation: the package of that name first, then those that provide it, the most
        important first, then by name."""
        names = set(self._providers.get(relation.name.encode(), "").split()) - {relation.name}
        others = sorted((self._at(name) for name in names), key=lambda one: (one.rank, one.name))
        own = [self._at(relation.name)] if relation.name in self._places else []
        return [one for one in own + others if one.is_called(relation)]
