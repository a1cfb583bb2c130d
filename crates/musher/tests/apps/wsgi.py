"""What gunicorn serves."""

import os
import urllib.parse


def app(environ, start_response):
    ident = urllib.parse.parse_qs(environ["QUERY_STRING"]).get("id", ["none"])[0]
    body = f"id={ident} pid={os.getpid()}\n".encode()
    start_response("200 OK", [("Content-Type", "text/plain"), ("Content-Length", str(len(body)))])
    return [body]
