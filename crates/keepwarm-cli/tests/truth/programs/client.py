"""A client with one habit. Settings are NAME=VALUE arguments; see DEFAULTS. Prints what it did, then
"done", and keeps its connections until its standard input ends."""

import base64
import gc
import os
import random
import select
import socket
import ssl
import struct
import sys
import threading
import time

DEFAULTS = {
    "host": "10.107.0.2", "port": 8080, "tls": 0,
    "mode": "per-request",
    "n": 100, "c": 4,  # requests in all, threads
    "k": 0,  # requests a connection, then it is closed; 0: any
    "think": 0.0, "jitter": 0.0,  # seconds between two requests
    "post": 0,  # bytes of a request's body
    "deadline": 30.0,  # for an answer; then the connection is closed
    "linger": 0,  # 1: closes by a reset
    "wait_fin": 0,  # 1: closes after the server's FIN
    "pause": 0.0,  # before a close
    "read": -1,  # bytes of an answer that are read, -1: all, -2: none is waited for
    "shut": 0,  # 1: sends a FIN behind the request, and reads the answer
    "seconds": 30.0, "every": 0.1,
    "act": 2.0,  # when held connections are closed, or asked again
    "probes": 0.0,  # seconds of TCP keep-alive
    "bind": 0,  # 1: binds before it connects
    "age": 0.0,  # seconds after which a connection is not used again
    "seed": 1,
}
S = dict(DEFAULTS)
for argument in sys.argv[1:]:
    name, value = argument.split("=", 1)
    S[name] = type(DEFAULTS[name])(value)
DICE = random.Random(S["seed"])
COUNT = {"opened": 0, "failed": 0, "requests": 0, "answered": 0}
LOCK = threading.Lock()
KEPT = []
END = time.monotonic() + S["seconds"]


def count(name):
    with LOCK:
        COUNT[name] += 1


def context():
    made = ssl.create_default_context()
    made.check_hostname = False
    made.verify_mode = ssl.CERT_NONE
    return made


TLS = context() if S["tls"] else None


def connect(host=None, port=None):
    sock = socket.socket()
    sock.settimeout(S["deadline"])
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    if S["probes"]:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        for name in (socket.TCP_KEEPIDLE, socket.TCP_KEEPINTVL):
            sock.setsockopt(socket.IPPROTO_TCP, name, max(1, int(S["probes"])))
    try:
        if S["bind"]:
            sock.bind(("10.107.0.1", 0))
        sock.connect((host or S["host"], port or S["port"]))
        count("opened")
        return TLS.wrap_socket(sock, server_hostname="service") if TLS else sock
    except OSError:
        count("failed")
        sock.close()
        return None


def close(sock, linger=None):
    if S["wait_fin"]:
        try:
            while sock.recv(65536):
                pass
        except OSError:
            pass
    if S["pause"]:
        time.sleep(S["pause"])
    if S["linger"] if linger is None else linger:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    sock.close()


def ask(sock, path="/", fields=b""):
    """One request. True: answered, False: the connection is over, None: not within the deadline."""
    head = b"%s %s HTTP/1.1\r\nHost: service\r\n%s" % (b"POST" if S["post"] else b"GET", path.encode(), fields)
    if S["post"]:
        head += b"Content-Length: %d\r\n" % S["post"]
    try:
        count("requests")
        sock.sendall(head + b"\r\n" + b"x" * S["post"])
        if S["shut"]:
            sock.shutdown(socket.SHUT_WR)
        return answer(sock) if S["read"] > -2 else True
    except socket.timeout:
        return None
    except OSError:
        return False


def answer(sock):
    got = b""
    while b"\r\n\r\n" not in got:
        piece = sock.recv(65536)
        if not piece:
            return False
        got += piece
    head, _, body = got.partition(b"\r\n\r\n")
    length = 0
    for line in head.split(b"\r\n")[1:]:
        if line.lower().startswith(b"content-length:"):
            length = int(line.split(b":")[1])
    wanted = length if S["read"] < 0 else min(length, S["read"])
    left = wanted - len(body)
    while left > 0:
        piece = sock.recv(min(65536, left) if S["read"] >= 0 else 65536)
        if not piece:
            return False
        left -= len(piece)
    count("answered")
    return b"connection: close" not in head.lower() or "last"


def think():
    if S["think"] or S["jitter"]:
        time.sleep(max(0.0, S["think"] + DICE.uniform(-1, 1) * S["jitter"]))


def share():
    """Numbers of the requests of one thread, until the time is over."""
    for number in range(S["n"] // S["c"]):
        if time.monotonic() > END:
            return
        yield number


def per_request():
    for _ in share():
        sock = connect()
        if sock:
            ask(sock)
            close(sock)
        think()


def keep():
    """Keeps a connection, and makes another where it is over, or after k requests."""
    sock, asked, since = None, 0, 0.0
    for _ in share():
        if not sock:
            sock, since = connect(), time.monotonic()
        if not sock:
            think()
            continue
        said = ask(sock)
        asked += 1
        is_old = S["age"] and time.monotonic() > since + S["age"]
        if said is not True or asked == S["k"] or is_old:
            close(sock)
            sock, asked = None, 0
        think()
    if sock:
        KEPT.append(sock)


def checked():
    """Keeps a connection, and looks before a request whether the server has closed it."""
    sock = None
    while time.monotonic() < END:
        if sock and select.select([sock], [], [], 0)[0]:
            close(sock)
            sock = None
        sock = sock or connect()
        if sock and ask(sock) is not True:
            close(sock)
            sock = None
        think()
    if sock:
        KEPT.append(sock)


def until_end():
    """Requests on one connection until the time is over."""
    sock = connect()
    while sock and time.monotonic() < END:
        if ask(sock) is not True:
            break
        think()
    KEPT.append(sock)


def rest():
    time.sleep(max(0.0, END - time.monotonic()))


def held():
    """A connection that was asked k times, and idles until the time to act."""
    sock = connect()
    for _ in range(S["k"]):
        ask(sock)
    time.sleep(max(0.0, END - S["seconds"] + S["act"] - time.monotonic()))
    return sock


def hold():
    KEPT.append(held())
    rest()


def hold_and_close():
    close(held())
    rest()


def hold_and_ask():
    sock = held()
    ask(sock)
    KEPT.append(sock)
    rest()


def probe():
    for _ in share():
        sock = connect()
        if sock:
            close(sock)
        time.sleep(S["every"])


def slowloris():
    while time.monotonic() < END:
        sock = connect()
        if not sock:
            continue
        KEPT.append(sock)
        try:
            sock.sendall(b"GET / HTTP/1.1\r\nHost: service\r\n")
            while time.monotonic() < END:
                sock.sendall(b"X-a: b\r\n")
                time.sleep(S["every"])
            if select.select([sock], [], [], 0)[0]:
                sock.close()
        except OSError:
            sock.close()


def scan():
    """Connects to ports at which nothing listens, and to the service."""
    for port in [S["port"], *range(20000, 20000 + S["n"])]:
        sock = connect(port=port)
        if sock:
            close(sock)


def stream():
    """Subscribes and reads events, again where the stream ends or is old enough."""
    while time.monotonic() < END:
        sock = subscribe()
        read_events(sock, min(END, time.monotonic() + (S["age"] or S["seconds"])))
        if time.monotonic() < END:
            close(sock)
    KEPT.append(sock)


def subscribe():
    sock = connect()
    if S["mode"] == "ws":
        key = base64.b64encode(os.urandom(16))
        fields = b"Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: " + key + b"\r\n"
    else:
        fields = b"Accept: text/event-stream\r\n"
    count("requests")
    sock.sendall(b"GET /events HTTP/1.1\r\nHost: service\r\n" + fields + b"\r\n")
    return sock


def read_events(sock, until):
    sock.settimeout(0.2)
    while time.monotonic() < until:
        try:
            if not sock.recv(65536):
                break
        except socket.timeout:
            pass


def leak():
    """Answers are read, and connections forgotten: the server's FIN is never answered."""
    for _ in share():
        sock = connect()
        ask(sock)
        KEPT.append(sock)
        think()


def half():
    """Answers the server's FIN after a while: CLOSE_WAITs that turn over."""
    waiting = []
    while time.monotonic() < END:
        sock = connect()
        ask(sock)
        waiting.append((time.monotonic() + S["pause"], sock))
        while waiting and waiting[0][0] < time.monotonic():
            waiting.pop(0)[1].close()
        think()
    for _, sock in waiting:
        sock.close()


def sessions():
    """A requests.Session a request, which nothing closes until it is collected."""
    import requests
    scheme = "https" if S["tls"] else "http"
    dropped = []
    for number in share():
        session = requests.Session()
        session.verify = False
        session.get(f"{scheme}://{S['host']}:{S['port']}/").content
        count("requests")
        dropped.append(session)
        if len(dropped) > 40:
            dropped.pop(0).close()
        think()
    KEPT.append(dropped)


def requests_get():
    import requests
    import urllib3
    urllib3.disable_warnings()
    scheme = "https" if S["tls"] else "http"
    for _ in share():
        count("requests")
        try:
            requests.get(f"{scheme}://{S['host']}:{S['port']}/", verify=False, timeout=S["deadline"]).content
            count("answered")
        except requests.RequestException:
            pass
        think()


def many():
    """One connection to each of many addresses, in turn."""
    for number in share():
        sock = connect(host=f"10.108.{number // 250}.{number % 250 + 1}")
        if sock:
            ask(sock)
            close(sock)


MODES = {"per-request": per_request, "keep": keep, "checked": checked, "until-end": until_end, "hold": hold,
         "hold-close": hold_and_close, "hold-ask": hold_and_ask, "probe": probe, "slowloris": slowloris,
         "scan": scan, "sse": stream, "ws": stream, "leak": leak, "half": half, "sessions": sessions,
         "requests": requests_get, "many": many}
gc.disable()
if S["mode"] in ("sessions", "requests"):
    import warnings
    warnings.simplefilter("ignore")
threads = [threading.Thread(target=MODES[S["mode"]], daemon=True) for _ in range(S["c"])]
for one in threads:
    one.start()
for one in threads:
    one.join()
print(" ".join(f"{name}={number}" for name, number in COUNT.items()))
print("done", flush=True)
sys.stdin.read()
os._exit(0)
