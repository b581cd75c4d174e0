"""A service with one habit. Settings are NAME=VALUE arguments; see DEFAULTS."""

import asyncio
import base64
import gc
import hashlib
import random
import socket
import ssl
import struct
import sys
import time

DEFAULTS = {
    "port": 8080, "tls": 0, "backlog": 512,
    "idle": 0.0,  # keep-alive timeout in seconds, 0: none
    "max": 0,  # requests a connection, 0: any
    "delay": 0.0, "jitter": 0.0,  # before an answer: seconds, more or less
    "size": 100,  # bytes of an answer
    "close": 0,  # 1: says Connection: close, and closes
    "after": 0.0,  # with close: seconds between the answer and the close
    "linger": 0,  # 1: closes by a reset
    "mode": "http",  # noaccept, noread, noanswer, hangup, sse, ws, drip
    "every": 0.2,  # seconds between events of a stream
    "life": 0.0,  # seconds until the service ends a stream, 0: never
    "slow_accept": 0.0,  # seconds between two accepted connections
}
S = dict(DEFAULTS)
for argument in sys.argv[1:]:
    name, value = argument.split("=", 1)
    S[name] = type(DEFAULTS[name])(value)


def tls():
    if not S["tls"]:
        return None
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain("cert.pem", "key.pem")
    return context


def abort(writer):
    sock = writer.get_extra_info("socket")
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    writer.transport.abort()


async def head_of(reader):
    head = b""
    while b"\r\n\r\n" not in head:
        piece = await reader.read(65536)
        if not piece:
            return None
        head += piece
    head, _, body = head.partition(b"\r\n\r\n")
    length = 0
    for line in head.split(b"\r\n")[1:]:
        key, _, value = line.partition(b":")
        if key.strip().lower() == b"content-length":
            length = int(value)
    while len(body) < length:
        piece = await reader.read(65536)
        if not piece:
            return None
        body += piece
    return head


async def stream(reader, writer):
    head = await head_of(reader)
    if head is None:
        return
    if S["mode"] == "ws":
        key = next(line for line in head.split(b"\r\n") if line.lower().startswith(b"sec-websocket-key"))
        key = key.partition(b":")[2].strip() + b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
        accept = base64.b64encode(hashlib.sha1(key).digest())
        writer.write(b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
                     b"Sec-WebSocket-Accept: " + accept + b"\r\n\r\n")
        event = b"\x81\x05hello"
    else:
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nCache-Control: no-cache\r\n\r\n")
        event = b"data: hello\n\n"
    end = time.monotonic() + (S["life"] or 1e9)
    while not reader.at_eof() and time.monotonic() < end:
        writer.write(event)
        await writer.drain()
        await asyncio.sleep(S["every"])


async def drip(reader, writer):
    """A body that comes slowly."""
    if await head_of(reader) is None:
        return
    writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % S["size"])
    for _ in range(S["size"]):
        writer.write(b".")
        await writer.drain()
        await asyncio.sleep(S["every"])


async def http(reader, writer):
    served = 0
    while True:
        wait = asyncio.wait_for(head_of(reader), S["idle"] or None)
        try:
            head = await wait
        except asyncio.TimeoutError:
            return
        if head is None:
            return
        served += 1
        if S["delay"]:
            await asyncio.sleep(max(0.0, S["delay"] + random.uniform(-1, 1) * S["jitter"]))
        last = S["close"] or served == S["max"]
        fields = b"Connection: close\r\n" if last else b""
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n%s\r\n" % (S["size"], fields) + b"." * S["size"])
        await writer.drain()
        if last:
            if S["after"]:
                await asyncio.sleep(S["after"])
            return


async def serve(reader, writer):
    sock = writer.get_extra_info("socket")
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    modes = {"http": http, "sse": stream, "ws": stream, "drip": drip, "hangup": lambda reader, _: head_of(reader)}
    mode = modes.get(S["mode"])
    try:
        if mode is None:  # noanswer: reads, and says nothing
            while await reader.read(65536):
                pass
        else:
            await mode(reader, writer)
    except (ConnectionError, ssl.SSLError, asyncio.IncompleteReadError):
        pass
    finally:
        if S["linger"]:
            abort(writer)
        else:
            writer.close()


def listen():
    sock = socket.socket()
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    sock.bind(("0.0.0.0", S["port"]))
    sock.listen(S["backlog"])
    return sock


def without_reading():
    sock, kept = listen(), []
    if S["mode"] == "noaccept":
        time.sleep(600)
    while True:
        kept.append(sock.accept())
        time.sleep(S["slow_accept"])


async def main():
    gc.disable()
    random.seed(1)
    server = await asyncio.start_server(serve, sock=listen(), ssl=tls(), backlog=S["backlog"])
    async with server:
        await server.serve_forever()


if S["mode"] in ("noaccept", "noread"):
    without_reading()
else:
    asyncio.run(main())
