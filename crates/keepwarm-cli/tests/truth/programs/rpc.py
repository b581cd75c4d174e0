"""gRPC: "serve", or "call" with a channel a call or one for all."""

import sys
import threading
from concurrent import futures

import grpc


class Handler(grpc.GenericRpcHandler):
    def service(self, details):
        return grpc.unary_unary_rpc_method_handler(lambda request, context: request)


def call(channel):
    return channel.unary_unary("/service/Echo")(b"x" * 100, timeout=5)


if sys.argv[1] == "serve":
    server = grpc.server(futures.ThreadPoolExecutor(max_workers=16), handlers=[Handler()])
    server.add_insecure_port("0.0.0.0:8080")
    server.start()
    server.wait_for_termination()
shared = grpc.insecure_channel("10.107.0.2:8080")


def calls():
    for _ in range(int(sys.argv[3])):
        if sys.argv[2] == "shared":
            call(shared)
        else:
            # A pool of subchannels is shared by channels that are alike, so each is made different.
            options = [("grpc.use_local_subchannel_pool", 1)]
            with grpc.insecure_channel("10.107.0.2:8080", options=options) as channel:
                call(channel)


threads = [threading.Thread(target=calls) for _ in range(4)]
for one in threads:
    one.start()
for one in threads:
    one.join()
print("done", flush=True)
sys.stdin.read()
