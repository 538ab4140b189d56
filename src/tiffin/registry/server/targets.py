"""What a request is about, read from its path and its ranges. Pure."""

import re
from dataclasses import dataclass
from enum import Enum
from urllib.parse import quote

from tiffin.model.digest import Digest
from tiffin.registry.server import names
from tiffin.registry.server.refusals import Refusal, not_found, size_invalid


class Kind(Enum):
    BASE = "base"
    CATALOG = "catalog"
    TAGS = "tags"
    MANIFEST = "manifest"
    BLOB = "blob"
    UPLOADS = "uploads"
    UPLOAD = "upload"
    REFERRERS = "referrers"


@dataclass(frozen=True, slots=True)
class Target:
    """name: the repository. reference: a tag, a digest or an upload's id, unchecked."""

    kind: Kind
    name: str = ""
    reference: str = ""


def target(path: str) -> Target:
    """The target of a decoded path. Refusal for names that are none and paths that lead nowhere."""
    if path in ("/v2", "/v2/"):
        return Target(Kind.BASE)
    if not path.startswith("/v2/"):
        raise not_found()
    if path == "/v2/_catalog":
        return Target(Kind.CATALOG)
    # a repository's name may have components such as "blobs": the end of the path decides
    parts = path.removeprefix("/v2/").split("/")
    match parts[-3:]:
        case [*_, "blobs", "uploads", ""]:
            return Target(Kind.UPLOADS, names.repository("/".join(parts[:-3])))
        case [*_, "blobs", "uploads", upload]:
            return Target(Kind.UPLOAD, names.repository("/".join(parts[:-3])), upload)
        case [*_, "blobs", "uploads"]:
            return Target(Kind.UPLOADS, names.repository("/".join(parts[:-2])))
        case [*_, "manifests", reference]:
            return Target(Kind.MANIFEST, names.repository("/".join(parts[:-2])), reference)
        case [*_, "blobs", reference]:
            return Target(Kind.BLOB, names.repository("/".join(parts[:-2])), reference)
        case [*_, "referrers", reference]:
            return Target(Kind.REFERRERS, names.repository("/".join(parts[:-2])), reference)
        case [*_, "tags", "list"]:
            return Target(Kind.TAGS, names.repository("/".join(parts[:-2])))
    raise not_found()


def blob_path(name: str, digest: Digest) -> str:
    return f"/v2/{name}/blobs/{digest}"


def manifest_path(name: str, reference: str) -> str:
    return f"/v2/{name}/manifests/{reference}"


def upload_path(name: str, upload: str) -> str:
    return f"/v2/{name}/blobs/uploads/{upload}"


_RANGE = re.compile(r"bytes=\s*(\d{0,19})-(\d{0,19})\s*", re.ASCII | re.IGNORECASE)
_CONTENT_RANGE = re.compile(r"(?:bytes[ =])?(\d{1,19})-(\d{1,19})(?:/(?:\d+|\*))?", re.ASCII)


def part(header: str, size: int) -> tuple[int, int] | None:
    """(offset, length) of a Range header (RFC 9110, 14.2); None where all is to be sent.

    Several ranges at once and what is malformed get the whole, as the RFC allows. Refusal 416 for a range outside.
    """
    match = _RANGE.fullmatch(header)
    if match is None or not (match[1] or match[2]):
        return None
    if not match[1]:
        length = min(int(match[2]), size)
        offset = size - length
    else:
        offset = int(match[1])
        last = min(int(match[2]), size - 1) if match[2] else size - 1
        if match[2] and int(match[2]) < offset:
            return None
        length = last - offset + 1
    if offset >= size or length <= 0:
        headers = {"Content-Range": f"bytes */{size}"}
        raise Refusal("SIZE_INVALID", 416, f"the range {header[:60]} is outside of the {size} bytes", headers=headers)
    return offset, length


def chunk(header: str, length: str | None) -> tuple[int, int] | None:
    """(first, size) of a chunk's Content-Range; None without one. Refusal where it contradicts the Content-Length."""
    if not header:
        return None
    match = _CONTENT_RANGE.fullmatch(header.strip())
    if match is None or int(match[2]) < int(match[1]):
        raise Refusal("BLOB_UPLOAD_INVALID", 416, f"Content-Range {header[:60]!r}: not FIRST-LAST")
    size = int(match[2]) - int(match[1]) + 1
    if length is not None and (not length.isdigit() or int(length) != size):
        raise size_invalid(f"Content-Range {header[:60]} has {size} bytes, Content-Length says {length[:30]}")
    return int(match[1]), size


def accepts(header: str, media_type: str) -> bool:
    """Whether an Accept header lets this type through. Parameters but q=0 are not looked at."""
    if not header.strip():
        return True
    major = media_type.partition("/")[0]
    for item in header.split(","):
        kind, *parameters = (word.strip().lower() for word in item.split(";"))
        refused = any(re.fullmatch(r"q=0(\.0*)?", word) for word in parameters)
        if not refused and kind in ("*/*", f"{major}/*", media_type.lower()):
            return True
    return False


def next_page(path: str, count: int, last: str, **more: str) -> str:
    """The Link header of a page that others follow (RFC 8288)."""
    query = "&".join(f"{key}={quote(str(value), safe='')}" for key, value in {"n": count, "last": last, **more}.items())
    return f'<{path}?{query}>; rel="next"'


def count(text: str, most: int) -> int:
    """The `n` of a listing, at most `most`; that many without one. Refusal for what is no number."""
    if not text:
        return most
    if not text.isdigit() or len(text) > 18:
        raise Refusal("PAGINATION_NUMBER_INVALID", 400, f"invalid number of results requested: n={text[:30]}")
    return min(int(text), most)
