"""Queries, filters, bodies and routes, in the spellings that clients use."""

import asyncio
import os
from collections.abc import Awaitable
from types import SimpleNamespace
from typing import Any, TypeVar, cast

import msgspec
import pytest

from tiffin.errors import Invalid, TiffinError
from tiffin.http import errors, filters, response
from tiffin.http.containers import size_of
from tiffin.http.decode import decode
from tiffin.http.errors import PageNotFound
from tiffin.http.request import Query, Request
from tiffin.http.response import Response
from tiffin.http.router import Router, route

T = TypeVar("T")


class Inner(msgspec.Struct, rename="pascal"):
    memory: int = 0
    binds: list[str] | None = None
    children: "list[Inner] | None" = None


class Outer(msgspec.Struct, rename="pascal"):
    image: str = ""
    cmd: list[str] | str | None = None
    host_config: Inner | None = None
    ports: dict[str, Inner] = msgspec.field(default_factory=dict)


def run(work: Awaitable[T]) -> T:
    async def outer() -> T:
        return await work

    return asyncio.run(outer())


class Pieces:
    def __init__(self, *pieces: bytes) -> None:
        self.pieces = list(pieces)

    async def receive(self) -> bytes:
        return self.pieces.pop(0) if self.pieces else b""

    async def hijack(self, content_type: str, protocol: str) -> Any:
        raise NotImplementedError

    async def websocket(self) -> Any:
        raise NotImplementedError


def request(*pieces: bytes, content_type: str = "application/json") -> Request:
    headers = {"content-type": content_type, "transfer-encoding": "chunked"} if pieces else {}
    return Request("POST", "/x", headers, Query(), (1, 51), None, Pieces(*pieces))


@pytest.mark.parametrize("text", ["1", "true", "True", "yes", "anything"])
def test_booleans_that_are_true(text: str) -> None:
    assert Query.of(f"all={text}").flag("all")


@pytest.mark.parametrize("text", ["", "0", "no", "false", "False", "none", " None "])
def test_booleans_that_are_false(text: str) -> None:
    assert not Query.of(f"all={text}").flag("all", default=True)


def test_an_absent_boolean_is_its_default() -> None:
    assert Query.of("").flag("stream", default=True)


def test_limit_minus_one_is_a_number_and_letters_are_not() -> None:
    assert Query.of("limit=-1").integer("limit") == -1
    with pytest.raises(Invalid):
        Query.of("limit=ten").integer("limit")


@pytest.mark.parametrize("text", ["9223372036854775808", "-9223372036854775809", "9" * 400, "9" * 5000])
def test_numbers_have_64_bits(text: str) -> None:
    with pytest.raises(Invalid, match="t="):
        Query.of(f"t={text}").integer("t")


def test_filters_as_go_and_as_python_write_them_mean_the_same() -> None:
    assert filters.parse('{"label":{"a=b":true}}') == filters.parse('{"label":["a=b"]}') == {"label": ("a=b",)}
    assert filters.parse('{"dangling":[true]}').flag("dangling")
    assert filters.parse("") == {}


def test_an_unknown_filter_is_refused_in_dockers_words() -> None:
    with pytest.raises(Invalid, match=r"^invalid filter 'x'$"):
        filters.parse('{"x":["y"]}').only(("label",))


@pytest.mark.parametrize("text", ["{", "[]", '{"a":1}', '{"a":[{}]}', '"x"', "\\xff"])
def test_malformed_filters_are_refused(text: str) -> None:
    with pytest.raises(Invalid, match="invalid filter"):
        filters.parse(text)


def test_a_filter_that_is_neither_true_nor_false() -> None:
    with pytest.raises(Invalid, match=r"invalid filter 'dangling=\[perhaps\]'"):
        filters.parse('{"dangling":["perhaps"]}').flag("dangling")


def test_keys_match_in_any_case_and_null_means_absent() -> None:
    host = b'{"memory":3,"Binds":null,"Children":[{"MEMORY":4}]}'
    got = decode(b'{"IMAGE":"x","hostconfig":' + host + b',"Ports":{"80/tcp":null,"81":{}}}', Outer)
    assert got.image == "x"
    assert got.host_config == Inner(3, None, [Inner(4)])
    assert got.ports == {"80/tcp": Inner(), "81": Inner()}


def test_unknown_fields_are_ignored_and_unions_keep_both_forms() -> None:
    assert decode(b'{"Cmd":"echo hi","Nonsense":{"a":[1]}}', Outer).cmd == "echo hi"
    assert decode(b'{"Cmd":["echo","hi"]}', Outer).cmd == ["echo", "hi"]


@pytest.mark.parametrize("body", [b"{", b"[]", b"\xff\xfe", b'{"Image":1}', b"[" * 100_000, b'{"Image":"\\ud800"}x'])
def test_malformed_bodies_are_invalid(body: bytes) -> None:
    with pytest.raises(Invalid, match="invalid JSON"):
        decode(body, Outer)


@pytest.mark.parametrize("body", [b'{"\\u0000": 1}', b'{"A": ["x", {"B": "a\\u0000b"}]}', b'"\\u0000"'])
def test_a_string_that_the_kernel_would_cut_short_is_refused(body: bytes) -> None:
    with pytest.raises(Invalid, match="NUL"):
        decode(body, Outer)
    decode(b'{"Name": "a backslash before u: \\\\u0000"}', Outer)


def test_a_body_comes_in_pieces() -> None:
    assert run(request(b'{"Im', b'age":"x"}').json(Outer)).image == "x"


def test_a_body_that_is_not_json_by_its_type_is_refused() -> None:
    with pytest.raises(Invalid, match="must be 'application/json'"):
        run(request(b"{}", content_type="text/plain").json(Outer))


def test_a_missing_body_is_an_error_only_where_one_is_required() -> None:
    assert run(request().json(Outer, required=False)) == Outer()
    with pytest.raises(Invalid, match="EOF"):
        run(request().json(Outer))


def test_a_body_beyond_its_bound_is_refused() -> None:
    with pytest.raises(Invalid, match="too large"):
        run(request(*[bytes(1 << 20)] * 5).body())


def test_every_error_has_a_status() -> None:
    kinds = [kind for kind in TiffinError.__subclasses__() if kind.__module__ == "tiffin.errors"]
    assert all(kind in errors.STATUSES for kind in kinds)
    assert errors.status(PageNotFound()) == 404
    assert errors.status(RuntimeError()) == 500


@route("GET", "/things/json")
@route("GET", "/things/{name:.*}/json")
@route("GET", "/things/{name}/new", since="1.40")
async def thing(request: Request) -> Response:
    return response.empty()


def table() -> Router:
    router = Router()
    for one in thing.__dict__["routes"]:
        router.add(one)
    return router


def test_an_error_about_a_name_in_any_bytes_can_be_told() -> None:
    assert errors.body(Invalid(f"{os.fsdecode(bytes([255]))}: no such file")) == b'{"message":"?: no such file"}\n'


@pytest.mark.parametrize("height", ["65536", "9" * 5000, "-1", ""])
def test_a_terminal_has_fewer_than_65536_lines(height: str) -> None:
    asked = SimpleNamespace(query=Query({"h": [height], "w": ["80"]}))
    with pytest.raises(Invalid, match="invalid resize height"):
        size_of(cast(Request, asked))


def test_literal_paths_win_over_patterns() -> None:
    assert table().resolve("GET", "/things/json")[1] == {}
    assert table().resolve("GET", "/v1.30/things/a/b:c/json")[1:] == ({"name": "a/b:c"}, "/things/a/b:c/json", (1, 30))


def test_a_route_is_hidden_from_clients_older_than_it() -> None:
    assert table().resolve("GET", "/v1.40/things/a/new")[1] == {"name": "a"}
    with pytest.raises(PageNotFound):
        table().resolve("GET", "/v1.39/things/a/new")


def test_a_route_declared_twice_is_a_mistake() -> None:
    router = table()
    with pytest.raises(ValueError, match="twice"):
        router.add(thing.__dict__["routes"][-1])
