"""Image references: the grammar of distribution/reference and docker's familiar names.

python                      docker.io/library/python:latest
my-org/x:1                  docker.io/my-org/x:1
host:5000/x@sha256:…        host:5000/x@sha256:…
"""

import re
from dataclasses import dataclass, replace

from tiffin.errors import Invalid
from tiffin.model.digest import Digest

DEFAULT_DOMAIN = "docker.io"
_LEGACY_DOMAIN = "index.docker.io"
_OFFICIAL = "library/"

_LABEL = r"(?:[a-zA-Z0-9]|[a-zA-Z0-9][a-zA-Z0-9-]*[a-zA-Z0-9])"
_DOMAIN = rf"(?:{_LABEL}(?:\.{_LABEL})*|\[(?:[a-fA-F0-9:]+)\])(?::[0-9]+)?"
_COMPONENT = r"[a-z0-9]+(?:(?:[._]|__|-+)[a-z0-9]+)*"
_PATH = rf"{_COMPONENT}(?:/{_COMPONENT})*"
_TAG = r"[\w][\w.-]{0,127}"
_DIGEST = r"[A-Za-z][A-Za-z0-9]*(?:[-_+.][A-Za-z][A-Za-z0-9]*)*:[0-9a-fA-F]{32,}"
_REFERENCE = re.compile(rf"(?:({_DOMAIN})/)?({_PATH})(?::({_TAG}))?(?:@({_DIGEST}))?", re.ASCII)
_ONLY_DIGEST = re.compile(r"(?:[a-z0-9]+:)?[0-9a-f]{64}", re.ASCII)
_SHA256 = re.compile(r"sha256:[0-9a-f]{64}", re.ASCII)
_TAG_ONLY = re.compile(_TAG, re.ASCII)
MAX_NAME = 255


@dataclass(frozen=True, slots=True)
class Reference:
    """A normalized reference. `str()` is the full form; `familiar` is what docker prints."""

    domain: str
    path: str
    tag: str | None = None
    digest: Digest | None = None

    @property
    def name(self) -> str:
        return f"{self.domain}/{self.path}"

    @property
    def familiar_name(self) -> str:
        if self.domain != DEFAULT_DOMAIN:
            return self.name
        short = self.path.removeprefix(_OFFICIAL)
        # docker.io/library/a/b must keep its prefix, as a/b means another repository
        return short if "/" not in short or short == self.path else self.path

    @property
    def familiar(self) -> str:
        return self.familiar_name + self._suffix()

    def with_default_tag(self) -> "Reference":
        return self if self.tag or self.digest else replace(self, tag="latest")

    def _suffix(self) -> str:
        return (f":{self.tag}" if self.tag else "") + (f"@{self.digest}" if self.digest else "")

    def __str__(self) -> str:
        return self.name + self._suffix()


def _split_domain(text: str) -> tuple[str, str]:
    first, slash, rest = text.partition("/")
    # a first component is a registry only when it looks like a host: docker/distribution's rule
    if not slash or not ("." in first or ":" in first or first == "localhost" or first.lower() != first):
        domain, rest = DEFAULT_DOMAIN, text
    else:
        domain = DEFAULT_DOMAIN if first == _LEGACY_DOMAIN else first
    if domain == DEFAULT_DOMAIN and "/" not in rest:
        rest = _OFFICIAL + rest
    return domain, rest


def parse_reference(text: str) -> Reference:
    """A normalized reference, without a default tag. Invalid carries docker's words (`invalid reference format…`)."""
    if _ONLY_DIGEST.fullmatch(text) and ":" not in text:
        raise Invalid(f"invalid repository name ({text}), cannot specify 64-byte hexadecimal strings")
    domain, rest = _split_domain(text)
    remote = rest.partition(":")[0]
    if remote.lower() != remote:
        raise Invalid(f"invalid reference format: repository name ({remote}) must be lowercase")
    match = _REFERENCE.fullmatch(f"{domain}/{rest}")
    if match is None or match[1] is None:
        if _REFERENCE.fullmatch(text.lower()) and text.lower() != text and "@" not in text:
            raise Invalid("invalid reference format: repository name must be lowercase")
        raise Invalid("invalid reference format")
    if len(f"{match[1]}/{match[2]}") > MAX_NAME:
        raise Invalid(f"repository name must not be more than {MAX_NAME} characters")
    digest = match[4]
    if digest is not None and not _SHA256.fullmatch(digest):
        algorithm = digest.partition(":")[0]
        raise Invalid("invalid reference format" if algorithm == "sha256" else "unsupported digest algorithm")
    return Reference(match[1], match[2], match[3], Digest(digest) if digest else None)


def parse_tag(text: str) -> str:
    if not _TAG_ONLY.fullmatch(text):
        raise Invalid("invalid tag format")
    return text
