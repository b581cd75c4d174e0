//! A healthy pool (1), how many requests a connection carried (2), and requests without an answer
//! (3 and 7).

use crate::situation::{BASE, Requests, Side, Situation, client, far, lossy, near, server};

const SERVE: &str = "exec $PY $P/server.py";
const NGINX: &str = "sed -e 's/@SSL@//' -e 's/@MORE@/keepalive_timeout 0;/' $P/nginx.conf > nginx.conf \
                     && exec nginx -p . -c nginx.conf";
/// One of them says close; the packets do not say which.
const CHURN: &[&str] = &["D1", "D6"];
const UNANSWERED: &[&str] = &["D13"];
const NOT_SHARED: &[&str] = &["healthy", "D1", "D6", "D7", "D11"];

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
        expect: &[client(UNANSWERED), server(&["D13", "D9", "D14"])],
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
        expect: &[client(UNANSWERED), server(&["D13", "D9", "D14"])],
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
        expect: &[client(UNANSWERED), server(UNANSWERED)],
        also: &["D14"],
        never: NOT_SHARED,
        ..BASE
    },
    Situation {
        name: "never-read-tls",
        mechanism: 3,
        serve: "exec $PY $P/server.py mode=noread",
        play: "exec $PY $P/client.py mode=per-request tls=1 n=80 c=8 deadline=0.4",
        expect: &[client(UNANSWERED), server(&["D13", "D9", "D14"])],
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
        expect: &[client(UNANSWERED), server(UNANSWERED)],
        never: NOT_SHARED,
        ..BASE
    },
    Situation {
        name: "go-deadline-half",
        mechanism: 7,
        needs: &["go"],
        serve: "exec $PY $P/server.py delay=0.25 jitter=0.2",
        play: "exec $PEER -url http://10.107.0.2:8080/ -n 240 -c 16 -timeout 270ms",
        expect: &[client(UNANSWERED), server(UNANSWERED)],
        never: NOT_SHARED,
        ..BASE
    },
    Situation {
        name: "go-deadline-tls",
        mechanism: 7,
        needs: &["go"],
        serve: "exec $PEER -addr :8080 -tls -delay 600ms",
        play: "exec $PEER -url https://10.107.0.2:8080/ -n 120 -c 12 -timeout 300ms",
        expect: &[client(UNANSWERED), server(UNANSWERED)],
        never: NOT_SHARED,
        ..BASE
    },
    Situation {
        name: "curl-deadline-tls",
        mechanism: 7,
        needs: &["curl"],
        serve: "exec $PY $P/server.py tls=1 delay=1.5",
        play: "seq 60 | xargs -P 6 -I{} curl -sk -m 0.3 https://10.107.0.2:8080/; echo done",
        expect: &[client(UNANSWERED), server(UNANSWERED)],
        never: NOT_SHARED,
        ..BASE
    },
    Situation {
        name: "node-abort",
        mechanism: 7,
        needs: &["node"],
        serve: "exec $PY $P/server.py delay=0.7",
        play: "exec node $P/client.js abort 120 12",
        expect: &[client(UNANSWERED), server(UNANSWERED)],
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
        expect: &[client(UNANSWERED), server(UNANSWERED)],
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
];
