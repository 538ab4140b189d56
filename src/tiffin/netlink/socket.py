"""A netlink socket: requests go out together in one datagram, the answers are matched by sequence number."""

import errno
import os
import socket
import struct
from collections.abc import Sequence
from types import TracebackType

from tiffin.netlink import message
from tiffin.netlink.message import Message

NETLINK_ROUTE = 0
NETLINK_NETFILTER = 12

_SOL_NETLINK = 270
_NETLINK_CAP_ACK = 10
_NETLINK_EXT_ACK = 11
_NETLINK_GET_STRICT_CHK = 12
_SO_SNDBUFFORCE = 32
_SO_RCVBUFFORCE = 33

_NLMSG_ERROR = 2
_NLMSG_DONE = 3
_NLMSGERR_ATTR_MSG = 1

_BUFFER = 1 << 16
_LARGE = 8 << 20
_SECONDS = 10.0
_ERROR = struct.Struct("=i")

Answers = list[list[bytes]]


class Socket:
    """One conversation with the kernel; not to be shared between threads.

    With `fd` it speaks over a socket that somebody opened in another network namespace: netlink acts on the namespace
    in which the socket was made, so nobody has to enter it. The caller keeps the ownership of `fd`.
    """

    def __init__(self, protocol: int = NETLINK_ROUTE, *, fd: int | None = None) -> None:
        if fd is None:
            self._socket = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, protocol)
        else:
            self._socket = socket.socket(fileno=os.dup(fd))
        self._socket.settimeout(_SECONDS)
        for option in (_NETLINK_CAP_ACK, _NETLINK_EXT_ACK, _NETLINK_GET_STRICT_CHK):
            try:
                self._socket.setsockopt(_SOL_NETLINK, option, 1)
            except OSError:  # a kernel before 4.12 or 4.20: only the explanations are missing then
                pass
        self._sequence = 0

    def __enter__(self) -> "Socket":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, where: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close our end; a socket given by fd stays open for its owner."""
        self._socket.close()

    def request(self, *requests: Message, subject: str = "") -> Answers:
        """Carry out the requests in their order and return each one's answers (payloads).

        One send, one acknowledgement each. Later requests are carried out even when an earlier one fails.
        Raises OSError of the first that fails, with the kernel's explanation and `subject` as the file name.
        """
        first = self._sequence + 1
        self._send([one._replace(flags=one.flags | message.NLM_F_ACK) for one in requests])
        answers: Answers = [[] for _ in requests]
        failures: dict[int, OSError] = {}
        waiting = set(range(len(requests)))
        while waiting:
            for kind, flags, sequence, payload in self._receive():
                place = sequence - first
                if place not in waiting:
                    continue
                if kind == _NLMSG_ERROR:
                    if (failure := _failure(flags, payload, subject)) is not None:
                        failures[place] = failure
                    waiting.discard(place)
                elif kind != _NLMSG_DONE:
                    answers[place].append(payload)
        if failures:
            raise failures[min(failures)]
        return answers

    def dump(self, request: Message, *, subject: str = "") -> list[bytes]:
        """Every object of a kind: the payloads of a NLM_F_DUMP."""
        while True:
            try:
                return self._dump(request, subject)
            except OSError as error:
                if error.errno != errno.EINTR:  # the list changed while it was read
                    raise

    def _dump(self, request: Message, subject: str) -> list[bytes]:
        self._send([request._replace(flags=request.flags | message.NLM_F_DUMP)])
        found: list[bytes] = []
        interrupted = False
        while True:
            for kind, flags, sequence, payload in self._receive():
                if sequence != self._sequence:
                    continue
                interrupted = interrupted or bool(flags & 0x10)  # NLM_F_DUMP_INTR
                if kind in (_NLMSG_DONE, _NLMSG_ERROR):
                    if len(payload) >= 4 and (failure := _failure(flags, payload, subject)) is not None:
                        raise failure
                    if interrupted:
                        raise OSError(errno.EINTR, "the list changed while it was read", subject)
                    return found
                found.append(payload)

    def batch(self, requests: Sequence[Message], *, subject: str = "") -> None:
        """Send a transaction (nftables): the first and last are its brackets, only the last inside is acknowledged.

        Refusals come without being asked for. Raises the OSError of the first; the kernel has then changed nothing.
        """
        first = self._sequence + 1
        last = len(requests) - 2
        marked = list(requests)
        marked[last] = marked[last]._replace(flags=marked[last].flags | message.NLM_F_ACK)
        self._send(marked)
        failure: OSError | None = None
        while True:
            for kind, flags, sequence, payload in self._receive():
                place = sequence - first
                if kind != _NLMSG_ERROR or not 0 <= place < len(requests):
                    continue
                failure = failure or _failure(flags, payload, subject)
                if place in (0, last, last + 1):
                    if failure is not None:
                        raise failure
                    return

    def _send(self, requests: Sequence[Message]) -> None:
        data = bytearray()
        for one in requests:
            self._sequence += 1
            data += one.encode(self._sequence)
        if len(data) > _BUFFER:
            # the whole transaction is one datagram, so the buffer must hold it
            self._socket.setsockopt(socket.SOL_SOCKET, _SO_SNDBUFFORCE, max(_LARGE, 2 * len(data)))
            self._socket.setsockopt(socket.SOL_SOCKET, _SO_RCVBUFFORCE, _LARGE)
        # addressed: a socket that was handed to us may be bound or connected to nothing
        self._socket.sendto(data, (0, 0))

    def _receive(self) -> list[tuple[int, int, int, bytes]]:
        try:
            data, address = self._socket.recvfrom(_BUFFER)
        except TimeoutError as error:
            raise OSError(errno.ETIMEDOUT, f"the kernel does not answer on netlink for {_SECONDS:.0f} s") from error
        if address[0] != 0:  # any process may write to our port; only the kernel's is 0
            return []
        return list(message.messages(data))


def _failure(flags: int, payload: bytes, subject: str) -> OSError | None:
    (code,) = _ERROR.unpack_from(payload)
    if code == 0:
        return None
    reason = os.strerror(-code)
    if flags & message.NLM_F_ACK_TLVS:
        # after the code comes the request's header, alone if NLM_F_CAPPED, else the whole request
        length = message.HEADER.size if flags & message.NLM_F_CAPPED else _length(payload)
        explained = message.attributes(payload, 4 + length).get(_NLMSGERR_ATTR_MSG)
        if explained:
            reason = f"{reason}: {message.string(explained)}"
    return OSError(-code, reason, subject) if subject else OSError(-code, reason)


def _length(payload: bytes) -> int:
    length = int(message.HEADER.unpack_from(payload, 4)[0])
    return length + (-length & 3)
