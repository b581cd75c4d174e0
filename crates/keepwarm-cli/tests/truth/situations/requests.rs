//! A healthy pool (1), how many requests a connection carried (2), and requests without an answer
//! (3 and 7).

use super::{CHURN, HEALTHY, NOT_SHARED, SERVE};
use crate::situation::{
    BASE, Requests, Side, Situation, both, both_or_unsure, client, far, lossy, near, server,
};

const NGINX: &str = "sed -e 's/@SSL@//' -e 's/@MORE@/keepalive_timeout 0;/' $P/nginx.conf > nginx.conf \
                     && exec nginx -p . -c nginx.conf";
/// One of them says close; the packets do not say which.
const GIVEN_UP: &[&str] = &["D13"];
const NGINX_PROXY: &str = "sed -e 's/@UPSTREAM@/keepalive 64;/' \
     -e 's/@LOCATION@/proxy_http_version 1.1; proxy_set_header Connection \"\";/' $P/proxy.conf > proxy.conf && \
     exec nginx -p . -c proxy.conf";
const HAPROXY: &str = "sed -e s/@REUSE@/always/ -e s/@CHECK@// $P/haproxy.cfg > haproxy.cfg && \
     exec haproxy -f haproxy.cfg";

pub(super) const ALL: &[Situation] = &[
    // 1: "healthy" is what is left when nothing else holds.
    Situation {
        name: "post-1m-each",
        mechanism: 1,
        core: true,
        serve: SERVE,
        play: "exec $PY $P/client.py mode=per-request n=48 c=4 post=1048576",
        expect: &[client(CHURN), server(CHURN)],
        never: &["healthy"],
        requests: Requests::Bound,
        ..BASE
    },
    Situation {
        name: "post-1m-curl-tls",
        mechanism: 1,
        needs: &["go", "curl"],
        serve: "exec $PEER -addr :8080 -tls",
        play: "head -c 1048576 /dev/zero > body; for i in $(seq 40); do \
               curl -sk --data-binary @body -o /dev/null https://10.107.0.2:8080/; done; \
               echo requests=40",
        expect: &[client(CHURN), server(CHURN)],
        never: &["healthy"],
        requests: Requests::Bound,
        ..BASE
    },
    Situation {
        name: "post-1m-server-closes",
        mechanism: 1,
        needs: &["go", "nginx"],
        serve: NGINX,
        play: "exec $PEER -url http://10.107.0.2:8080/ -n 48 -c 4 -post 1048576",
        expect: &[client(CHURN), server(CHURN)],
        never: &["healthy"],
        requests: Requests::Bound,
        ..BASE
    },
    Situation {
        name: "sporadic-502s",
        mechanism: 1,
        core: true,
        needs: &["go"],
        wire: far,
        serve: "exec $PEER -addr :8080 -idle 1s",
        play: "$PY $P/client.py mode=until-end c=10 think=0.02 seconds=9 >&2 & \
               exec $PY $P/client.py mode=keep n=240 c=40 think=0.96 jitter=0.04 seconds=8",
        expect: &[client(&["D4"]), server(&["D4"])],
        never: &["healthy"],
        ..BASE
    },
    Situation {
        name: "healthy-tls",
        mechanism: 1,
        core: true,
        needs: &["go"],
        wire: far,
        serve: "exec $PEER -addr :8080 -tls",
        play: "exec $PEER -url https://10.107.0.2:8080/ -n 1600 -c 20 -think 10ms",
        expect: &[client(&["healthy"]), server(&["healthy"])],
        ..BASE
    },
    Situation {
        name: "healthy-uploads",
        mechanism: 1,
        needs: &["go"],
        serve: "exec $PEER -addr :8080",
        play: "exec $PEER -url http://10.107.0.2:8080/ -n 400 -c 10 -post 65536",
        expect: &[client(&["healthy"]), server(&["healthy"])],
        ..BASE
    },
    // 2: requests a connection.
    Situation {
        name: "exact-plain",
        mechanism: 2,
        core: true,
        serve: SERVE,
        play: "exec $PY $P/client.py mode=keep n=320 c=8 k=5 think=0.01",
        expect: &[client(&["D5"]).or_unsure(), server(&["D5"]).or_unsure()],
        never: &["healthy", "D2"],
        requests: Requests::Exact,
        ..BASE
    },
    Situation {
        name: "five-each-tls",
        mechanism: 2,
        core: true,
        needs: &["go"],
        serve: "exec $PEER -addr :8080 -tls",
        play: "exec $PY $P/client.py mode=keep tls=1 n=320 c=8 k=5 think=0.01",
        expect: &[client(&["D5"]).or_unsure(), server(&["D5"]).or_unsure()],
        never: &["healthy", "D2"],
        // How many segments the handshake took is not known.
        requests: Requests::Bound,
        ..BASE
    },
    Situation {
        name: "one-each-tls",
        mechanism: 2,
        serve: "exec $PY $P/server.py tls=1",
        play: "exec $PY $P/client.py mode=per-request tls=1 n=160 c=8",
        expect: &[client(CHURN), server(CHURN)],
        // How many segments the handshake took is not known.
        requests: Requests::Bound,
        ..BASE
    },
    Situation {
        name: "d5-100-tls",
        mechanism: 2,
        core: true,
        needs: &["go", "nginx"],
        serve: "sed -e 's/@SSL@/ssl/' -e 's/@MORE@/keepalive_requests 100;/' $P/nginx.conf > nginx.conf \
                && exec nginx -p . -c nginx.conf",
        play: "exec $PEER -url https://10.107.0.2:8080/ -n 4800 -c 12",
        expect: &[client(&["D5"]), server(&["D5"])],
        never: &["healthy"],
        requests: Requests::Bound,
        ..BASE
    },
    Situation {
        name: "d5-20-post-64k",
        mechanism: 2,
        needs: &["nginx"],
        serve: "sed -e 's/@SSL@//' -e 's/@MORE@/keepalive_requests 20;/' $P/nginx.conf > nginx.conf \
                && exec nginx -p . -c nginx.conf",
        play: "exec $PY $P/client.py mode=keep n=1000 c=10 post=65536",
        expect: &[client(&["D5"]), server(&["D5"])],
        never: &["healthy"],
        requests: Requests::Bound,
        ..BASE
    },
    Situation {
        name: "d5-apache-30",
        mechanism: 2,
        needs: &["apache2", "go"],
        serve: "{ cat $P/apache.conf; echo MaxKeepAliveRequests 30; } > apache.conf; \
                echo hello > index.html; exec apache2 -DNO_DETACH -d $PWD -f $PWD/apache.conf",
        play: "exec $PEER -url http://10.107.0.2:8080/index.html -n 1600 -c 8",
        expect: &[client(&["D5"]), server(&["D5"])],
        never: &["healthy"],
        // Apache defers accepts (TCP_DEFER_ACCEPT): without a request the server's host has no connection.
        counts: &[Side::Client],
        requests: Requests::Bound,
        ..BASE
    },
    Situation {
        name: "d5-client-closes-at-10",
        mechanism: 2,
        serve: SERVE,
        play: "exec $PY $P/client.py mode=keep n=960 c=8 k=10 post=3000",
        expect: &[client(&["D5"]), server(&["D5"])],
        never: &["healthy"],
        requests: Requests::Bound,
        ..BASE
    },
    Situation {
        name: "large-answers-k5",
        mechanism: 2,
        serve: "exec $PY $P/server.py size=300000",
        play: "exec $PY $P/client.py mode=keep n=240 c=8 k=5",
        expect: &[client(&["D5"]).or_unsure(), server(&["D5"]).or_unsure()],
        never: &["healthy", "D1"],
        requests: Requests::Bound,
        ..BASE
    },
    Situation {
        name: "lossy-one-each",
        mechanism: 2,
        wire: lossy,
        serve: SERVE,
        play: "exec $PY $P/client.py mode=per-request n=200 c=10 post=3000",
        expect: &[client(CHURN), server(CHURN)],
        never: &["healthy", "D2"],
        also: &["D9", "D14"],
        requests: Requests::Bound,
        ..BASE
    },
    Situation {
        name: "lossy-kept",
        mechanism: 2,
        wire: lossy,
        serve: SERVE,
        play: "exec $PY $P/client.py mode=until-end c=20 think=0.02 seconds=5 post=800",
        expect: &[client(&["healthy"]), server(&["healthy"])],
        ..BASE
    },
    Situation {
        name: "http2-one-connection",
        mechanism: 2,
        needs: &["go"],
        serve: "exec $PEER -addr :8080 -tls -h2",
        play: "exec $PEER -url https://10.107.0.2:8080/ -h2 -n 2000 -c 20",
        expect: &[client(&["healthy", "D12"]), server(&["healthy", "D12"])],
        ..BASE
    },
    Situation {
        name: "http2-one-each",
        mechanism: 2,
        needs: &["go"],
        serve: "exec $PEER -addr :8080 -tls -h2",
        play: "exec $PEER -url https://10.107.0.2:8080/ -h2 -mode per-request -n 160 -c 8",
        expect: &[client(CHURN), server(CHURN)],
        never: &["healthy", "D5"],
        ..BASE
    },
    // 3: a request is not an answer.
    Situation {
        name: "accepted-never-read",
        mechanism: 3,
        core: true,
        serve: "exec $PY $P/server.py mode=noread",
        play: "exec $PY $P/client.py mode=per-request n=80 c=8 deadline=0.4",
        expect: &[client(GIVEN_UP), server(&["D13", "D9", "D14"])],
        also: &["D9", "D14"],
        never: NOT_SHARED,
        ..BASE
    },
    Situation {
        name: "never-accepted",
        mechanism: 3,
        core: true,
        serve: "exec $PY $P/server.py mode=noaccept",
        play: "exec $PY $P/client.py mode=per-request n=80 c=8 deadline=0.4",
        expect: &[client(GIVEN_UP), server(&["D13", "D9", "D14"])],
        also: &["D9", "D14"],
        never: NOT_SHARED,
        ..BASE
    },
    Situation {
        name: "backlog-full",
        mechanism: 3,
        serve: "exec $PY $P/server.py mode=noaccept backlog=4",
        at_client: &["sysctl -qw net.ipv4.tcp_syn_retries=1"],
        play: "exec $PY $P/client.py mode=per-request n=80 c=40 deadline=2.5",
        expect: &[client(&["D9"]), server(&["D9"])],
        also: &["D13", "D14"],
        never: &["healthy", "D1", "D6", "D7"],
        counts: &[],
        ..BASE
    },
    Situation {
        name: "read-never-answered",
        mechanism: 3,
        serve: "exec $PY $P/server.py mode=noanswer",
        play: "exec $PY $P/client.py mode=per-request n=80 c=8 deadline=0.4 post=2000",
        expect: &[client(GIVEN_UP), server(GIVEN_UP)],
        also: &["D14"],
        never: NOT_SHARED,
        ..BASE
    },
    Situation {
        name: "never-read-tls",
        mechanism: 3,
        serve: "exec $PY $P/server.py mode=noread",
        play: "exec $PY $P/client.py mode=per-request tls=1 n=80 c=8 deadline=0.4",
        expect: &[client(GIVEN_UP), server(&["D13", "D9", "D14"])],
        also: &["D9", "D14"],
        never: NOT_SHARED,
        ..BASE
    },
    // 7: given up before an answer.
    Situation {
        name: "go-deadline",
        mechanism: 7,
        core: true,
        needs: &["go"],
        serve: "exec $PY $P/server.py delay=0.6",
        play: "exec $PEER -url http://10.107.0.2:8080/ -n 120 -c 12 -timeout 250ms",
        expect: &[client(GIVEN_UP), server(GIVEN_UP)],
        never: NOT_SHARED,
        ..BASE
    },
    Situation {
        name: "go-deadline-half",
        mechanism: 7,
        needs: &["go"],
        serve: "exec $PY $P/server.py delay=0.25 jitter=0.2",
        play: "exec $PEER -url http://10.107.0.2:8080/ -n 240 -c 16 -timeout 270ms",
        expect: &[client(GIVEN_UP), server(GIVEN_UP)],
        never: NOT_SHARED,
        ..BASE
    },
    Situation {
        name: "go-deadline-tls",
        mechanism: 7,
        needs: &["go"],
        serve: "exec $PEER -addr :8080 -tls -delay 600ms",
        play: "exec $PEER -url https://10.107.0.2:8080/ -n 120 -c 12 -timeout 300ms",
        expect: &[client(GIVEN_UP), server(GIVEN_UP)],
        never: NOT_SHARED,
        ..BASE
    },
    Situation {
        name: "curl-deadline-tls",
        mechanism: 7,
        needs: &["curl"],
        serve: "exec $PY $P/server.py tls=1 delay=1.5",
        play: "seq 60 | xargs -P 6 -I{} curl -sk -m 0.3 https://10.107.0.2:8080/; echo done",
        expect: &[client(GIVEN_UP), server(GIVEN_UP)],
        never: NOT_SHARED,
        ..BASE
    },
    Situation {
        name: "node-abort",
        mechanism: 7,
        needs: &["node"],
        serve: "exec $PY $P/server.py delay=0.7",
        play: "exec node $P/client.js abort 120 12",
        expect: &[client(GIVEN_UP), server(GIVEN_UP)],
        never: NOT_SHARED,
        ..BASE
    },
    Situation {
        name: "requests-timeout-far",
        mechanism: 7,
        needs: &["python:requests"],
        wire: far,
        serve: "exec $PY $P/server.py delay=0.8 size=50000",
        play: "exec $PY $P/client.py mode=requests n=96 c=12 deadline=0.3",
        expect: &[client(GIVEN_UP), server(GIVEN_UP)],
        never: NOT_SHARED,
        ..BASE
    },
    Situation {
        name: "http2-deadline",
        mechanism: 7,
        needs: &["go"],
        wire: near,
        serve: "exec $PEER -addr :8080 -tls -h2 -delay 500ms",
        play: "exec $PEER -url https://10.107.0.2:8080/ -h2 -n 200 -c 20 -timeout 200ms",
        // Streams are cancelled, and connections with them now and then.
        expect: &[
            client(&["healthy", "D12", "D13"]).or_unsure(),
            server(&["healthy", "D12", "D13"]).or_unsure(),
        ],
        ..BASE
    },
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
    Situation {
        name: "curl-five-each-tls",
        mechanism: 2,
        needs: &["curl", "nginx"],
        wire: near,
        serve: "sed -e 's/@SSL@/ssl/' -e 's/@MORE@//' $P/nginx.conf > nginx.conf \
                && exec nginx -p . -c nginx.conf",
        play: "seq 60 | xargs -P 4 -I{} sh -c 'u=https://10.107.0.2:8080/{}; curl -sk -o 1 -o 1 -o 1 -o 1 \
               -o 1 $u/a $u/b $u/c $u/d $u/e'; echo requests=300; echo done",
        expect: &both_or_unsure(&["D5", "D1"]),
        never: &["healthy", "D2", "D13"],
        requests: Requests::Bound,
        ..BASE
    },
    Situation {
        name: "curl-one-each-tls",
        mechanism: 2,
        needs: &["curl", "nginx"],
        wire: near,
        serve: "sed -e 's/@SSL@/ssl/' -e 's/@MORE@//' $P/nginx.conf > nginx.conf \
                && exec nginx -p . -c nginx.conf",
        play: "seq 200 | xargs -P 4 -I{} curl -sk -o /dev/null https://10.107.0.2:8080/{}; echo requests=200; \
               echo done",
        expect: &both_or_unsure(CHURN),
        never: &["healthy", "D2", "D5", "D13"],
        requests: Requests::Bound,
        ..BASE
    },
    Situation {
        name: "go-one-each-tls",
        mechanism: 2,
        needs: &["go"],
        wire: near,
        serve: "exec $PEER -addr :8080 -tls",
        play: "exec $PEER -url https://10.107.0.2:8080/ -mode per-request -n 400 -c 4",
        expect: &both_or_unsure(CHURN),
        never: &["healthy", "D2", "D5", "D13"],
        requests: Requests::Bound,
        ..BASE
    },
    Situation {
        name: "node-ten-each-tls",
        mechanism: 2,
        needs: &["go", "node"],
        wire: near,
        serve: "exec $PEER -addr :8080 -tls",
        play: "exec node $P/client.js ten 600 5 https://10.107.0.2:8080/",
        expect: &both_or_unsure(&["D5"]),
        never: &["healthy", "D2", "D13"],
        requests: Requests::Bound,
        ..BASE
    },
    Situation {
        name: "session-of-ten-each-tls",
        mechanism: 2,
        needs: &["go", "python:requests"],
        wire: near,
        serve: "exec $PEER -addr :8080 -tls",
        play: "exec $PY -c '\nimport requests, threading, urllib3\nurllib3.disable_warnings()\ndef go():\n  for _ in range(12):\n    with requests.Session() as c:\n      for i in range(10): c.get(\"https://10.107.0.2:8080/items/%d\" % (i * 7), verify=False)\nts = [threading.Thread(target=go) for _ in range(5)]\n[t.start() for t in ts]; [t.join() for t in ts]; print(\"requests=600\"); print(\"done\")'",
        expect: &both_or_unsure(&["D5"]),
        never: &["healthy", "D2", "D13"],
        requests: Requests::Bound,
        ..BASE
    },
];
