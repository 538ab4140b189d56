"""Who a container's process is: `user[:group]` by the image's passwd and group files: data, nothing more."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from tiffin.errors import Invalid

HIGHEST_ID = 2**31 - 1  # docker's; the kernel's own would be 2**32 - 2

Reader = Callable[[str], bytes]
"""Gives a file of the container's root; b"" where there is none or it is not a regular file of bearable size."""


@dataclass(frozen=True, slots=True)
class User:
    uid: int
    gid: int
    groups: tuple[int, ...]
    home: str


@dataclass(frozen=True, slots=True)
class _Account:
    name: str
    uid: int
    gid: int
    home: str


@dataclass(frozen=True, slots=True)
class _Group:
    name: str
    gid: int
    members: frozenset[str]


def resolve(user: str, extra_groups: Sequence[str], read: Reader) -> User:
    """`user` as the API has it: "", a name, a number, either with `:group`. Raises Invalid with docker's words.

    A number needs no entry; with one, its group and home are taken. Membership in further groups counts only where
    no group is named, as docker has it.
    """
    user_part, _, group_part = user.partition(":")
    accounts = _accounts(read("/etc/passwd"))
    groups = tuple(_groups(read("/etc/group")))
    account = _find_account(user_part, accounts)
    gid = account.gid
    memberships: tuple[int, ...] = ()
    if group_part:
        gid = _find_group(group_part, groups)
    elif account.name:
        memberships = tuple(group.gid for group in groups if account.name in group.members)
    extra = tuple(_find_group(name, groups) for name in extra_groups)
    return User(account.uid, gid, tuple(dict.fromkeys((gid, *memberships, *extra))), account.home or "/")


def _find_account(wanted: str, accounts: Iterator[_Account]) -> _Account:
    number = _number(wanted) if wanted else 0
    for account in accounts:
        if account.name == wanted or (number is not None and account.uid == number):
            return account
    if number is None:
        raise Invalid(f"unable to find user {wanted}: no matching entries in passwd file")
    return _Account("", number, 0, "/")


def _find_group(wanted: str, groups: Sequence[_Group]) -> int:
    for group in groups:
        if group.name == wanted:
            return group.gid
    number = _number(wanted)
    if number is None:
        raise Invalid(f"unable to find group {wanted}: no matching entries in group file")
    return number


def _number(text: str) -> int | None:
    """None for a name. Raises Invalid for a number that no user can have."""
    digits = text.removeprefix("-").removeprefix("+")
    if not digits.isascii() or not digits.isdigit():
        return None
    if len(digits) > 20 or not 0 <= int(text) <= HIGHEST_ID:
        raise Invalid(f"uids and gids must be in range 0-{HIGHEST_ID}")
    return int(text)


def _fields(content: bytes, count: int) -> Iterator[list[str]]:
    for line in content.decode("utf-8", "surrogateescape").split("\n"):
        if line and not line.startswith("#"):
            parts = line.rstrip("\r").split(":")
            yield parts + [""] * (count - len(parts))


def _plain(text: str) -> bool:
    """Whether a file's number is one: there are other digits than ASCII's, and longer numbers than ids."""
    return text.isascii() and text.isdigit() and len(text) < 11


def _accounts(content: bytes) -> Iterator[_Account]:
    for name, _, uid, gid, _, home, *_ in _fields(content, 7):
        if _plain(uid):
            yield _Account(name, int(uid), int(gid) if _plain(gid) else 0, home)


def _groups(content: bytes) -> Iterator[_Group]:
    for name, _, gid, members, *_ in _fields(content, 4):
        if _plain(gid):
            yield _Group(name, int(gid), frozenset(filter(None, members.split(","))))
