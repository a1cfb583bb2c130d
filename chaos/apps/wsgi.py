"""What gunicorn serves; each of its processes writes numbered lines, as answer.cjs does."""

import os
import threading
import time
import urllib.parse
import uuid

with open("version") as file:
    version = file.read().strip()
if version == "throw" or os.environ.get("BUILD") == "throw":
    raise RuntimeError("this build is broken on purpose")


def write_lines():
    token = uuid.uuid4()
    counter = os.open(os.path.join(os.environ["COUNTERS"], f"{token}.{os.getpid()}"), os.O_CREAT | os.O_WRONLY)
    number = 0
    while True:
        os.write(1, f"line {token} {number} {int(time.time() * 1000)}\n".encode())
        number += 1
        os.pwrite(counter, f"{number}\n".encode(), 0)
        time.sleep(0.05)


def begin():
    threading.Thread(target=write_lines, daemon=True).start()


def app(environ, start_response):
    query = urllib.parse.parse_qs(environ["QUERY_STRING"])
    ident = query.get("id", ["none"])[0]
    body = f"id={ident} pid={os.getpid()} version={version}\n".encode()
    if environ["PATH_INFO"] == "/stream":
        start_response("200 OK", [("Content-Type", "text/plain")])
        return stream(body, int(query["chunks"][0]), float(query["every"][0]) / 1000)
    start_response("200 OK", [("Content-Type", "text/plain"), ("Content-Length", str(len(body)))])
    return [body]


def stream(first, chunks, pause):
    yield first
    for left in range(chunks):
        time.sleep(pause)
        yield f"part {left}\n".encode()
    yield b"end\n"
