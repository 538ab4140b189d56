#!/usr/bin/env python3
"""Receives the terminals that an OCI runtime hands to its console socket, in place of runc's helper of that name.

recvtty [--mode single|null] [--pid-file FILE] [--no-stdin] SOCKET
"""

import argparse
import os
import socket
import termios
import threading


def receive(connection: socket.socket) -> int:
    _, descriptors, _, _ = socket.recv_fds(connection, 4096, 1)
    return descriptors[0]


def copy(source: int, target: int | None) -> None:
    while True:
        try:
            data = os.read(source, 32768)
        except OSError:  # EIO: nobody has the terminal open any more
            return
        if not data:
            return
        if target is not None:
            os.write(target, data)


def single(listener: socket.socket, stdin: bool) -> None:
    connection, _ = listener.accept()
    master = receive(connection)
    attributes = termios.tcgetattr(master)
    attributes[1] &= ~termios.ONLCR
    termios.tcsetattr(master, termios.TCSANOW, attributes)
    if stdin:
        threading.Thread(target=copy, args=(0, master), daemon=True).start()
    copy(master, 1)


def null(listener: socket.socket) -> None:
    while True:
        connection, _ = listener.accept()
        master = receive(connection)
        threading.Thread(target=copy, args=(master, None), daemon=True).start()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--mode", default="single", choices=["single", "null"])
    parser.add_argument("--pid-file")
    parser.add_argument("--no-stdin", action="store_true")
    parser.add_argument("socket")
    options = parser.parse_args()
    os.closerange(3, 256)  # bats waits until its own descriptors are closed everywhere
    if options.pid_file:
        with open(options.pid_file, "w") as file:
            file.write(f"{os.getpid()}\n")
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(options.socket)
    listener.listen()
    if options.mode == "single":
        single(listener, not options.no_stdin)
    else:
        null(listener)


if __name__ == "__main__":
    main()
