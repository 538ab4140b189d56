"""Who a process is, by files that an image may have made with intent."""

import pytest

from tiffin.containers.users import User, resolve
from tiffin.errors import Invalid

FILES = {
    "/etc/passwd": b"root:x:0:0:root:/root:/bin/sh\nweb:x:1000:1001::/srv/web:/bin/sh\n# no one\nbroken\n"
    b"nohome:x:7:8\n",
    "/etc/group": b"root:x:0:\nwheel:x:10:root,web\nweb:x:1001:\naudio:x:29:web\n",
}


def read(path: str) -> bytes:
    return FILES.get(path, b"")


@pytest.mark.parametrize(
    ("user", "expected"),
    [
        ("", User(0, 0, (0, 10), "/root")),
        ("web", User(1000, 1001, (1001, 10, 29), "/srv/web")),
        ("1000", User(1000, 1001, (1001, 10, 29), "/srv/web")),
        ("web:audio", User(1000, 29, (29,), "/srv/web")),
        ("5:6", User(5, 6, (6,), "/")),
        ("5", User(5, 0, (0,), "/")),
        ("nohome", User(7, 8, (8,), "/")),
    ],
)
def test_users_are_found_as_docker_finds_them(user: str, expected: User) -> None:
    assert resolve(user, (), read) == expected


def test_further_groups_are_added_by_name_and_number() -> None:
    assert resolve("web", ("audio", "77"), read).groups == (1001, 10, 29, 77)


def test_without_files_there_is_root() -> None:
    assert resolve("", (), lambda path: b"") == User(0, 0, (0,), "/")


@pytest.mark.parametrize("user", ["nobody", "web:nogroup", "nobody:web"])
def test_unknown_names_are_refused_in_dockers_words(user: str) -> None:
    with pytest.raises(Invalid, match=r"unable to find (user|group) \w+: no matching entries in (passwd|group) file"):
        resolve(user, (), read)


@pytest.mark.parametrize("user", ["2147483648", "4294967296", "-1", "99999999999999999999999", "0:4294967296"])
def test_a_number_that_would_wrap_around_to_root_is_refused(user: str) -> None:
    with pytest.raises(Invalid, match=r"uids and gids must be in range 0-2147483647|no matching entries"):
        resolve(user, (), read)


def test_bytes_that_are_no_text_are_names_too() -> None:
    assert resolve("", (), lambda path: b"\xff\xfe:x:0:5::/h:\n").gid == 5
