"""What a client is refused, with the code and the status that the specification has for it ("Error Codes")."""

import json
from collections.abc import Mapping
from typing import Any

from tiffin import errors
from tiffin.errors import TiffinError


class Refusal(TiffinError):
    """code: of the specification. headers: what the answer carries besides."""

    def __init__(
        self, code: str, status: int, text: str, detail: Any = None, headers: Mapping[str, str] | None = None
    ) -> None:
        super().__init__(text)
        self.code = code
        self.status = status
        self.detail = detail
        self.headers = dict(headers or {})

    def body(self) -> bytes:
        """The error document."""
        error = {"code": self.code, "message": str(self)}
        if self.detail is not None:
            error["detail"] = self.detail
        return json.dumps({"errors": [error]}, separators=(",", ":")).encode()


def blob_unknown(digest: str) -> Refusal:
    return Refusal("BLOB_UNKNOWN", 404, "blob unknown to registry", {"digest": digest})


def upload_unknown() -> Refusal:
    return Refusal("BLOB_UPLOAD_UNKNOWN", 404, "blob upload unknown to registry")


def digest_invalid(text: str) -> Refusal:
    return Refusal("DIGEST_INVALID", 400, f"provided digest did not match uploaded content: {text}")


def size_invalid(text: str) -> Refusal:
    return Refusal("SIZE_INVALID", 400, f"provided length did not match content length: {text}")


def manifest_unknown(text: str = "manifest unknown to registry", detail: Any = None) -> Refusal:
    return Refusal("MANIFEST_UNKNOWN", 404, text, detail)


def manifest_invalid(text: str) -> Refusal:
    return Refusal("MANIFEST_INVALID", 400, f"manifest invalid: {text}")


def parts_unknown(digests: list[str]) -> Refusal:
    shown = [{"digest": digest} for digest in digests[:100]]
    return Refusal("MANIFEST_BLOB_UNKNOWN", 404, "manifest references a manifest or blob unknown to registry", shown)


def name_invalid(name: str) -> Refusal:
    return Refusal("NAME_INVALID", 400, "invalid repository name", {"name": name[:255]})


def name_unknown(name: str) -> Refusal:
    return Refusal("NAME_UNKNOWN", 404, "repository name not known to registry", {"name": name})


def unsupported(text: str, allow: str = "GET, HEAD") -> Refusal:
    return Refusal("UNSUPPORTED", 405, f"the operation is unsupported: {text}", headers={"Allow": allow})


def too_large(code: str, limit: int) -> Refusal:
    return Refusal(code, 413, f"larger than the {limit} bytes that this registry takes")


def not_found() -> Refusal:
    return Refusal("UNSUPPORTED", 404, "there is nothing at this path; the API is at /v2/")


def of(error: TiffinError) -> Refusal:
    """Any error of tiffin's as one of the registry's."""
    match error:
        case Refusal():
            return error
        case errors.Unavailable():
            return Refusal("UNAVAILABLE", 507 if "no space left" in str(error) else 503, str(error))
        case errors.Invalid():
            return Refusal("UNSUPPORTED", 400, str(error))
        case errors.NotFound():
            return Refusal("BLOB_UNKNOWN", 404, str(error))
    return Refusal("UNKNOWN", 500, str(error))
