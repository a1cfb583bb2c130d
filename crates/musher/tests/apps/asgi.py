"""What uvicorn serves."""

import os
import urllib.parse


async def app(scope, receive, send):
    if scope["type"] != "http":
        return
    ident = urllib.parse.parse_qs(scope["query_string"].decode()).get("id", ["none"])[0]
    body = f"id={ident} pid={os.getpid()}\n".encode()
    headers = [(b"content-type", b"text/plain"), (b"content-length", str(len(body)).encode())]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": body})
