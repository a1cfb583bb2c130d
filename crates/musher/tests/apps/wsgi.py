"""What gunicorn serves."""

import os
import time
import urllib.parse


def app(environ, start_response):
    query = urllib.parse.parse_qs(environ["QUERY_STRING"])
    body = f"id={query.get('id', ['none'])[0]} pid={os.getpid()}\n".encode()
    if environ["PATH_INFO"] == "/stream":
        start_response("200 OK", [("Content-Type", "text/plain")])
        return stream(body, int(query["chunks"][0]), int(query["every"][0]) / 1000)
    if environ["PATH_INFO"] == "/big":
        body = b"x" * int(query["bytes"][0])
    if environ["PATH_INFO"] == "/upload":
        upload = environ["wsgi.input"].read()
        body = f"bytes={len(upload)} sum={sum(upload)}\n".encode()
    start_response("200 OK", [("Content-Type", "text/plain"), ("Content-Length", str(len(body)))])
    return [body]


def stream(first, chunks, pause):
    yield first
    for left in range(chunks):
        time.sleep(pause)
        yield f"part {left}\n".encode()
    yield b"end\n"
