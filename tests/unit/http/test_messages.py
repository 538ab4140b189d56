"""The short way of a request gives what h11 gives, and h11 judges all that is doubtful."""

from __future__ import annotations

import h11
import pytest

from tiffin.http.messages import Messages

PING = b"GET /_ping HTTP/1.1\r\nHost: d\r\nUser-Agent: Docker-Client/28.2.2 (linux)\r\n\r\n"
CREATE = (
    b"POST /v1.51/containers/create?name=a%20b HTTP/1.1\r\nhost: d\r\nContent-Length: 2\r\n"
    b"Content-Type:application/json\r\nX-Empty:\r\nX-Spaces:   a  b  \r\n\r\n{}"
)
ATTACH = b"POST /containers/x/attach HTTP/1.1\r\nHost: d\r\nConnection: Upgrade\r\nUpgrade: tcp\r\n\r\n"
DOUBTFUL = {
    "no host": b"GET / HTTP/1.1\r\nUser-Agent: x\r\n\r\n",
    "two hosts": b"GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n",
    "two lengths": b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\ncontent-length: 2\r\n\r\n{}",
    "a signed length": b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: +2\r\n\r\n{}",
    "a list of lengths": b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 2, 2\r\n\r\n{}",
    "chunks": b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "chunks and a length": b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: x\r\nContent-Length: 2\r\n\r\n{}",
    "a body to be asked for": b"POST / HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 2\r\n\r\n{}",
    "the last request": b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n",
    "another version": b"GET / HTTP/1.0\r\nHost: a\r\n\r\n",
    "a whole URL": b"GET http://a/ HTTP/1.1\r\nHost: a\r\n\r\n",
    "a folded header": b"GET / HTTP/1.1\r\nHost: a\r\nX-Y: a\r\n b\r\n\r\n",
    "a space before the colon": b"GET / HTTP/1.1\r\nHost: a\r\nContent-Length : 2\r\n\r\n{}",
    "bare line feeds": b"GET / HTTP/1.1\nHost: a\n\n",
    "a carriage return in a value": b"GET / HTTP/1.1\r\nHost: a\r\nX-Y: a\rb\r\n\r\n",
    "letters beyond ASCII": b"GET / HTTP/1.1\r\nHost: a\r\nX-Y: \xe4\r\n\r\n",
    "a body that is still to come": CREATE[:-1],
    "headers that are still to come": PING[:-2],
    "a request behind it": PING + PING,
}


def events_of(messages: Messages | h11.Connection) -> list[h11.Event]:
    found = []
    while isinstance(event := messages.next_event(), h11.Event):
        found.append(event)
    return found


@pytest.mark.parametrize("request_", [PING, CREATE, ATTACH])
def test_a_request_that_comes_in_one_piece_is_read_as_h11_reads_it(request_: bytes) -> None:
    messages, other = Messages(1 << 16), h11.Connection(h11.SERVER)
    other.receive_data(request_)
    assert messages.take(request_)
    ours, theirs = events_of(messages), events_of(other)
    assert [type(one) for one in theirs[1:]] == [type(one) for one in ours[1:]]
    assert isinstance(ours[0], h11.Request) and isinstance(theirs[0], h11.Request)
    assert (ours[0].method, ours[0].target) == (theirs[0].method, theirs[0].target)
    assert list(ours[0].headers) == list(theirs[0].headers)
    bodies = [b"".join(one.data for one in events if isinstance(one, h11.Data)) for events in (ours, theirs)]
    assert bodies[0] == bodies[1]


@pytest.mark.parametrize("what", DOUBTFUL)
def test_what_is_doubtful_is_left_to_h11(what: str) -> None:
    assert not Messages(1 << 16).take(DOUBTFUL[what])


def test_headers_without_end_are_looked_at_once() -> None:
    assert not Messages(1 << 16).take(b"GET / HTTP/1.1\r\n" + b"X-Y: a b c d\r\n" * 4000 + b"X")


@pytest.mark.parametrize("method", [b"GET", b"HEAD"])
@pytest.mark.parametrize("status", [200, 204, 304, 404])
@pytest.mark.parametrize("length", [None, 4])
def test_an_answer_is_what_h11_makes_of_it(method: bytes, status: int, length: int | None) -> None:
    request_ = PING.replace(b"GET", method)
    short, long = Messages(1 << 16), Messages(1 << 16)
    assert short.take(request_)
    long.receive_data(request_)
    headers = [(b"Server", b"x"), *([(b"Content-Length", b"%d" % length)] if length is not None else [])]
    heard = []
    for messages in (short, long):
        events_of(messages)
        answer = messages.head(status, list(headers))
        if method != b"HEAD" and status not in (204, 304):
            answer += messages.data(b"ab") + messages.data(b"") + messages.data(b"cd")
        heard.append((answer + messages.end()).lower())
        assert messages.next_cycle()
    assert heard[0] == heard[1]


def test_what_came_behind_a_request_is_the_next_one() -> None:
    messages = Messages(1 << 16)
    assert messages.take(PING)
    assert len(events_of(messages)) == 2
    messages.receive_data(PING)
    assert messages.next_event() is h11.PAUSED
    assert messages.behind == PING
    messages.head(204, [])
    messages.end()
    assert messages.next_cycle()
    assert len(events_of(messages)) == 2


@pytest.mark.parametrize(("said", "sent"), [(3, b"ab"), (1, b"ab")])
def test_an_answer_of_another_length_than_was_said_is_refused(said: int, sent: bytes) -> None:
    messages = Messages(1 << 16)
    assert messages.take(PING)
    messages.head(200, [(b"Content-Length", b"%d" % said)])
    with pytest.raises(h11.LocalProtocolError):
        messages.data(sent)
        messages.end()
    assert not messages.next_cycle()


@pytest.mark.parametrize("value", [b"a\r\nX: y", b"a\nX: y", b"a\rb"])
def test_a_header_can_smuggle_no_other(value: bytes) -> None:
    messages = Messages(1 << 16)
    assert messages.take(PING)
    with pytest.raises(h11.LocalProtocolError):
        messages.head(200, [(b"Location", value)])
