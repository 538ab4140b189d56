"""The index of packages: everything an archive offers for one architecture.

An index has 70,000 stanzas of which an image needs a hundred: only a few fields are read of each until it is wanted.
"""

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from functools import cached_property

from tiffin.errors import Invalid
from tiffin.images.bootstrap import stanzas, versions
from tiffin.images.bootstrap.relations import Alternatives, Relation, parse
from tiffin.images.bootstrap.release import File

_NAME = re.compile(r"[a-z0-9][a-z0-9+.-]*", re.ASCII)
_LINE = re.compile(r"^(Package|Version|Architecture|Essential|Priority|Provides|Important|Protected):[ \t]*(.*)$", re.M)
_SHA256 = re.compile(r"[0-9a-f]{64}", re.ASCII)


@dataclass(frozen=True)
class Package:
    """One version of a package in one archive. archive: where its `file` is fetched from, a URL."""

    name: str
    version: str
    architecture: str
    priority: str = "optional"
    essential: bool = False
    provided: str = ""
    stanza: str = field(default="", repr=False, compare=False)
    archive: str = ""

    @cached_property
    def fields(self) -> dict[str, str]:
        return stanzas.fields(self.stanza)

    @cached_property
    def provides(self) -> tuple[Relation, ...]:
        """Virtual packages, perhaps of a version. Raises Invalid."""
        return tuple(alternatives[0] for alternatives in parse(self.provided))

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


def read(text: str, archive: str, architecture: str) -> Iterator[Package]:
    """The packages of an index that fit an architecture. Raises Invalid."""
    for stanza in stanzas.stanzas(text):
        found = dict(_LINE.findall(stanza))
        name, version = found.get("Package", ""), found.get("Version", "").strip()
        if not _NAME.fullmatch(name) or not version:
            raise Invalid(f"{archive}: the index has a package without a name or version: {stanza[:60]!r}")
        if found.get("Architecture") not in (architecture, "all"):
            continue
        yield Package(
            name,
            version,
            found["Architecture"],
            found.get("Priority", "optional").strip(),
            found.get("Essential", "").strip() == "yes",
            found.get("Provides", ""),
            stanza,
            archive,
        )


class Index:
    """What all suites together offer: of each package its newest version; of equal ones the first."""

    def __init__(self, packages: Iterable[Package]) -> None:
        self._packages: dict[str, Package] = {}
        for package in packages:
            known = self._packages.get(package.name)
            if known is None or versions.compare(package.version, known.version) > 0:
                self._packages[package.name] = package
        self._providers: dict[str, list[Package]] = {}
        for package in self._packages.values():
            for name in {relation.name for relation in package.provides} if package.provided else ():
                self._providers.setdefault(name, []).append(package)

    def __iter__(self) -> Iterator[Package]:
        return iter(self._packages.values())

    def __len__(self) -> int:
        return len(self._packages)

    def get(self, name: str) -> Package | None:
        return self._packages.get(name)

    def candidates(self, relation: Relation) -> list[Package]:
        """What can stand for a relation: the package of that name first, then those that provide it, the most
        important first, then by name."""
        own = self._packages.get(relation.name)
        found = [own] if own is not None and own.is_called(relation) else []
        others = [one for one in self._providers.get(relation.name, ()) if one is not own and one.is_called(relation)]
        return found + sorted(others, key=lambda one: (rank(one), one.name))


PRIORITIES = ("required", "important", "standard", "optional", "extra")


def rank(package: Package) -> int:
    """0 for what every system needs, more for what fewer do."""
    try:
        return PRIORITIES.index(package.priority)
    except ValueError:
        return len(PRIORITIES)
