"""What gunicorn serves in the bench: the same answer as hello.cjs."""

import os


def app(environ, start_response):
    ident = environ["QUERY_STRING"].partition("id=")[2] or "0"
    body = f"id={ident} pid={os.getpid()}\n".encode()
    start_response("200 OK", [("Content-Type", "text/plain"), ("Content-Length", str(len(body)))])
    return [body]
