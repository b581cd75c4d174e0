"""An application for gunicorn (wsgi) and uvicorn (asgi)."""

import time

BODY = b"an answer\n"


def wsgi(environ, start_response):
    start_response("200 OK", [("Content-Length", str(len(BODY)))])
    return [BODY]


def slow(environ, start_response):
    time.sleep(2)
    return wsgi(environ, start_response)


async def asgi(scope, receive, send):
    if scope["type"] != "http":
        return
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"%d" % len(BODY))]})
    await send({"type": "http.response.body", "body": BODY})
