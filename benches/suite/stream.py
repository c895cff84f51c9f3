"""One plain TCP stream, the most that a link carries: `serve ADDRESS PORT` counts bytes until the other end
closes and answers once; `send ADDRESS PORT BYTES` prints the seconds until that answer.
"""

import socket
import sys
import time

STEP_BYTES = 1 << 20


def serve(address, port):
    with socket.create_server((address, port)) as door:
        connection, _ = door.accept()
        with connection:
            while connection.recv(STEP_BYTES):
                pass
            connection.sendall(b"!")


def send(address, port, count):
    deadline = time.monotonic() + 10
    while True:
        try:
            connection = socket.create_connection((address, port), timeout=60)
            break
        except ConnectionRefusedError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.02)
    zeros = bytes(STEP_BYTES)
    with connection:
        began = time.monotonic()
        while count > 0:
            connection.sendall(zeros[: min(count, STEP_BYTES)])
            count -= STEP_BYTES
        connection.shutdown(socket.SHUT_WR)
        connection.recv(1)
        print(time.monotonic() - began)


if __name__ == "__main__":
    what, address, port, *more = sys.argv[1:]
    {"serve": serve, "send": send}[what](address, int(port), *map(int, more))
