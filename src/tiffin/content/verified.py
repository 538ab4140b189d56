"""A stream that checks its own digest: whoever reads it to the end has read what was promised, or got an error."""

import hashlib

from tiffin.content.compression import Readable
from tiffin.errors import Invalid
from tiffin.model.digest import Digest


class Hashed:
    """Counts and hashes what is read through it."""

    def __init__(self, stream: Readable) -> None:
        self._stream = stream
        self._hash = hashlib.sha256()
        self.size = 0

    def read(self, size: int = -1, /) -> bytes:
        data = self._stream.read(size)
        self._hash.update(data)
        self.size += len(data)
        return data

    @property
    def digest(self) -> Digest:
        return Digest("sha256:" + self._hash.hexdigest())


class Verified(Hashed):
    """Raises Invalid at the end of a stream whose digest is another."""

    def __init__(self, stream: Readable, expected: Digest, what: str) -> None:
        super().__init__(stream)
        self._expected = expected
        self._what = what

    def read(self, size: int = -1, /) -> bytes:
        data = super().read(size)
        if (not data or size < 0) and size != 0 and self.digest != self._expected:
            raise Invalid(f"{self._what}: content has digest {self.digest}, expected {self._expected}")
        return data
