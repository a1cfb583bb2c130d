"""Clients that make it hard for a server that drains: python3 slow_clients.py PORT TIMES MANNER...

Each begins its request, says on standard output that it is held, and ends it when a line comes on standard input. At the
end each request is told by its manner, its port and its fate: "ok", "closed" (between two requests), or what was wrong.
"""

import json
import socket
import sys

PATIENCE = 60
BODY = bytes(range(256)) * 256
HALF = len(BODY) // 2
BIG = 8_000_000


class Connection:
    def __init__(self, port, receive=None):
        self.socket = socket.socket()
        if receive:
            self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive)
        self.socket.settimeout(PATIENCE)
        self.socket.connect(("127.0.0.1", port))
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.port = self.socket.getsockname()[1]
        self.bytes = b""

    def send(self, *parts):
        self.socket.sendall(b"".join(part if isinstance(part, bytes) else part.encode() for part in parts))

    def more(self, size=65536):
        data = self.socket.recv(size)
        if not data:
            raise ConnectionError(f"ended; {len(self.bytes)} bytes of an answer: {self.bytes[:60]!r}")
        self.bytes += data

    def head(self):
        """The next head: its status and fields."""
        while b"\r\n\r\n" not in self.bytes:
            self.more()
        head, self.bytes = self.bytes.split(b"\r\n\r\n", 1)
        lines = head.decode().split("\r\n")
        fields = dict(line.lower().split(": ", 1) for line in lines[1:])
        return int(lines[0].split()[1]), fields

    def take(self, count):
        parts, length = [self.bytes], len(self.bytes)
        while length < count:
            data = self.socket.recv(65536)
            if not data:
                raise ConnectionError(f"ended after {length} of {count} bytes")
            parts.append(data)
            length += len(data)
        whole = b"".join(parts)
        self.bytes = whole[count:]
        return whole[:count]

    def line(self):
        while b"\r\n" not in self.bytes:
            self.more()
        line, self.bytes = self.bytes.split(b"\r\n", 1)
        return line

    def body(self, fields):
        if "content-length" in fields:
            return self.take(int(fields["content-length"]))
        if fields.get("transfer-encoding") != "chunked":
            while data := self.socket.recv(65536):
                self.bytes += data
            return self.bytes
        whole = b""
        while size := int(self.line(), 16):
            whole += self.take(size)
            self.line()
        self.line()
        return whole

    def answer(self):
        status, fields = self.head()
        if status != 200:
            raise ValueError(f"status {status}")
        return self.body(fields)


def get(path):
    return f"GET {path} HTTP/1.1\r\nHost: x\r\n\r\n"


def text(answer):
    if b"pid=" not in answer:
        raise ValueError(f"wrong answer {answer[:80]!r}")


def uploaded(answer):
    if b"bytes=%d sum=%d\n" % (len(BODY), sum(BODY)) not in answer:
        raise ValueError(f"wrong answer {answer[:80]!r}")


def chunk(data):
    return b"%x\r\n%s\r\n" % (len(data), data)


# Each is a generator: up to the `yield` the request is begun.


def upload(connection):
    connection.send(f"POST /upload HTTP/1.1\r\nHost: x\r\nContent-Length: {len(BODY)}\r\n\r\n", BODY[:HALF])
    yield
    for at in range(HALF, len(BODY), HALF // 8):
        connection.send(BODY[at : at + HALF // 8])
    uploaded(connection.answer())


def expect(connection):
    connection.send(
        "POST /upload HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\nExpect: 100-continue\r\n\r\n"
    )
    status, _ = connection.head()
    if status != 100:
        raise ValueError(f"status {status}")
    connection.send(chunk(BODY[:HALF]))
    yield
    connection.send(chunk(BODY[HALF:]))
    connection.send(b"0\r\n\r\n")
    uploaded(connection.answer())


def half_closed(connection):
    connection.send(get("/stream?chunks=15&every=100"))
    connection.socket.shutdown(socket.SHUT_WR)
    yield
    answer = connection.answer()
    text(answer)
    if not answer.endswith(b"end\n"):
        raise ValueError("half an answer")


def half_closed_upload(connection):
    connection.send(f"POST /upload HTTP/1.0\r\nHost: x\r\nContent-Length: {len(BODY)}\r\n\r\n", BODY[:HALF])
    yield
    connection.send(BODY[HALF:])
    connection.socket.shutdown(socket.SHUT_WR)
    uploaded(connection.answer())


def slow_reader(connection):
    connection.send(get(f"/big?bytes={BIG}"))
    connection.more(100)
    yield
    answer = connection.answer()
    if len(answer) != BIG or answer.strip(b"x"):
        raise ValueError(f"{len(answer)} bytes instead of {BIG}")


def pipelined(connection):
    """Two more in the packet of a long one."""
    connection.send(get("/stream?chunks=15&every=100"), get("/?id=second"), get("/?id=third"))
    yield
    text(connection.answer())
    text(connection.answer())
    text(connection.answer())


def pipelined_behind(connection):
    """Two more in the packet of the last byte of a body."""
    connection.send(f"POST /upload HTTP/1.1\r\nHost: x\r\nContent-Length: {len(BODY)}\r\n\r\n", BODY[:-1])
    yield
    connection.send(BODY[-1:], get("/?id=second"), get("/?id=third"))
    uploaded(connection.answer())
    text(connection.answer())
    text(connection.answer())


def half_a_head(connection):
    connection.send("GET /?id=1 HTTP/1.1\r\nHo")
    yield
    connection.send("st: x\r\n\r\n")
    text(connection.answer())


def idle(connection, *requests):
    """Kept, with another request later; the server may close it before, but not after."""
    connection.send(get("/?id=first"))
    text(connection.answer())
    yield
    connection.socket.setblocking(False)
    try:
        if not connection.socket.recv(1, socket.MSG_PEEK):
            return "closed"
    except BlockingIOError:
        pass
    connection.socket.settimeout(PATIENCE)
    connection.send(*(requests or [get("/?id=later")]))
    for _ in requests or [1]:
        text(connection.answer())


def idle_pipelined(connection):
    return (yield from idle(connection, get("/?id=one"), get("/wait?ms=100"), get("/?id=three")))


def silent(connection):
    """Says nothing at first, as a browser that connects in advance."""
    yield
    connection.send(get("/?id=later"))
    text(connection.answer())


def main():
    port, times = int(sys.argv[1]), int(sys.argv[2])
    requests = []
    for name in sys.argv[3:]:
        for _ in range(times):
            connection = Connection(port, 4096 if name == "slow_reader" else None)
            steps = globals()[name](connection)
            next(steps)
            requests.append((name, connection, steps))
    print("held", flush=True)
    sys.stdin.readline()
    fates = []
    # The fast ones first: the last one's server may be about to close it.
    for name, connection, steps in reversed(requests):
        fate = "ok"
        try:
            next(steps)
        except StopIteration as end:
            fate = end.value or "ok"
        except (OSError, ValueError, IndexError) as error:
            fate = f"{type(error).__name__}: {error}"
        fates.append({"manner": name, "port": connection.port, "fate": fate})
    print(json.dumps(fates))


main()
