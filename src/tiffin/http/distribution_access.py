"""Who may send a request to the registry: passwords, tokens, rights; and the endpoint that gives the tokens."""

from __future__ import annotations

import asyncio
import base64
import re
import time
from typing import TYPE_CHECKING

from tiffin.http import response
from tiffin.http.request import Query, Request
from tiffin.http.response import Response
from tiffin.registry.server.refusals import Refusal, unsupported
from tiffin.registry.server.rights import DELETE, PULL, PUSH, Grant
from tiffin.registry.server.targets import Kind, Target
from tiffin.registry.server.tokens import SECONDS, SERVICE

if TYPE_CHECKING:
    from tiffin.http.distribution import Served

TOKEN = "/token"
_ACTIONS = {"GET": PULL, "HEAD": PULL, "DELETE": DELETE}
_HOST = re.compile(r"[A-Za-z0-9.\-]+(:\d{1,5})?|\[[0-9a-fA-F:.]+\](:\d{1,5})?", re.ASCII)
_FORM = 64 << 10


async def admitted(served: Served, request: Request) -> Grant | None:
    """Whose request it is; None where the registry knows no users. Refusal 401 for wrong or missing credentials."""
    if served.users is None:
        return None
    given = request.headers.get("authorization", "")
    if served.tokens is not None and given[:7].lower() == "bearer ":
        grant = served.tokens.read(given[7:].strip())
        if grant is not None and (not grant.user or served.users.known(grant.user)):
            return grant
    elif user := await _user(served, given):
        return Grant(user, served.rights)
    raise _unauthorized(served, request, "authentication required")


async def _user(served: Served, given: str) -> str:
    assert served.users is not None
    if user := served.users.remembered(given):
        return user
    if not given:
        return ""
    return await asyncio.get_running_loop().run_in_executor(served.users.threads, served.users.admitted, given)


def check(served: Served, request: Request, wanted: Target, grant: Grant | None) -> None:
    """Refusal where whose request it is may not do that. A mount from where one may not read is a plain upload."""
    if grant is None or not wanted.name:
        return
    action = action_of(request.method, wanted)
    if not grant.may(action, wanted.name):
        if served.tokens is None:
            raise Refusal("DENIED", 403, f"requested access to the resource is denied: {grant.user} may not {action}")
        raise _unauthorized(served, request, "the token is not for this", wanted)
    source = request.query.text("from")
    if source and not grant.may(PULL, source):
        request.query.pop("from")


def action_of(method: str, wanted: Target) -> str:
    """pull, push or delete."""
    if wanted.kind is Kind.UPLOAD:
        return PUSH  # its status, its end too
    return _ACTIONS.get(method, PUSH)


def _unauthorized(served: Served, request: Request, text: str, wanted: Target | None = None) -> Refusal:
    challenge = 'Basic realm="tiffin registry", charset="UTF-8"'
    if served.tokens is not None:
        challenge = f'Bearer realm="{_realm(served, request)}",service="{SERVICE}"'
        if wanted is not None:
            action = action_of(request.method, wanted)
            asked = f"{PULL},{action}" if action == PUSH else action
            challenge += f',scope="repository:{wanted.name}:{asked}",error="insufficient_scope"'
    return Refusal("UNAUTHORIZED", 401, text, headers={"WWW-Authenticate": challenge})


def _realm(served: Served, request: Request) -> str:
    """As configured, else where the client says it has reached us: it is its own password that it sends there."""
    if served.realm:
        return served.realm
    host = request.headers.get("host", "")
    if not _HOST.fullmatch(host):
        raise Refusal("UNAUTHORIZED", 400, "the request's Host names no place where tokens could be had")
    return f"{'https' if served.secure else 'http'}://{host}{TOKEN}"


async def token(served: Served, request: Request) -> Response:
    """GET with a password as Basic, POST with it in a form (OAuth 2, `grant_type=password`): a token.

    Without a password it is one for anyone. A scope that is not allowed is left out of the token, not refused.
    """
    assert served.tokens is not None and served.users is not None
    query, given = request.query, request.headers.get("authorization", "")
    if request.method == "POST":
        query = Query.of((await request.body(_FORM)).decode("utf-8", "replace"))
        if query.text("grant_type") != "password":
            return response.json({"error": "unsupported_grant_type"}, status=400)
        pair = f"{query.text('username')}:{query.text('password')}"
        given = f"Basic {base64.b64encode(pair.encode()).decode()}"
    elif request.method != "GET":
        raise unsupported(f"{request.method} here", "GET, POST")
    user = await _user(served, given)
    if given and not user:
        raise Refusal("UNAUTHORIZED", 401, "wrong name or password", headers={"WWW-Authenticate": "Basic"})
    made = await asyncio.to_thread(served.tokens.given, user, query.texts("scope"))
    issued = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
    body = {"token": made, "access_token": made, "expires_in": SECONDS, "issued_at": issued}
    if request.method == "POST":
        body |= {"token_type": "Bearer", "scope": " ".join(query.texts("scope"))}
    return response.json(body, headers={"Cache-Control": "no-store"})
