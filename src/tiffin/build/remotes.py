"""Sources that are no files: which ADD operands are git repositories or URLs, and what they ask for."""

import re
from dataclasses import dataclass, replace
from urllib.parse import SplitResult, parse_qsl, unquote, urlsplit, urlunsplit

from tiffin.build.dockerfile.gotext import parse_bool, quoted
from tiffin.build.dockerfile.source import DockerfileError
from tiffin.build.dockerfile.wildcards import join

_SCHEME = re.compile(r"([a-zA-Z0-9]+)://")
_SCP = re.compile(r"([a-zA-Z0-9-_]+)@([a-zA-Z0-9-.]+):(.*?)(?:\?(.*?))?(?:#(.*))?", re.ASCII)
_GIT_SCHEMES = ("http", "https", "ssh", "git")
_FLAGS = ("submodules", "keep-git-dir", "fetch-by-commit")


@dataclass(frozen=True, slots=True)
class GitReference:
    """`https://host/repo.git?branch=b&subdir=d`, `git@host:repo.git#ref:d`. local: it may as well be a path."""

    remote: str
    ref: str = ""
    subdirectory: str = ""
    checksum: str = ""
    keep_git_dir: bool | None = None
    submodules: bool | None = None
    fetch_by_commit: bool = False
    commit_times: bool = False
    local: bool = False


def parse_git(text: str) -> GitReference | None:
    """None where it is no git repository; DockerfileError where it is one with a query that makes no sense."""
    if text.startswith(("./", "../")):
        return None
    if text.startswith("github.com/"):
        found = _from_url(urlsplit(f"https://{text}"))
        return replace(found, local=True, remote=found.remote.removeprefix("https://"))
    scheme = _SCHEME.match(text)
    if scheme is None:
        return _from_scp(text)
    if scheme[1].lower() not in _GIT_SCHEMES:
        return None
    try:
        url = urlsplit(text)
    except ValueError:
        return None
    # a web address is a repository only where its path says so
    if url.scheme in ("http", "https") and not url.path.endswith(".git"):
        return None
    return _from_url(url)


def is_http(text: str) -> bool:
    return text.startswith(("http://", "https://")) and not _is_git(text)


def is_remote(text: str) -> bool:
    return is_http(text) or _is_git(text)


def _is_git(text: str) -> bool:
    try:
        return parse_git(text) is not None
    except DockerfileError:
        return False


def file_name(url: str) -> str:
    """What a downloaded file is called."""
    try:
        base = unquote(urlsplit(url).path).rstrip("/").rpartition("/")[2]
    except ValueError:
        base = ""
    return base if base not in ("", ".") else "__unnamed__"


def _from_url(url: SplitResult) -> GitReference:
    remote = urlunsplit((url.scheme, url.netloc, url.path, "", ""))
    return _with_query(_with_fragment(GitReference(remote), unquote(url.fragment)), url.query)


def _from_scp(text: str) -> GitReference | None:
    match = _SCP.fullmatch(text)
    if match is None:
        return None
    found = GitReference(f"{match[1]}@{match[2]}:{match[3]}")
    return _with_query(_with_fragment(found, match[5] or ""), match[4] or "")


def _with_fragment(found: GitReference, fragment: str) -> GitReference:
    ref, _, subdirectory = fragment.partition(":")
    return replace(found, ref=ref, subdirectory=join("/", subdirectory)[1:])


def _with_query(found: GitReference, query: str) -> GitReference:
    pairs = parse_qsl(query, keep_blank_values=True)
    names = [name for name, _ in pairs]
    refs: dict[str, str] = {}
    for name, value in pairs:
        if names.count(name) > 1:
            raise DockerfileError(f"query {quoted(name)} has multiple values")
        if not value and name not in _FLAGS:
            raise DockerfileError(f"query {quoted(name)} has no value")
        if name in ("ref", "tag", "branch"):
            refs[name] = value
        else:
            found = _with_option(found, name, value)
    return _with_refs(found, refs)


def _with_option(found: GitReference, name: str, value: str) -> GitReference:
    if name == "subdir":
        if found.subdirectory not in ("", value):
            raise DockerfileError(f"subdir conflicts: {quoted(found.subdirectory)} vs {quoted(value)}")
        return replace(found, subdirectory=value)
    if name in ("checksum", "commit"):
        return replace(found, checksum=value)
    if name == "mtime":
        if value not in ("checkout", "commit"):
            raise DockerfileError(f'invalid mtime value: {quoted(value)} (must be "checkout" or "commit")')
        return replace(found, commit_times=value == "commit")
    if name not in _FLAGS:
        raise DockerfileError(f"unexpected query {quoted(name)}")
    try:
        on = parse_bool(value) if value else True
    except ValueError:
        raise DockerfileError(f"invalid {name} value: {quoted(value)}") from None
    if name == "submodules":
        return replace(found, submodules=on)
    return replace(found, keep_git_dir=on) if name == "keep-git-dir" else replace(found, fetch_by_commit=on)


def _with_refs(found: GitReference, refs: dict[str, str]) -> GitReference:
    if "tag" in refs and "branch" in refs:
        raise DockerfileError("branch conflicts with tag")
    for name, prefix in (("ref", ""), ("tag", "refs/tags/"), ("branch", "refs/heads/")):
        if name not in refs:
            continue
        ref = refs[name] if refs[name].startswith(prefix) else prefix + refs[name]
        if found.ref not in ("", ref):
            raise DockerfileError(f"ref conflicts: {quoted(found.ref)} vs {quoted(ref)}")
        found = replace(found, ref=ref)
    return found
