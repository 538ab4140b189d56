"""The upstreams of a pull-through cache, from its options."""

from __future__ import annotations

import json
from pathlib import Path
from urllib.parse import urlsplit

from tiffin.content.blobs import BlobStore
from tiffin.daemon.registry_options import Options
from tiffin.errors import Invalid
from tiffin.registry.credentials import NOBODY, Credentials, from_document
from tiffin.registry.server.counters import Counters
from tiffin.registry.server.repositories import Repositories
from tiffin.registry.server.upstream import Fetching, Upstream
from tiffin.registry.server.upstreams import Upstreams, canonical, folder


def upstreams(
    options: Options, repositories: Repositories, workspace: BlobStore, counters: Counters
) -> Upstreams | None:
    """None without one. Raises Invalid."""
    if not options.upstream:
        return None
    known = _credentials(options.upstream_auth)
    fetching = Fetching()
    default: Upstream | None = None
    by: dict[str, Upstream] = {}
    for text in options.upstream:
        namespace, equals, url = text.partition("=")
        if not equals or "://" in namespace:
            namespace, url = "", text
        prefix = folder(namespace) if namespace else ""
        host = canonical(namespace or urlsplit(url).netloc)
        given = _own(options) if options.upstream_user else known.get(host, NOBODY)
        verify = not options.upstream_insecure
        made = Upstream(url, given, repositories, workspace, counters, fetching, prefix, verify=verify)
        if (canonical(namespace) in by) if namespace else default is not None:
            raise Invalid(f"--upstream={text}: there is one for {namespace or 'requests that name none'} already")
        if namespace:
            by[canonical(namespace)] = made
        else:
            default = made
    return Upstreams(by, default)


def _own(options: Options) -> Credentials:
    password = options.upstream_password
    if options.upstream_password_file:
        try:
            password = Path(options.upstream_password_file).read_text().strip("\r\n")
        except (OSError, ValueError) as error:
            raise Invalid(f"cannot read --upstream-password-file: {error}") from error
    return Credentials(options.upstream_user, password)


def _credentials(path: str) -> dict[str, Credentials]:
    """By registry, from a file such as docker's config.json."""
    if not path:
        return {}
    try:
        listed = json.loads(Path(path).read_text())["auths"]
        return {_host(key): from_document(value) for key, value in listed.items()}
    except (OSError, ValueError, LookupError, TypeError, AttributeError) as error:
        raise Invalid(
            f"cannot read --upstream-auth={path}: {error!r}; it is a file such as ~/.docker/config.json"
        ) from error


def _host(key: str) -> str:
    return canonical(key.removeprefix("https://").removeprefix("http://").partition("/")[0])
