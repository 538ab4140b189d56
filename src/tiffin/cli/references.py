"""Image references as users type and read them. The daemon decides; here only what would never reach it is refused."""

from __future__ import annotations

import re

from tiffin.errors import Invalid

_PART = r"[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*"
_DOMAIN = r"(?:[a-zA-Z0-9](?:[a-zA-Z0-9.-]*[a-zA-Z0-9])?|\[[a-fA-F0-9:]+\])(?::[0-9]+)?"
_REFERENCE = re.compile(
    rf"(?:{_DOMAIN}/)?{_PART}(?:/{_PART})*(?::[\w][\w.-]{{0,127}})?(?:@[A-Za-z][\w+.-]*:[0-9a-fA-F]{{32,}})?", re.ASCII
)


def check(text: str) -> None:
    """Raises Invalid for what is no reference."""
    if re.fullmatch(r"(sha256:)?[0-9a-f]{64}", text):
        return
    if _REFERENCE.fullmatch(text) is None:
        repository = _repository(text)
        if repository != repository.lower():
            raise Invalid(f"invalid reference format: repository name ({repository}) must be lowercase")
        raise Invalid("invalid reference format")


def _repository(text: str) -> str:
    """The path in its registry."""
    first, slash, rest = text.partition("/")
    on_hub = not slash or not (set(".:") & set(first) or first == "localhost" or first != first.lower())
    path = text if on_hub else rest
    return ("" if slash else "library/") + path.partition(":")[0]


def split(text: str) -> tuple[str, str]:
    """Repository and tag or digest; empty when there is none."""
    name, at, digest = text.partition("@")
    head, slash, last = name.rpartition("/")
    repository, _, tag = last.partition(":")
    return f"{head}{slash}{repository}", digest if at else tag


def familiar(text: str) -> str:
    """Without the default registry, with a tag."""
    name = text.removeprefix("docker.io/").removeprefix("library/")
    return name if split(name)[1] else f"{name}:latest"
