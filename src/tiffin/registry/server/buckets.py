"""Storage in a bucket of an S3-compatible service, by boto3 (extra `s3`). Blobs and documents are objects.

Credentials, region and profile come from where boto3 looks for them: AWS_ACCESS_KEY_ID and the like, ~/.aws, the
machine's role. Uploads and downloads pass through a directory of this machine: an object appears when it is whole.
"""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO
from urllib.parse import urlsplit

from tiffin.errors import Invalid, NotFound, Unavailable, Unsupported
from tiffin.model.digest import Digest, hex_of
from tiffin.registry.server.names import ALGORITHMS, algorithm_of
from tiffin.registry.server.storage import Held

_PIECE = 1 << 20
_PART = 64 << 20
_UNKNOWN = ("404", "NoSuchKey", "NotFound")


class Bucket:
    """Implements Storage. url: s3://BUCKET/PREFIX; endpoint: the service's URL, empty for Amazon's."""

    def __init__(self, url: str, endpoint: str = "", *, connections: int = 32) -> None:
        parts = urlsplit(url)
        if parts.scheme != "s3" or not parts.netloc or parts.query or parts.fragment:
            raise Invalid(f"storage {url!r}: give s3://BUCKET or s3://BUCKET/PREFIX")
        self._bucket = parts.netloc
        self._prefix = parts.path.strip("/") + "/" if parts.path.strip("/") else ""
        self._client, self._transfer = _client(endpoint, connections)
        with self._explaining("the bucket"):
            self._client.head_bucket(Bucket=self._bucket)

    @contextmanager
    def _explaining(self, what: str) -> Iterator[None]:
        from botocore.exceptions import BotoCoreError, ClientError

        try:
            yield
        except ClientError as error:
            code = str(error.response.get("Error", {}).get("Code", ""))
            if code in _UNKNOWN:
                raise NotFound(f"{what} is not in s3://{self._bucket}/{self._prefix}") from error
            raise Unavailable(f"s3://{self._bucket}: {what}: {error}") from error
        except BotoCoreError as error:
            raise Unavailable(f"s3://{self._bucket}: {what}: {error}") from error

    def get(self, key: str) -> bytes | None:
        try:
            with self._explaining(key):
                body = self._client.get_object(Bucket=self._bucket, Key=self._prefix + key)["Body"]
                data: bytes = body.read()
                return data
        except NotFound:
            return None

    def put(self, key: str, data: bytes) -> None:
        with self._explaining(key):
            self._client.put_object(Bucket=self._bucket, Key=self._prefix + key, Body=data)

    def delete(self, key: str) -> bool:
        try:
            self._head(self._prefix + key)
        except NotFound:
            return False
        with self._explaining(key):
            self._client.delete_object(Bucket=self._bucket, Key=self._prefix + key)
        return True

    def children(self, prefix: str, after: str = "") -> Iterator[str]:
        start = f"{self._prefix}{prefix}/"
        for item in self._list(start, after):
            yield str(item["Key"]).removeprefix(start)

    def _list(self, start: str, after: str = "") -> Iterator[dict[str, Any]]:
        options: dict[str, Any] = {"Bucket": self._bucket, "Prefix": start}
        if after:
            options["StartAfter"] = start + after
        while True:
            with self._explaining(start):
                page = self._client.list_objects_v2(**options)
            for item in page.get("Contents", ()):
                # a service may answer with names in front of the one to start after
                if str(item["Key"]) > start + after:
                    yield item
            if not page.get("IsTruncated"):
                return
            options["ContinuationToken"] = page["NextContinuationToken"]

    def _head(self, key: str) -> dict[str, Any]:
        with self._explaining(key):
            found: dict[str, Any] = self._client.head_object(Bucket=self._bucket, Key=key)
            return found

    def modified(self, key: str) -> float:
        try:
            return float(self._head(self._prefix + key)["LastModified"].timestamp())
        except NotFound:
            return time.time()

    def _key(self, digest: Digest) -> str:
        return f"{self._prefix}blobs/{algorithm_of(digest)}/{hex_of(digest)}"

    def blob_size(self, digest: Digest) -> int | None:
        try:
            return int(self._head(self._key(digest))["ContentLength"])
        except NotFound:
            return None

    def open(self, digest: Digest) -> BinaryIO | None:
        return None

    def pieces(self, digest: Digest, offset: int, length: int) -> Iterator[bytes]:
        if not length:
            return
        asked = f"bytes={offset}-{offset + length - 1}"
        with self._explaining(f"blob {digest}"):
            body = self._client.get_object(Bucket=self._bucket, Key=self._key(digest), Range=asked)["Body"]
        try:
            while data := self._read(body, digest):
                yield data
        finally:
            body.close()

    def _read(self, body: Any, digest: Digest) -> bytes:
        with self._explaining(f"blob {digest}"):
            data: bytes = body.read(_PIECE)
            return data

    def take(self, path: Path, digest: Digest) -> None:
        with self._explaining(f"blob {digest}"):
            self._client.upload_file(str(path), self._bucket, self._key(digest), Config=self._transfer)
        path.unlink()

    def blobs(self) -> Iterator[Held]:
        for algorithm in ALGORITHMS:
            start = f"{self._prefix}blobs/{algorithm}/"
            for item in self._list(start):
                digest = Digest(f"{algorithm}:{str(item['Key']).removeprefix(start)}")
                yield Held(digest, int(item["Size"]), float(item["LastModified"].timestamp()))

    def drop(self, digest: Digest) -> None:
        with self._explaining(f"blob {digest}"):
            self._client.delete_object(Bucket=self._bucket, Key=self._key(digest))


def _client(endpoint: str, connections: int) -> tuple[Any, Any]:
    try:
        import boto3
        from boto3.s3.transfer import TransferConfig
        from botocore.config import Config
    except ImportError as error:
        raise Unsupported("storage in S3 needs boto3: pip install 'tiffin[s3]'") from error
    config = Config(
        max_pool_connections=connections,
        retries={"mode": "standard", "max_attempts": 4},
        s3={"addressing_style": "path" if endpoint else "auto"},
        # services other than Amazon's don't all know the checksums that newer clients add
        request_checksum_calculation="when_required",
        response_checksum_validation="when_required",
    )
    client = boto3.client("s3", endpoint_url=endpoint or None, config=config)
    return client, TransferConfig(multipart_threshold=_PART, multipart_chunksize=_PART, max_concurrency=2)
