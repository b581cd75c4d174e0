//! The side that closed first: a lone socket off loopback (4), reasons of resets (5), and FINs that
//! cross (16); and pairs of causes that look alike.

use keepwarm_testkit::wire::Conditions;

use super::{CHURN, HEALTHY};
use crate::situation::{
    BASE, Requests, Situation, both, both_or_unsure, client, far, near, server,
};

fn crossing() -> Conditions {
    Conditions::delay(std::time::Duration::from_millis(25))
}

pub(super) const ALL: &[Situation] = &[
    // 4: a socket alone whose TIME_WAIT a reset has removed.
    Situation {
        name: "tls-one-each-go",
        mechanism: 4,
        core: true,
        needs: &["go"],
        serve: "exec $PEER -addr :8080 -tls",
        play: "exec $PEER -url https://10.107.0.2:8080/ -mode per-request -n 160 -c 8",
        expect: &[client(&["D1"]), server(&["D1"]).or_unsure()],
        never: &["healthy", "D4", "D5"],
        ..BASE
    },
    Situation {
        name: "tls-one-each-nginx",
        mechanism: 4,
        needs: &["nginx", "python:requests"],
        wire: far,
        serve: "sed -e 's/@SSL@/ssl/' -e 's/@MORE@//' $P/nginx.conf > nginx.conf \
                && exec nginx -p . -c nginx.conf",
        play: "exec $PY $P/client.py mode=requests tls=1 n=96 c=8",
        expect: &[client(CHURN), server(CHURN)],
        never: &["healthy", "D4", "D5"],
        ..BASE
    },
    Situation {
        name: "tls-server-closes",
        mechanism: 4,
        needs: &["go"],
        serve: "exec $PY $P/server.py tls=1 close=1",
        play: "exec $PEER -url https://10.107.0.2:8080/ -n 160 -c 8",
        expect: &[client(CHURN), server(CHURN)],
        never: &["healthy"],
        ..BASE
    },
    Situation {
        name: "tls-idle-server",
        mechanism: 4,
        needs: &["go"],
        serve: "exec $PEER -addr :8080 -tls -idle 1s",
        play: "exec $PY $P/client.py mode=checked tls=1 c=40 think=1.6 seconds=7",
        expect: &[client(&["D4"]), server(&["D4"])],
        never: &["healthy"],
        ..BASE
    },
    Situation {
        name: "late-answers",
        mechanism: 4,
        core: true,
        wire: far,
        serve: "exec $PY $P/server.py delay=0.3",
        play: "exec $PY $P/client.py mode=per-request n=120 c=8 deadline=0.15",
        expect: &[client(&["D13"]), server(&["D13"])],
        never: &["healthy", "D1", "D3", "D6"],
        ..BASE
    },
    Situation {
        name: "undrained-far",
        mechanism: 4,
        core: true,
        needs: &["go"],
        wire: far,
        serve: "exec $PEER -addr :8080 -size 2000000",
        play: "exec $PEER -url http://10.107.0.2:8080/ -mode unread -n 96 -c 8",
        expect: &[client(&["D3"]), server(&["D3"]).or_unsure()],
        never: &["healthy"],
        ..BASE
    },
    Situation {
        name: "undrained-head-only",
        mechanism: 4,
        wire: far,
        serve: "exec $PY $P/server.py size=400000",
        play: "exec $PY $P/client.py mode=per-request n=96 c=8 read=0",
        expect: &[client(&["D3", "D13"]), server(&["D3", "D13"])],
        never: &["healthy"],
        ..BASE
    },
    Situation {
        name: "grpc-channel-each",
        mechanism: 4,
        needs: &["python:grpc"],
        serve: "exec $PY $P/rpc.py serve",
        play: "exec $PY $P/rpc.py call each 30",
        expect: &[client(&["D1", "D6", "D12"]), server(&["D1", "D6", "D12"])],
        never: &["healthy", "D4", "D5"],
        ..BASE
    },
    Situation {
        name: "grpc-shared",
        mechanism: 4,
        needs: &["python:grpc"],
        serve: "exec $PY $P/rpc.py serve",
        play: "exec $PY $P/rpc.py call shared 200",
        expect: &[client(&["healthy", "D12"]), server(&["healthy", "D12"])],
        ..BASE
    },
    // 5: reasons of resets.
    Situation {
        name: "answer-meets-closed-client",
        mechanism: 5,
        core: true,
        wire: near,
        serve: "exec $PY $P/server.py delay=0.25 size=200000",
        play: "exec $PY $P/client.py mode=per-request n=120 c=8 deadline=0.15",
        expect: &[client(&["D13"]), server(&["D13"])],
        never: &["healthy", "D3", "D6"],
        ..BASE
    },
    Situation {
        name: "linger0-after-fin",
        mechanism: 5,
        core: true,
        serve: "exec $PY $P/server.py close=1",
        play: "exec $PY $P/client.py mode=per-request n=160 c=8 wait_fin=1 linger=1",
        expect: &[client(&["D6"]), server(&["D6"])],
        never: &["healthy", "D3", "D8"],
        ..BASE
    },
    Situation {
        name: "linger0-pool",
        mechanism: 5,
        serve: "exec $PY $P/server.py idle=1",
        play: "exec $PY $P/client.py mode=checked c=40 think=1.6 seconds=7 linger=1",
        expect: &[client(&["D4"]), server(&["D4"])],
        never: &["healthy", "D3"],
        ..BASE
    },
    Situation {
        name: "linger0-one-each",
        mechanism: 5,
        serve: "exec $PY $P/server.py",
        play: "exec $PY $P/client.py mode=per-request n=160 c=8 linger=1",
        expect: &[client(CHURN).or_unsure(), server(CHURN).or_unsure()],
        never: &["healthy", "D3"],
        ..BASE
    },
    Situation {
        name: "server-linger0",
        mechanism: 5,
        serve: "exec $PY $P/server.py close=1 linger=1 after=0.05",
        play: "exec $PY $P/client.py mode=per-request n=160 c=8 wait_fin=1",
        expect: &[client(&["D6"]).or_unsure(), server(&["D6"]).or_unsure()],
        never: &["healthy", "D3", "D1"],
        ..BASE
    },
    // 16: FINs that cross.
    Situation {
        name: "crossed-fins",
        mechanism: 16,
        core: true,
        wire: crossing,
        serve: "exec $PY $P/server.py close=1 after=0.02",
        play: "exec $PY $P/client.py mode=per-request n=120 c=6 pause=0.01",
        expect: &[client(CHURN).or_unsure(), server(CHURN).or_unsure()],
        never: &["healthy"],
        ..BASE
    },
    Situation {
        name: "crossed-fins-tls",
        mechanism: 16,
        wire: crossing,
        serve: "exec $PY $P/server.py tls=1 close=1 after=0.02",
        play: "exec $PY $P/client.py mode=per-request tls=1 n=120 c=6 pause=0.01",
        expect: &[client(CHURN).or_unsure(), server(CHURN).or_unsure()],
        never: &["healthy"],
        ..BASE
    },
    Situation {
        name: "crossed-idle-timeouts",
        mechanism: 16,
        wire: crossing,
        serve: "exec $PY $P/server.py idle=1.0",
        play: "exec $PY $P/client.py mode=per-request n=200 c=50 pause=0.97",
        expect: &[
            client(&["D4", "D11", "D1"]).or_unsure(),
            server(&["D4", "D11", "D1"]).or_unsure(),
        ],
        never: &["healthy"],
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
    // At a client alone an RST may have removed the TIME_WAIT of either side's close.
    Situation {
        name: "tls-node-each",
        mechanism: 4,
        needs: &["go", "node"],
        serve: "exec $PEER -addr :8080 -tls",
        play: "exec node $P/client.js each 240 8 https://10.107.0.2:8080/",
        expect: &both_or_unsure(CHURN),
        never: &["healthy", "D3", "D4", "D5"],
        requests: Requests::Bound,
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
