"""Stands for a process of the server: hands it all that a process is given, and ends as it ends."""

import json
import os
import socket
import sys

SIZE_BYTES = 8


def open_descriptors():
    listed = [int(name) for name in os.listdir("/dev/fd")]
    return [number for number in listed if is_open(number)]


def is_open(number):
    try:
        os.fstat(number)
    except OSError:  # that of the listing itself
        return False
    return True


def main(address, *arguments):
    descriptors = open_descriptors()
    asked = {
        "arguments": arguments,
        "environment": dict(os.environ),
        "folder": os.getcwd(),
        "descriptors": descriptors,
    }
    message = json.dumps(asked).encode()
    with socket.socket(socket.AF_UNIX) as server:
        server.connect(address)
        socket.send_fds(server, [len(message).to_bytes(SIZE_BYTES, "big")], descriptors)
        server.sendall(message)
        answer = server.recv(64)
    if not answer:
        sys.exit(f"The server at {address} has ended.")
    code = int(answer)
    if code < 0:
        os.kill(os.getpid(), -code)
    sys.exit(code)


if __name__ == "__main__":
    main(*sys.argv[1:])
