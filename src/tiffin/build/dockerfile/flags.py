"""The `--name=value` flags of an instruction, checked against those it knows."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from tiffin.build.dockerfile.gotext import with_suggestion
from tiffin.build.dockerfile.source import DockerfileError

BOOL, STRING, STRINGS = "bool", "string", "strings"


@dataclass(frozen=True, slots=True)
class Flags:
    texts: Mapping[str, tuple[str, ...]] = field(default_factory=dict)

    def text(self, name: str, default: str = "") -> str:
        return self.texts[name][0] if name in self.texts else default

    def every(self, name: str) -> tuple[str, ...]:
        return self.texts.get(name, ())

    def given(self, name: str) -> bool | None:
        """A boolean flag; None where it is not given."""
        return self.text(name) == "true" if name in self.texts else None


def parse_flags(words: Sequence[str], known: Mapping[str, str]) -> Flags:
    """`known` names the kinds. DockerfileError in BuildKit's words, with a suggestion for an unknown flag."""
    found: dict[str, tuple[str, ...]] = {}
    for word in words:
        flag, equals, value = word.partition("=")
        name = flag.removeprefix("--")
        kind = known.get(name)
        if kind is None:
            raise DockerfileError(with_suggestion(f"unknown flag: {flag}", name, known))
        if name in found and kind != STRINGS:
            raise DockerfileError(f"duplicate flag specified: {flag}")
        if kind == BOOL:
            value = _boolean(flag, equals, value)
        elif not equals:
            raise DockerfileError(f"missing a value on flag: {flag}")
        found[name] = (*found.get(name, ()), value)
    return Flags(found)


def _boolean(flag: str, equals: str, value: str) -> str:
    if equals and not value:
        raise DockerfileError(f"missing a value on flag: {flag}")
    if value.lower() not in ("true", "false", ""):
        raise DockerfileError(f"expecting boolean value for flag {flag}, not: {value}")
    return value.lower() or "true"
