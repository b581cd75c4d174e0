//! Silent peers (8), long streams (9), and pools that are thrown away (10).

use super::HEALTHY;
use crate::situation::{BASE, Event, Side, Situation, both, both_or_unsure, client, server};

const LEAKS: &[&str] = &["D1", "D6", "D7", "D11", "D14"];

pub(super) const ALL: &[Situation] = &[
    // 8: the peer is silent.
    Situation {
        name: "cut-with-requests",
        mechanism: 8,
        core: true,
        play: "exec $PY $P/client.py mode=hold-ask c=30 k=2 act=2 seconds=6 deadline=3.5",
        events: &[(1_500, Event::Cut)],
        expect: &[client(&["D14"])],
        also: &["D13"],
        never: &["healthy"],
        ..BASE
    },
    Situation {
        name: "cut-keepalive-probes",
        mechanism: 8,
        play: "exec $PY $P/client.py mode=hold c=30 k=2 probes=1 seconds=7",
        events: &[(1_500, Event::Cut)],
        expect: &[client(&["D14"])],
        never: &["healthy"],
        ..BASE
    },
    Situation {
        name: "firewall-forgot",
        mechanism: 8,
        core: true,
        play: "exec $PY $P/client.py mode=hold-close c=40 k=2 act=2 seconds=6",
        events: &[(1_500, Event::Forget)],
        expect: &[client(&["D14"])],
        never: &["healthy", "D1", "D2"],
        ..BASE
    },
    Situation {
        name: "firewall-forgot-request",
        mechanism: 8,
        play: "exec $PY $P/client.py mode=hold-ask c=30 k=2 act=2 seconds=6 deadline=3.5",
        events: &[(1_500, Event::Forget)],
        expect: &[client(&["D14"])],
        also: &["D13"],
        never: &["healthy"],
        ..BASE
    },
    Situation {
        name: "cut-mid-stream",
        mechanism: 8,
        serve: "exec $PY $P/server.py mode=sse every=0.1",
        play: "exec $PY $P/client.py mode=sse c=30 seconds=6",
        events: &[(2_000, Event::Cut)],
        expect: &[server(&["D14"])],
        never: &["healthy"],
        ..BASE
    },
    Situation {
        name: "cut-mid-upload",
        mechanism: 8,
        play: "exec $PY $P/client.py mode=hold-ask c=10 k=0 act=1.4 post=20000000 seconds=6 deadline=4",
        events: &[(1_500, Event::Cut)],
        expect: &[client(&["D14"])],
        also: &["D13"],
        never: &["healthy"],
        ..BASE
    },
    // 9: streams are no leak.
    Situation {
        name: "sse",
        mechanism: 9,
        core: true,
        serve: "exec $PY $P/server.py mode=sse every=0.2",
        play: "exec $PY $P/client.py mode=sse c=40 seconds=5",
        expect: &[client(HEALTHY), server(HEALTHY)],
        never: LEAKS,
        ..BASE
    },
    Situation {
        name: "sse-tls-quiet",
        mechanism: 9,
        serve: "exec $PY $P/server.py mode=sse tls=1 every=3",
        play: "exec $PY $P/client.py mode=sse tls=1 c=40 seconds=5",
        expect: &[client(HEALTHY), server(HEALTHY)],
        never: LEAKS,
        ..BASE
    },
    Situation {
        name: "websockets",
        mechanism: 9,
        serve: "exec $PY $P/server.py mode=ws every=0.5",
        play: "exec $PY $P/client.py mode=ws c=40 seconds=5",
        expect: &[client(HEALTHY), server(HEALTHY)],
        never: LEAKS,
        ..BASE
    },
    Situation {
        name: "long-polls",
        mechanism: 9,
        serve: "exec $PY $P/server.py delay=1.6",
        play: "exec $PY $P/client.py mode=until-end c=40 seconds=5.5",
        expect: &[client(HEALTHY), server(HEALTHY)],
        never: LEAKS,
        ..BASE
    },
    Situation {
        name: "postgres-sessions",
        mechanism: 9,
        needs: &["psql"],
        port: 5432,
        filter: ":5432",
        serve: POSTGRES,
        play: "for i in $(seq 12); do (for j in 1 2 3 4 5 6 7 8 9; do echo 'select 1;'; sleep 0.7; done) | \
               psql -q -h 10.107.0.2 -U nobody postgres > /dev/null & done; sleep 4.5; echo done; cat",
        expect: &[client(HEALTHY), server(HEALTHY)],
        never: LEAKS,
        ..BASE
    },
    Situation {
        name: "redis-subscriptions",
        mechanism: 9,
        needs: &["redis-server", "redis-cli"],
        port: 6379,
        filter: ":6379",
        serve: "exec redis-server --port 6379 --bind 0.0.0.0 --save '' --protected-mode no",
        play: "for i in $(seq 30); do redis-cli -h 10.107.0.2 subscribe news > /dev/null & done; sleep 1; \
               redis-cli -h 10.107.0.2 -r 20 -i 0.15 publish news hello > /dev/null; echo done; cat",
        expect: &[client(HEALTHY), server(HEALTHY)],
        never: LEAKS,
        ..BASE
    },
    Situation {
        name: "close-waits-turn-over",
        mechanism: 9,
        core: true,
        serve: "exec $PY $P/server.py idle=0.4",
        play: "exec $PY $P/client.py mode=half c=20 think=0.25 pause=1.0 seconds=6",
        expect: &[client(&["D4", "D1"]), server(&["D4", "D1"])],
        never: &["healthy", "D7"],
        ..BASE
    },
    Situation {
        name: "close-waits-leak",
        mechanism: 9,
        serve: "exec $PY $P/server.py idle=0.4",
        play: "exec $PY $P/client.py mode=leak n=240 c=4 think=0.08",
        expect: &[client(&["D7"]), server(&["D7", "D4"])],
        also: &["D4", "D1"],
        never: &["healthy"],
        ..BASE
    },
    // 10: pools that are thrown away.
    Situation {
        name: "sessions-collected-later",
        mechanism: 10,
        core: true,
        needs: &["python:requests"],
        play: "exec $PY $P/client.py mode=sessions n=300 c=3 think=0.02",
        expect: &[client(&["D1"]), server(&["D1"])],
        never: &["healthy", "D11", "D4"],
        ..BASE
    },
    Situation {
        name: "go-transports-dropped",
        mechanism: 10,
        needs: &["go"],
        serve: "exec $PEER -addr :8080",
        play: "exec $PEER -url http://10.107.0.2:8080/ -mode dropped -idle 1500ms -n 480 -c 4 -think 30ms",
        expect: &[client(&["D1"]), server(&["D1"])],
        never: &["healthy", "D11", "D4"],
        ..BASE
    },
    Situation {
        name: "node-agents-dropped",
        mechanism: 10,
        needs: &["node"],
        play: "exec node $P/client.js agents 300 6",
        expect: &[client(&["D1"]), server(&["D1"])],
        never: &["healthy", "D11", "D4"],
        ..BASE
    },
    Situation {
        name: "java-clients-dropped",
        mechanism: 10,
        needs: &["java"],
        play: "exec java $P/Dropped.java",
        expect: &[client(&["D1"]), server(&["D1"])],
        never: &["healthy", "D11", "D4"],
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
];

/// PostgreSQL without passwords, run without privileges, since initdb refuses root. Its shared memory is a
/// file in its own folder: a segment in /dev/shm would stay behind when the database is killed.
pub(super) const POSTGRES: &str = "\
    export PATH=$PATH:$(echo /usr/lib/postgresql/*/bin); \
    as='setpriv --reuid 65534 --regid 65534 --clear-groups'; \
    rm -rf pg; $as initdb -D pg -U nobody -A trust --no-sync > /dev/null && \
    echo 'host all all 0.0.0.0/0 trust' >> pg/pg_hba.conf && \
    exec $as postgres -D pg -p 5432 -h 0.0.0.0 -k $PWD -F \
     -c dynamic_shared_memory_type=mmap";
