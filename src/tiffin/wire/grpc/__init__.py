"""gRPC over HTTP/2 on a socket that is already connected, in either role.

BuildKit's clients serve gRPC on one hijacked connection (`POST /session`) and call it on another (`POST /grpc`); the
daemon is the opposite end of both, and `tiffin build` is such a client. Messages are bytes here; what they mean is in
`wire/buildkit`.

* `framing` and `status` are pure: length-prefixed messages, timeouts, percent-encoding; codes, errors, their trailers
* `connection` is HTTP/2 on asyncio, `stream` one call on it

Source: gRPC over HTTP2 (grpc/grpc doc/PROTOCOL-HTTP2.md), RFC 9113.
"""
