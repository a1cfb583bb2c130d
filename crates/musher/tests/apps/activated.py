"""An HTTP server on the socket it was given (sd_listen_fds(3)), or on a port: activated.py [port [delay]]."""

import os
import signal
import socket
import sys
import threading
import time
import urllib.parse

if len(sys.argv) > 1:
    if len(sys.argv) > 2:
        time.sleep(float(sys.argv[2]))
    listener = socket.socket()
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listener.bind(("127.0.0.1", int(sys.argv[1])))
    listener.listen(100)
else:
    assert os.environ["LISTEN_PID"] == str(os.getpid()), "LISTEN_PID is not ours"
    assert int(os.environ["LISTEN_FDS"]) >= 1
    names = os.environ.get("LISTEN_FDNAMES", "")
    print(f"names {names}", flush=True)
    listener = socket.socket(fileno=3)


def serve(connection):
    with connection:
        request = b""
        while b"\r\n\r\n" not in request:
            part = connection.recv(4096)
            if not part:
                return
            request += part
        query = urllib.parse.urlparse(request.split(b" ")[1].decode()).query
        ident = urllib.parse.parse_qs(query).get("id", ["none"])[0]
        body = f"id={ident} pid={os.getpid()}\n".encode()
        head = f"HTTP/1.1 200 OK\r\nContent-Length: {len(body)}\r\nConnection: close\r\n\r\n".encode()
        connection.sendall(head + body)


stopping = threading.Event()
signal.signal(signal.SIGTERM, lambda *_: stopping.set())
# Taking turns with the other workers on one socket: accept may find that a sibling was faster.
listener.settimeout(0.05)
while not stopping.is_set():
    try:
        accepted, _ = listener.accept()
    except (TimeoutError, BlockingIOError):
        continue
    accepted.settimeout(None)
    # Not daemons: what was accepted is answered before the program ends.
    threading.Thread(target=serve, args=(accepted,)).start()
