"""THREADS PAUSE SECONDS: pings Redis on a connection each, and connects anew where it is over."""

import os
import socket
import sys
import threading
import time

threads, pause, seconds = int(sys.argv[1]), float(sys.argv[2]), float(sys.argv[3])
end = time.monotonic() + seconds


def ping():
    sock = None
    while time.monotonic() < end:
        sock = sock or socket.create_connection(("10.107.0.2", 6379))
        try:
            sock.sendall(b"PING\r\n")
            over = not sock.recv(100)
        except OSError:
            over = True
        if over:
            sock.close()
            sock = None
            continue
        time.sleep(pause)


all_threads = [threading.Thread(target=ping) for _ in range(threads)]
for one in all_threads:
    one.start()
for one in all_threads:
    one.join()
print("done", flush=True)
sys.stdin.read()
os._exit(0)
