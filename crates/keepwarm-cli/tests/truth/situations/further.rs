//! Other programs, sizes, sides and timings for the mechanisms of the other files: what a rule that
//! fits those alone would miss.

use crate::situation::{
    BASE, Event, Expect, Requests, Side, Situation, View, client, far, lossy, near, server,
};

const SERVE: &str = "exec $PY $P/server.py";
/// One of them says close; the packets do not say which.
const CHURN: &[&str] = &["D1", "D6"];
const HEALTHY: &[&str] = &["healthy", "D12"];
const GIVEN_UP: &[&str] = &["D13"];
const NOT_SHARED: &[&str] = &["healthy", "D1", "D6", "D7", "D11"];
const WINDOW: &[View] = &[View::L1, View::L2];
const LOWEST: &[View] = &[View::L0];
const ONCE: &[View] = &[View::Once];
const NGINX_PROXY: &str = "sed -e 's/@UPSTREAM@/keepalive 64;/' \
     -e 's/@LOCATION@/proxy_http_version 1.1; proxy_set_header Connection \"\";/' $P/proxy.conf > proxy.conf && \
     exec nginx -p . -c proxy.conf";
const HAPROXY: &str = "sed -e s/@REUSE@/always/ -e s/@CHECK@// $P/haproxy.cfg > haproxy.cfg && \
     exec haproxy -f haproxy.cfg";

const fn both(codes: &'static [&'static str]) -> [Expect; 2] {
    [client(codes), server(codes)]
}

const fn both_or_unsure(codes: &'static [&'static str]) -> [Expect; 2] {
    [client(codes).or_unsure(), server(codes).or_unsure()]
}

pub(super) const ALL: &[Situation] = &[
    // 1 and 2: bodies, proxies, and what a connection carried.
    Situation {
        name: "post-300k-each-tls",
        mechanism: 1,
        needs: &["go"],
        serve: "exec $PY $P/server.py tls=1",
        play: "exec $PEER -url https://10.107.0.2:8080/ -mode per-request -n 48 -c 4 -post 300000",
        expect: &both(CHURN),
        never: &["healthy", "D5"],
        requests: Requests::Bound,
        ..BASE
    },
    Situation {
        name: "post-30k-ab",
        mechanism: 1,
        needs: &["ab"],
        serve: "exec $PY $P/server.py close=1",
        play: "head -c 30000 /dev/zero > body; \
               ab -q -n 96 -c 4 -p body -T text/plain http://10.107.0.2:8080/ > /dev/null; echo requests=96",
        expect: &both(CHURN),
        never: &["healthy", "D5"],
        requests: Requests::Bound,
        ..BASE
    },
    Situation {
        name: "proxy-idles-longer-nginx",
        mechanism: 1,
        needs: &["nginx"],
        proxy: Some((NGINX_PROXY, 9000)),
        serve: "exec $PY $P/server.py idle=1.0",
        play: "exec $PY $P/client.py host=127.0.0.1 port=9000 mode=keep n=400 c=40 think=1.3 jitter=0.05 seconds=8",
        expect: &both(&["D4"]),
        never: &["healthy", "D1", "D6"],
        ..BASE
    },
    Situation {
        name: "proxy-idles-longer-haproxy",
        mechanism: 1,
        needs: &["haproxy"],
        proxy: Some((HAPROXY, 9000)),
        serve: "exec $PY $P/server.py idle=1.0",
        play: "exec $PY $P/client.py host=127.0.0.1 port=9000 mode=keep n=400 c=40 think=1.3 jitter=0.05 seconds=8",
        expect: &both(&["D4"]),
        never: &["healthy", "D1", "D6"],
        ..BASE
    },
    Situation {
        name: "busy-proxy-idles-longer",
        mechanism: 1,
        needs: &["haproxy"],
        wire: far,
        proxy: Some((HAPROXY, 9000)),
        serve: "exec $PY $P/server.py idle=1.0",
        play: "$PY $P/client.py mode=until-end c=10 think=0.02 seconds=8 >&2 & \
               exec $PY $P/client.py host=127.0.0.1 port=9000 mode=keep n=400 c=40 think=0.98 jitter=0.05 seconds=8",
        expect: &both(&["D4", "healthy"]),
        never: &["D1", "D6"],
        ..BASE
    },
    Situation {
        name: "tls-three-each-lossy",
        mechanism: 2,
        needs: &["go"],
        wire: lossy,
        serve: "exec $PEER -addr :8080 -tls -size 40000",
        play: "exec $PY $P/client.py mode=keep tls=1 n=240 c=8 k=3 think=0.01 post=9000",
        expect: &both_or_unsure(&["D5", "D1"]),
        never: &["healthy"],
        also: &["D9", "D14"],
        requests: Requests::Bound,
        ..BASE
    },
    Situation {
        name: "client-lifetime",
        mechanism: 2,
        play: "exec $PY $P/client.py mode=keep n=100000 c=12 age=1.0 think=0.03 jitter=0.02 seconds=7",
        expect: &both_or_unsure(&["D11"]),
        never: &["D1", "D6"],
        also: &["healthy"],
        ..BASE
    },
    Situation {
        name: "client-lifetime-steady",
        mechanism: 2,
        play: "exec $PY $P/client.py mode=keep n=100000 c=12 age=0.6 think=0.04 seconds=7",
        expect: &both_or_unsure(&["D11"]),
        never: &["healthy", "D1", "D6"],
        ..BASE
    },
    Situation {
        name: "nginx-lifetime",
        mechanism: 2,
        needs: &["nginx"],
        serve: "sed -e 's/@SSL@//' -e 's/@MORE@/keepalive_time 600ms;/' $P/nginx.conf > nginx.conf \
                && exec nginx -p . -c nginx.conf",
        play: "exec $PY $P/client.py mode=keep n=100000 c=12 think=0.04 seconds=7",
        expect: &both_or_unsure(&["D11"]),
        never: &["healthy", "D1", "D6"],
        ..BASE
    },
    Situation {
        name: "curl-beside-pool-of-2",
        mechanism: 10,
        needs: &["curl"],
        play: "$PY $P/client.py mode=until-end c=2 think=0.02 seconds=7 >&2 & \
               for i in $(seq 120); do curl -s -o /dev/null http://10.107.0.2:8080/; done; echo done",
        expect: &both_or_unsure(&["D1"]),
        never: &["healthy", "D6"],
        ..BASE
    },
    Situation {
        name: "one-each-beside-pool-of-2-tls",
        mechanism: 10,
        needs: &["go"],
        serve: "exec $PEER -addr :8080 -tls",
        play: "$PY $P/client.py mode=until-end tls=1 c=2 think=0.02 seconds=7 >&2 & \
               exec $PY $P/client.py mode=per-request tls=1 c=6 n=240 think=0.05",
        expect: &both_or_unsure(&["D1"]),
        never: &["healthy"],
        ..BASE
    },
    Situation {
        name: "waves-of-go",
        mechanism: 2,
        needs: &["go"],
        serve: "exec $PEER -addr :8080",
        play: "exec $PEER -url http://10.107.0.2:8080/ -mode wave -c 20 -n 800 -think 80ms",
        expect: &both_or_unsure(&["D2"]),
        never: &["healthy", "D1", "D5"],
        ..BASE
    },
    Situation {
        name: "waves-of-go-tls",
        mechanism: 2,
        needs: &["go"],
        serve: "exec $PEER -addr :8080 -tls",
        play: "exec $PEER -url https://10.107.0.2:8080/ -mode wave -c 20 -n 800 -think 80ms",
        expect: &both_or_unsure(&["D2"]),
        never: &["healthy", "D5"],
        ..BASE
    },
    Situation {
        name: "expiry-of-go-tls",
        mechanism: 10,
        needs: &["go"],
        serve: "exec $PEER -addr :8080 -tls",
        play: "exec $PEER -url https://10.107.0.2:8080/ -idle 1s -n 240 -c 40 -think 1500ms -for 7s",
        expect: &both_or_unsure(&["D11"]),
        never: &["healthy", "D4", "D6"],
        ..BASE
    },
    Situation {
        name: "restarts",
        mechanism: 1,
        serve: "for i in 1 2 3 4; do timeout 2.1 $PY $P/server.py; done",
        play: "exec $PY $P/client.py mode=keep n=100000 c=16 think=0.02 seconds=7",
        expect: &both_or_unsure(&["healthy"]),
        never: &["D1", "D4", "D5", "D6", "D11"],
        also: &["D9"],
        ..BASE
    },
    // 3 and 7: waiting, deadlines, and slowness without one.
    Situation {
        name: "slow-one-each",
        mechanism: 7,
        serve: "exec $PY $P/server.py delay=0.6",
        play: "exec $PY $P/client.py mode=per-request n=120 c=12",
        expect: &both(CHURN),
        never: &["healthy", "D13", "D3"],
        ..BASE
    },
    Situation {
        name: "slow-one-each-tls",
        mechanism: 7,
        serve: "exec $PY $P/server.py tls=1 delay=0.6",
        play: "exec $PY $P/client.py mode=per-request tls=1 n=120 c=12",
        expect: &both_or_unsure(CHURN),
        never: &["healthy", "D3"],
        ..BASE
    },
    Situation {
        name: "slow-server-closes-tls",
        mechanism: 7,
        needs: &["go"],
        serve: "exec $PY $P/server.py tls=1 delay=0.5 close=1",
        play: "exec $PEER -url https://10.107.0.2:8080/ -n 120 -c 12",
        expect: &both_or_unsure(CHURN),
        never: &["healthy", "D13", "D3"],
        ..BASE
    },
    Situation {
        name: "slow-kept-tls",
        mechanism: 7,
        serve: "exec $PY $P/server.py tls=1 delay=0.3 jitter=0.2",
        play: "exec $PY $P/client.py mode=until-end tls=1 c=30 seconds=6",
        expect: &both(HEALTHY),
        never: &["D13", "D14", "D1"],
        ..BASE
    },
    Situation {
        name: "deadline-mid-body",
        mechanism: 7,
        needs: &["curl"],
        serve: "exec $PY $P/server.py mode=drip size=60 every=0.08",
        play: "seq 60 | xargs -P 6 -I{} curl -s -m 0.5 -o /dev/null http://10.107.0.2:8080/; echo done",
        expect: &both_or_unsure(&["D3", "D13"]),
        never: &["healthy"],
        ..BASE
    },
    Situation {
        name: "deadline-mid-body-tls",
        mechanism: 7,
        needs: &["curl"],
        serve: "exec $PY $P/server.py tls=1 mode=drip size=60 every=0.08",
        play: "seq 60 | xargs -P 6 -I{} curl -sk -m 0.6 -o /dev/null https://10.107.0.2:8080/; echo done",
        expect: &both_or_unsure(&["D3", "D13"]),
        never: &["healthy"],
        ..BASE
    },
    Situation {
        name: "deadline-mid-upload",
        mechanism: 7,
        serve: "exec $PY $P/server.py mode=noread",
        play: "exec $PY $P/client.py mode=per-request n=64 c=8 deadline=0.6 post=6000000",
        expect: &[client(GIVEN_UP), server(&["D13", "D9", "D14"])],
        also: &["D9", "D14"],
        never: NOT_SHARED,
        ..BASE
    },
    Situation {
        name: "node-fetch-aborts",
        mechanism: 7,
        needs: &["node"],
        serve: "exec $PY $P/server.py delay=0.7",
        play: "exec node -e '(async () => { const each = async () => { for (let i = 0; i < 10; i++) \
               await fetch(\"http://10.107.0.2:8080/\", { signal: AbortSignal.timeout(250) }).catch(() => 0); }; \
               await Promise.all(Array.from({ length: 8 }, each)); console.log(\"done\"); })()'",
        expect: &both(GIVEN_UP),
        never: NOT_SHARED,
        ..BASE
    },
    Situation {
        name: "httpx-deadlines-tls",
        mechanism: 7,
        needs: &["python:httpx"],
        serve: "exec $PY $P/server.py tls=1 delay=0.9",
        play: "exec $PY -c '\nimport httpx, threading\ndef go():\n  c = httpx.Client(verify=False, timeout=0.4)\n  for _ in range(8):\n    try: c.get(\"https://10.107.0.2:8080/\")\n    except httpx.HTTPError: pass\nts = [threading.Thread(target=go) for _ in range(10)]\n[t.start() for t in ts]; [t.join() for t in ts]; print(\"done\")'",
        expect: &both_or_unsure(GIVEN_UP),
        never: &["healthy", "D7", "D11", "D4"],
        ..BASE
    },
    Situation {
        name: "sync-worker-hangs",
        mechanism: 3,
        needs: &["python:gunicorn"],
        serve: "exec $PY -m gunicorn --chdir $P -b 0.0.0.0:8080 --log-level error app:slow",
        play: "exec $PY $P/client.py mode=per-request n=120 c=24 deadline=0.6",
        expect: &[client(GIVEN_UP), server(&["D13", "D9"])],
        also: &["D9", "D14"],
        never: &["healthy", "D1", "D6", "D11"],
        ..BASE
    },
    // 4 and 5: farewells, and resets on purpose.
    Situation {
        name: "tls-pool-outlives-server",
        mechanism: 4,
        needs: &["go"],
        serve: "exec $PY $P/server.py tls=1 idle=1.0",
        play: "exec $PEER -url https://10.107.0.2:8080/ -n 240 -c 40 -think 1600ms -for 7s",
        expect: &both_or_unsure(&["D4"]),
        never: &["healthy", "D1", "D6", "D11"],
        ..BASE
    },
    Situation {
        name: "tls-curl-loop-far",
        mechanism: 4,
        needs: &["curl", "nginx"],
        wire: far,
        serve: "sed -e 's/@SSL@/ssl/' -e 's/@MORE@//' $P/nginx.conf > nginx.conf \
                && exec nginx -p . -c nginx.conf",
        play: "seq 80 | xargs -P 4 -I{} curl -sk -o /dev/null https://10.107.0.2:8080/; echo done",
        expect: &both_or_unsure(CHURN),
        never: &["healthy", "D3", "D4", "D5"],
        ..BASE
    },
    Situation {
        name: "linger0-after-fin-tls",
        mechanism: 5,
        serve: "exec $PY $P/server.py tls=1 close=1",
        play: "exec $PY $P/client.py mode=per-request tls=1 n=160 c=8 wait_fin=1 linger=1",
        expect: &both_or_unsure(CHURN),
        never: &["healthy", "D3"],
        ..BASE
    },
    Situation {
        name: "server-linger0-after-client",
        mechanism: 5,
        serve: "exec $PY $P/server.py linger=1",
        play: "exec $PY $P/client.py mode=per-request n=160 c=8",
        expect: &both(CHURN),
        never: &["healthy", "D3", "D8"],
        ..BASE
    },
    Situation {
        name: "linger0-late-tls",
        mechanism: 5,
        serve: "exec $PY $P/server.py tls=1 idle=1",
        play: "exec $PY $P/client.py mode=checked tls=1 c=40 think=1.6 seconds=7 linger=1",
        expect: &both_or_unsure(&["D4"]),
        never: &["healthy", "D3", "D1", "D11"],
        ..BASE
    },
    Situation {
        name: "unread-stream-of-requests",
        mechanism: 5,
        needs: &["python:requests"],
        serve: "exec $PY $P/server.py size=3000000",
        play: "exec $PY -c '\nimport requests, threading\ndef go():\n  for _ in range(12):\n    r = requests.get(\"http://10.107.0.2:8080/\", stream=True)\n    r.close()\nts = [threading.Thread(target=go) for _ in range(8)]\n[t.start() for t in ts]; [t.join() for t in ts]; print(\"done\")'",
        expect: &[client(&["D3"]), server(&["D3", "D13"]).or_unsure()],
        never: &["healthy", "D1", "D6"],
        ..BASE
    },
    Situation {
        name: "unread-6k-go",
        mechanism: 5,
        needs: &["go"],
        serve: "exec $PEER -addr :8080 -size 60000",
        play: "exec $PY $P/client.py mode=per-request n=96 c=8 read=3000",
        expect: &both_or_unsure(&["D3"]),
        never: &["healthy", "D6"],
        ..BASE
    },
    // 6: the service's side.
    Situation {
        name: "service-above-its-clients",
        mechanism: 6,
        port: 2000,
        filter: "",
        at_client: &["sysctl -qw 'net.ipv4.ip_local_port_range=1024 1999'"],
        serve: "exec $PY $P/server.py port=2000",
        play: "exec $PY $P/client.py port=2000 mode=per-request n=400 c=8",
        more: ONCE,
        expect: &[client(CHURN).at(WINDOW), server(CHURN).at(WINDOW), client(&["row"]).at(ONCE)],
        also: &["D10", "D1-D3"],
        never: &["healthy", "D4-D6", "D4", "D5"],
        ..BASE
    },
    Situation {
        name: "high-port-streams",
        mechanism: 6,
        port: 55_555,
        filter: "",
        serve: "exec $PY $P/server.py port=55555 mode=ws every=0.3",
        play: "exec $PY $P/client.py port=55555 mode=ws c=40 seconds=5",
        expect: &both(HEALTHY),
        never: &["D1", "D6", "D7", "D14"],
        ..BASE
    },
    // 8: one direction only.
    Situation {
        name: "unheard-client",
        mechanism: 8,
        play: "exec $PY $P/client.py mode=hold-ask c=30 k=2 act=2 seconds=6 deadline=3.5",
        events: &[(1_500, Event::Mute(Side::Client))],
        expect: &[client(&["D14"])],
        also: &["D13"],
        never: &["healthy"],
        ..BASE
    },
    Situation {
        name: "unheard-server",
        mechanism: 8,
        play: "exec $PY $P/client.py mode=hold-ask c=30 k=2 act=2 seconds=6 deadline=3.5",
        events: &[(1_500, Event::Mute(Side::Server))],
        expect: &[client(&["D14"]), server(&["D14", "D13"])],
        also: &["D13"],
        never: &["healthy"],
        ..BASE
    },
    Situation {
        name: "unheard-reader-of-events",
        mechanism: 8,
        serve: "exec $PY $P/server.py mode=sse every=0.1",
        play: "exec $PY $P/client.py mode=sse c=30 seconds=6",
        events: &[(2_000, Event::Mute(Side::Client))],
        expect: &[server(&["D14"])],
        never: &["healthy"],
        ..BASE
    },
    Situation {
        name: "unheard-server-one-each",
        mechanism: 8,
        play: "exec $PY $P/client.py mode=per-request n=4000 c=8 think=0.05 deadline=1.5 seconds=6",
        events: &[(2_000, Event::Mute(Side::Server))],
        expect: &[client(&["D1", "D9", "D13", "D14"])],
        also: &["D1", "D13"],
        never: &["healthy", "D6", "D4"],
        counts: &[],
        ..BASE
    },
    // 9: streams that end.
    Situation {
        name: "events-end-and-begin",
        mechanism: 9,
        serve: "exec $PY $P/server.py mode=sse every=0.15 life=1.2",
        play: "exec $PY $P/client.py mode=sse c=20 seconds=7",
        expect: &both_or_unsure(&["healthy"]),
        never: &["D1", "D4", "D5", "D7", "D11", "D13", "D14"],
        ..BASE
    },
    Situation {
        name: "websockets-come-and-go",
        mechanism: 9,
        serve: "exec $PY $P/server.py mode=ws every=0.15",
        play: "exec $PY $P/client.py mode=ws c=20 seconds=7 age=1.2",
        expect: &both_or_unsure(&["healthy"]),
        never: &["D4", "D5", "D7", "D11", "D13", "D14"],
        ..BASE
    },
    Situation {
        name: "websockets-tls",
        mechanism: 9,
        serve: "exec $PY $P/server.py tls=1 mode=ws every=0.4",
        play: "exec $PY $P/client.py tls=1 mode=ws c=40 seconds=5",
        expect: &both(HEALTHY),
        never: &["D1", "D6", "D7", "D11", "D14"],
        ..BASE
    },
    Situation {
        name: "idle-pool-of-40",
        mechanism: 9,
        play: "exec $PY $P/client.py mode=hold c=40 k=3 seconds=6",
        expect: &both_or_unsure(HEALTHY),
        never: &["D1", "D6", "D7", "D11", "D13", "D14"],
        ..BASE
    },
    // 10: pools that are thrown away.
    Situation {
        name: "httpx-clients-dropped",
        mechanism: 10,
        needs: &["python:httpx"],
        play: "exec $PY -c '\nimport httpx, threading, time\nkept = []\ndef go():\n  for _ in range(60):\n    c = httpx.Client(); c.get(\"http://10.107.0.2:8080/\"); kept.append(c); time.sleep(0.05)\nts = [threading.Thread(target=go) for _ in range(3)]\n[t.start() for t in ts]; [t.join() for t in ts]; print(\"done\", flush=True); input()'",
        expect: &both(&["D1"]),
        never: &["healthy", "D4", "D11"],
        ..BASE
    },
    Situation {
        name: "go-transports-dropped-tls",
        mechanism: 10,
        needs: &["go"],
        serve: "exec $PEER -addr :8080 -tls",
        play: "exec $PEER -url https://10.107.0.2:8080/ -mode dropped -idle 1500ms -n 480 -c 4 -think 30ms",
        expect: &both_or_unsure(&["D1"]),
        never: &["healthy", "D4"],
        ..BASE
    },
    // 11: probes.
    Situation {
        name: "slowloris-cut-off",
        mechanism: 11,
        serve: "exec $PY $P/server.py idle=0.9",
        play: "exec $PY $P/client.py mode=slowloris c=30 every=0.2 seconds=6",
        expect: &both_or_unsure(&["D13", "D8"]),
        never: &["healthy", "D1", "D4", "D6", "D7"],
        ..BASE
    },
    Situation {
        name: "probes-of-tls",
        mechanism: 11,
        serve: "exec $PY $P/server.py tls=1",
        play: "exec $PY $P/client.py mode=probe tls=1 n=80 c=2 every=0.1",
        expect: &both_or_unsure(&["D8"]),
        never: &["healthy"],
        ..BASE
    },
    Situation {
        name: "probes-at-tls-port",
        mechanism: 11,
        serve: "exec $PY $P/server.py tls=1",
        play: "exec $PY $P/client.py mode=probe n=80 c=2 every=0.1",
        expect: &both(&["D8"]),
        never: &["healthy", "D1"],
        ..BASE
    },
    Situation {
        name: "probes-beside-one-each",
        mechanism: 11,
        play: "$PY $P/client.py mode=probe n=80 c=2 every=0.1 >&2 & \
               exec $PY $P/client.py mode=per-request n=160 c=4 think=0.08",
        expect: &both_or_unsure(&["D8", "D1"]),
        never: &["healthy", "D4", "D5"],
        ..BASE
    },
    // 12 and 13: ports and queues.
    Situation {
        name: "kept-connections-take-ports",
        mechanism: 12,
        at_client: &["sysctl -qw 'net.ipv4.ip_local_port_range=40000 40059'"],
        play: "exec $PY $P/client.py mode=until-end c=70 think=0.05 seconds=5",
        expect: &[client(&["D10"])],
        also: &["D9", "healthy"],
        never: &["D1", "D6"],
        ..BASE
    },
    Situation {
        name: "stopped-server-overflows",
        mechanism: 13,
        needs: &["go"],
        at_server: &["sysctl -qw net.core.somaxconn=8"],
        serve: "echo $$ > serve.pid; exec $PEER -addr :8080",
        play: "sleep 0.5; kill -STOP $(cat serve.pid); \
               $PY $P/client.py mode=per-request n=60 c=60 deadline=3 < /dev/null >&2; \
               kill -CONT $(cat serve.pid); echo done",
        more: LOWEST,
        expect: &[server(&["D9"])],
        also: &["D1", "D13", "D14", "D7"],
        never: &["healthy"],
        counts: &[],
        ..BASE
    },
    // 14: lost evidence.
    Situation {
        name: "watch-stopped-long",
        mechanism: 14,
        wire: keepwarm_testkit::wire::Conditions::default,
        needs: &["go"],
        serve: "exec $PEER -addr :8080",
        play: "exec $PEER -url http://10.107.0.2:8080/ -mode per-request -n 24000 -c 16 -for 9s",
        events: &[(800, Event::StopWatches(5_000))],
        expect: &both_or_unsure(&["D1"]),
        also: &["D10"],
        never: &["healthy", "D6", "D4", "D5"],
        ..BASE
    },
    Situation {
        name: "watch-stopped-kept",
        mechanism: 14,
        serve: SERVE,
        play: "exec $PY $P/client.py mode=until-end c=20 think=0.02 seconds=6",
        events: &[(1_000, Event::StopWatches(3_000))],
        expect: &both_or_unsure(HEALTHY),
        never: &["D1", "D6", "D7", "D14"],
        ..BASE
    },
    // 15: programs.
    Situation {
        name: "gunicorn-threads-d4",
        mechanism: 15,
        needs: &["python:gunicorn"],
        serve: "exec $PY -m gunicorn --chdir $P -b 0.0.0.0:8080 -k gthread --threads 48 --keep-alive 1 \
                --log-level error app:wsgi",
        play: "exec $PY $P/client.py mode=checked c=40 think=1.9 seconds=8",
        expect: &both_or_unsure(&["D4"]),
        never: &["healthy", "D1", "D6"],
        words: &[(Side::Server, "gunicorn")],
        ..BASE
    },
    Situation {
        name: "wget-loop",
        mechanism: 15,
        needs: &["wget"],
        play: "for i in $(seq 80); do wget -q -O /dev/null http://10.107.0.2:8080/; done",
        expect: &both(CHURN),
        never: &["healthy", "D2", "D5"],
        never_words: &[(Side::Client, "requests.Session"), (Side::Client, "http.Client")],
        ..BASE
    },
    Situation {
        name: "h2load-at-nghttpd",
        mechanism: 15,
        needs: &["h2load", "nghttpd"],
        serve: "exec nghttpd -d . 8080 key.pem cert.pem",
        play: "echo hello > index.html; h2load -n 4000 -c 4 -m 10 https://10.107.0.2:8080/index.html > /dev/null; \
               echo done",
        expect: &both_or_unsure(HEALTHY),
        never: &["D1", "D6", "D5"],
        ..BASE
    },
    Situation {
        name: "oha-without-keepalive",
        mechanism: 15,
        needs: &["oha", "nginx"],
        wire: near,
        serve: "sed -e 's/@SSL@//' -e 's/@MORE@//' $P/nginx.conf > nginx.conf && exec nginx -p . -c nginx.conf",
        play: "oha -n 400 -c 8 --disable-keepalive --no-tui http://10.107.0.2:8080/ > /dev/null; echo done",
        expect: &both(CHURN),
        never: &["healthy", "D2", "D5"],
        ..BASE
    },
    // What looks alike.
    Situation {
        name: "restart-of-idle-pool",
        mechanism: 1,
        serve: "timeout 4.5 $PY $P/server.py; exec $PY $P/server.py",
        play: "exec $PY $P/client.py mode=hold c=40 k=2 seconds=6",
        expect: &both_or_unsure(HEALTHY),
        never: &["D1", "D5", "D6"],
        ..BASE
    },
    Situation {
        name: "end-of-idle-clients",
        mechanism: 9,
        play: "$PY $P/client.py mode=hold c=40 k=2 seconds=3 < /dev/null >&2; sleep 1; echo done",
        expect: &both_or_unsure(HEALTHY),
        never: &["D1", "D5", "D6", "D7"],
        ..BASE
    },
    Situation {
        name: "lines-without-answers",
        mechanism: 3,
        serve: "exec $PY $P/server.py mode=noanswer",
        play: "exec $PY $P/client.py mode=per-request n=160 c=8 read=-2",
        expect: &both_or_unsure(&["D1"]),
        never: &["healthy", "D7", "D8", "D14"],
        ..BASE
    },
    Situation {
        name: "server-hangs-up",
        mechanism: 3,
        serve: "exec $PY $P/server.py mode=hangup",
        play: "exec $PY $P/client.py mode=per-request n=160 c=8",
        expect: &both_or_unsure(&["D13"]),
        never: &["healthy", "D1", "D4", "D6", "D7", "D8"],
        ..BASE
    },
    Situation {
        name: "readers-that-pause",
        mechanism: 8,
        serve: "exec $PY $P/server.py size=8000000",
        play: "exec $PY $P/client.py mode=hold c=20 k=1 read=0 seconds=6",
        expect: &both_or_unsure(HEALTHY),
        never: &["D1", "D6", "D7", "D14"],
        ..BASE
    },
    Situation {
        name: "without-time-waits",
        mechanism: 4,
        at_client: &["sysctl -qw net.ipv4.tcp_max_tw_buckets=1"],
        at_server: &["sysctl -qw net.ipv4.tcp_max_tw_buckets=1"],
        play: "exec $PY $P/client.py mode=per-request n=240 c=6",
        expect: &both_or_unsure(&["D1"]),
        never: &["healthy", "D4", "D5"],
        ..BASE
    },
    Situation {
        name: "requests-with-a-fin",
        mechanism: 4,
        wire: far,
        play: "exec $PY $P/client.py mode=per-request n=160 c=8 shut=1",
        expect: &both(CHURN),
        never: &["healthy", "D3", "D4", "D7", "D13"],
        ..BASE
    },
    Situation {
        name: "slow-requests-with-a-fin",
        mechanism: 4,
        serve: "exec $PY $P/server.py delay=0.4",
        play: "exec $PY $P/client.py mode=per-request n=120 c=12 shut=1",
        expect: &both_or_unsure(CHURN),
        never: &["healthy", "D3", "D4", "D7"],
        ..BASE
    },
    Situation {
        name: "silent-websockets",
        mechanism: 9,
        serve: "exec $PY $P/server.py mode=ws every=30",
        play: "exec $PY $P/client.py mode=ws c=150 seconds=5",
        expect: &both_or_unsure(HEALTHY),
        never: &["D6", "D7", "D11", "D13", "D14"],
        ..BASE
    },
];
