//! Which side is the service (6), probes and slow clients (11), ports (12), what each level knows
//! (13), lost evidence (14), and advice for what is there (15).

use super::{CHURN, HEALTHY, SERVE};
use crate::situation::{
    BASE, Event, Side, Situation, View, both, both_or_unsure, client, near, server,
};
use crate::situations::silence::POSTGRES;

/// Sets `A` to the server's address of IPv6.
macro_rules! v6 {
    () => {
        "A=$(ip -o -6 addr show dev wire0 scope global | sed 's/.*inet6 \\([^/ ]*\\)1\\/.*/\\1/')2; "
    };
}

const ONE_DUMP: &[&str] = &["row"];
const WINDOW: &[View] = &[View::L1, View::L2];
const LOWEST: &[View] = &[View::L0];
const ONCE: &[View] = &[View::Once];
/// Advice for HTTP clients, which a database's shell does not follow.
const HTTP: &[(Side, &str)] = &[
    (Side::Client, "http.Client"),
    (Side::Client, "requests.Session"),
    (Side::Client, "nginx"),
    (Side::Client, "Connection: close"),
];

pub(super) const ALL: &[Situation] = &[
    // 6: the service's side.
    Situation {
        name: "high-port",
        mechanism: 6,
        core: true,
        port: 49_200,
        filter: ":49200",
        serve: "exec $PY $P/server.py port=49200",
        play: "exec $PY $P/client.py port=49200 mode=per-request n=400 c=8",
        more: ONCE,
        expect: &[client(CHURN).at(WINDOW), server(CHURN).at(WINDOW), client(ONE_DUMP).at(ONCE)],
        also: &["D1", "D6", "D10", "D1-D3"],
        never: &["healthy", "D4-D6", "D4", "D5"],
        ..BASE
    },
    Situation {
        name: "high-port-all",
        mechanism: 6,
        port: 60_900,
        filter: "",
        serve: "exec $PY $P/server.py port=60900",
        play: "exec $PY $P/client.py port=60900 mode=per-request n=400 c=8",
        more: ONCE,
        expect: &[client(CHURN).at(WINDOW), server(CHURN).at(WINDOW), client(ONE_DUMP).at(ONCE)],
        also: &["D1", "D6", "D10", "D1-D3"],
        never: &["healthy", "D4-D6", "D4", "D5"],
        ..BASE
    },
    Situation {
        name: "wide-port-range",
        mechanism: 6,
        filter: "",
        at_client: &["sysctl -qw 'net.ipv4.ip_local_port_range=1024 65535'"],
        play: "exec $PY $P/client.py mode=per-request n=400 c=8",
        more: ONCE,
        expect: &[client(CHURN).at(WINDOW), server(CHURN).at(WINDOW), client(ONE_DUMP).at(ONCE)],
        also: &["D1", "D6", "D10", "D1-D3"],
        never: &["healthy", "D4-D6", "D4", "D5"],
        ..BASE
    },
    // 11: probes and slow clients.
    Situation {
        name: "probes-fin",
        mechanism: 11,
        core: true,
        play: "exec $PY $P/client.py mode=probe n=80 c=2 every=0.1",
        expect: &[client(&["D8"]), server(&["D8"])],
        never: &["healthy", "D1"],
        ..BASE
    },
    Situation {
        name: "probes-rst",
        mechanism: 11,
        play: "exec $PY $P/client.py mode=probe n=80 c=2 every=0.1 linger=1",
        expect: &[client(&["D8"]), server(&["D8"])],
        never: &["healthy", "D1"],
        ..BASE
    },
    Situation {
        name: "haproxy-checks",
        mechanism: 11,
        needs: &["haproxy"],
        proxy: Some((
            "sed -e s/@REUSE@/safe/ -e 's/@CHECK@/check inter 100ms/' $P/haproxy.cfg > haproxy.cfg && \
             exec haproxy -f haproxy.cfg",
            9000,
        )),
        play: "sleep 5",
        expect: &[client(&["D8"])],
        never: &["healthy", "D1", "D9"],
        counts: &[],
        ..BASE
    },
    Situation {
        name: "haproxy-http-checks",
        mechanism: 11,
        needs: &["haproxy"],
        proxy: Some((
            "sed -e s/@REUSE@/safe/ -e 's/@CHECK@/check inter 100ms/' $P/haproxy.cfg > haproxy.cfg && \
             sed -i 's/http-reuse/option httpchk\\n    http-reuse/' haproxy.cfg && \
             exec haproxy -f haproxy.cfg",
            9000,
        )),
        play: "sleep 5",
        expect: &[client(&["D8"]), server(&["D8"])],
        never: &["healthy", "D1"],
        counts: &[],
        ..BASE
    },
    Situation {
        name: "probes-beside-traffic",
        mechanism: 11,
        play: "$PY $P/client.py mode=until-end c=10 think=0.02 seconds=6 >&2 & \
               exec $PY $P/client.py mode=probe n=80 c=2 every=0.1",
        expect: &[client(&["D8", "healthy"]), server(&["D8", "healthy"])],
        never: &["D1"],
        ..BASE
    },
    Situation {
        name: "slowloris",
        mechanism: 11,
        play: "exec $PY $P/client.py mode=slowloris c=60 every=0.3 seconds=5",
        expect: &[client(&["D8", "D13", "D15"]).or_unsure(), server(&["D8", "D13", "D15"])],
        never: &["healthy", "D1", "D7"],
        ..BASE
    },
    Situation {
        name: "port-scan",
        mechanism: 11,
        port: 0,
        filter: "",
        play: "exec $PY $P/client.py mode=scan n=300 c=2",
        expect: &[client(&["D8", "D9"]).or_unsure()],
        never: &["healthy", "D1"],
        counts: &[],
        ..BASE
    },
    // 12: ports.
    Situation {
        name: "ports-exhausted",
        mechanism: 12,
        core: true,
        at_client: &["sysctl -qw 'net.ipv4.ip_local_port_range=40000 40059'"],
        play: "exec $PY $P/client.py mode=per-request n=400 c=4 think=0.02",
        expect: &[client(&["D10"])],
        also: &["D1", "D6", "D9"],
        never: &["healthy"],
        ..BASE
    },
    Situation {
        name: "bind-before-connect",
        mechanism: 12,
        at_client: &["sysctl -qw 'net.ipv4.ip_local_port_range=40000 40199'"],
        play: "exec $PY $P/client.py mode=per-request n=600 c=4 bind=1 think=0.005",
        expect: &[client(&["D10"])],
        also: &["D1", "D6", "D9"],
        never: &["healthy"],
        ..BASE
    },
    Situation {
        name: "many-destinations",
        mechanism: 12,
        at_client: &["ip route add 10.108.0.0/16 dev wire0"],
        at_server: &["ip route add local 10.108.0.0/16 dev lo"],
        play: "exec $PY $P/client.py mode=many n=2000 c=20",
        expect: &[client(CHURN).or_unsure()],
        never: &["D10", "healthy"],
        counts: &[],
        ..BASE
    },
    // 13: what a lower level knows.
    Situation {
        name: "accept-queue-overflows",
        mechanism: 13,
        core: true,
        serve: "exec $PY $P/server.py mode=noread backlog=4 slow_accept=0.05",
        play: "exec $PY $P/client.py mode=per-request n=80 c=40 deadline=2.2",
        more: LOWEST,
        expect: &[server(&["D9"])],
        also: &["D13", "D14"],
        never: &["healthy"],
        counts: &[],
        ..BASE
    },
    Situation {
        name: "node-blocked-overflows",
        mechanism: 13,
        needs: &["node"],
        serve: "exec node $P/server.js 5000 block",
        play: "exec $PY $P/client.py mode=per-request n=600 c=60 deadline=8",
        more: LOWEST,
        expect: &[server(&["D9"])],
        also: &["D1", "D6"],
        never: &["healthy"],
        counts: &[],
        ..BASE
    },
    Situation {
        name: "refused",
        mechanism: 13,
        play: "exec $PY $P/client.py port=8081 mode=per-request n=80 c=4 think=0.02",
        port: 8081,
        filter: ":8081",
        serve: "",
        more: LOWEST,
        expect: &[client(&["D9"])],
        never: &["healthy"],
        counts: &[Side::Client],
        ..BASE
    },
    // 14: lost evidence.
    Situation {
        name: "watch-stopped",
        mechanism: 14,
        core: true,
        wire: keepwarm_testkit::wire::Conditions::default,
        needs: &["go"],
        serve: "exec $PEER -addr :8080",
        play: "exec $PEER -url http://10.107.0.2:8080/ -mode per-request -n 6000 -c 8",
        events: &[(800, Event::StopWatches(2_500))],
        expect: &[client(&["D1"]).or_unsure(), server(&["D1"]).or_unsure()],
        also: &["D10"],
        never: &["healthy", "D6", "D4", "D5"],
        ..BASE
    },
    Situation {
        name: "watch-stopped-tls",
        mechanism: 14,
        wire: keepwarm_testkit::wire::Conditions::default,
        needs: &["go"],
        serve: "exec $PEER -addr :8080 -tls",
        play: "exec $PEER -url https://10.107.0.2:8080/ -mode per-request -n 1500 -c 8",
        events: &[(800, Event::StopWatches(2_500))],
        expect: &[client(&["D1"]).or_unsure(), server(&["D1"]).or_unsure()],
        also: &["D10"],
        never: &["healthy", "D6", "D4", "D5"],
        ..BASE
    },
    Situation {
        name: "watch-stopped-server-closes",
        mechanism: 14,
        wire: keepwarm_testkit::wire::Conditions::default,
        needs: &["go"],
        serve: "exec $PY $P/server.py close=1",
        play: "exec $PEER -url http://10.107.0.2:8080/ -n 4000 -c 8",
        events: &[(800, Event::StopWatches(2_500))],
        expect: &[client(&["D6"]).or_unsure(), server(&["D6"]).or_unsure()],
        also: &["D10"],
        never: &["healthy", "D4", "D5"],
        ..BASE
    },
    // 15: advice is for what is there.
    Situation {
        name: "node-d4",
        mechanism: 15,
        core: true,
        needs: &["node"],
        serve: "exec node $P/server.js 1000",
        play: "exec $PY $P/client.py mode=checked c=40 think=2.4 seconds=8",
        expect: &[client(&["D4"]), server(&["D4"])],
        never: &["healthy"],
        never_words: &[(Side::Server, "gunicorn"), (Side::Server, "nginx")],
        words: &[(Side::Server, "keepAliveTimeout")],
        ..BASE
    },
    Situation {
        name: "psql-loop",
        mechanism: 15,
        needs: &["psql"],
        port: 5432,
        filter: ":5432",
        serve: POSTGRES,
        play: "for i in $(seq 50); do psql -q -h 10.107.0.2 -U nobody postgres -c 'select 1' > /dev/null; done",
        expect: &[client(CHURN), server(CHURN)],
        never: &["healthy", "D2", "D5"],
        never_words: HTTP,
        ..BASE
    },
    Situation {
        name: "redis-cli-loop",
        mechanism: 15,
        needs: &["redis-server", "redis-cli"],
        port: 6379,
        filter: ":6379",
        serve: "exec redis-server --port 6379 --bind 0.0.0.0 --save '' --protected-mode no",
        play: "for i in $(seq 100); do redis-cli -h 10.107.0.2 get x > /dev/null; done",
        expect: &[client(CHURN), server(CHURN)],
        never: &["healthy", "D2", "D5"],
        never_words: HTTP,
        ..BASE
    },
    Situation {
        name: "curl-loop",
        mechanism: 15,
        needs: &["curl"],
        play: "for i in $(seq 100); do curl -s -o /dev/null http://10.107.0.2:8080/; done",
        expect: &[client(&["D1"]), server(&["D1"])],
        never: &["healthy", "D2", "D5"],
        never_words: &[
            (Side::Client, "requests.Session"),
            (Side::Client, "nginx"),
            (Side::Client, "http.Client"),
            (Side::Client, "HttpClient"),
        ],
        ..BASE
    },
    Situation {
        name: "haproxy-never-reuses",
        mechanism: 15,
        needs: &["haproxy", "go"],
        proxy: Some((
            "sed -e s/@REUSE@/never/ -e s/@CHECK@// $P/haproxy.cfg > haproxy.cfg && \
             sed -i 's/http-reuse/option httpclose\\n    http-reuse/' haproxy.cfg && \
             exec haproxy -f haproxy.cfg",
            9000,
        )),
        serve: "exec $PEER -addr :8080",
        play: "exec $PEER -url http://127.0.0.1:9000/ -n 240 -c 8 -think 5ms",
        expect: &[client(CHURN), server(CHURN)],
        never: &["healthy"],
        never_words: &[(Side::Client, "nginx")],
        words: &[(Side::Client, "haproxy")],
        ..BASE
    },
    Situation {
        name: "nginx-proxy-closes",
        mechanism: 15,
        needs: &["nginx", "go"],
        proxy: Some((
            "sed -e 's/@UPSTREAM@//' -e 's/@LOCATION@//' $P/proxy.conf > proxy.conf && \
             exec nginx -p . -c proxy.conf",
            9000,
        )),
        serve: "exec $PEER -addr :8080",
        play: "exec $PEER -url http://127.0.0.1:9000/ -n 240 -c 8 -think 5ms",
        expect: &[client(CHURN), server(CHURN)],
        never: &["healthy"],
        words: &[(Side::Client, "keepalive")],
        ..BASE
    },
    Situation {
        name: "apache-d4",
        mechanism: 15,
        needs: &["apache2"],
        serve: "{ cat $P/apache.conf; echo KeepAliveTimeout 1; } > apache.conf; echo hello > index.html; \
                exec apache2 -DNO_DETACH -d $PWD -f $PWD/apache.conf",
        play: "exec $PY $P/client.py mode=checked c=40 think=1.7 seconds=7",
        expect: &[client(&["D4"]), server(&["D4"])],
        never: &["healthy"],
        never_words: &[(Side::Server, "gunicorn"), (Side::Server, "node")],
        words: &[(Side::Server, "KeepAliveTimeout")],
        ..BASE
    },
    Situation {
        name: "gunicorn-sync",
        mechanism: 15,
        needs: &["go", "python:gunicorn"],
        serve: "exec $PY -m gunicorn --chdir $P -b 0.0.0.0:8080 app:wsgi",
        play: "exec $PEER -url http://10.107.0.2:8080/ -n 200 -c 4 -think 5ms",
        expect: &[client(&["D6"]), server(&["D6"])],
        never: &["healthy"],
        words: &[(Side::Server, "gunicorn")],
        ..BASE
    },
    Situation {
        name: "uvicorn-d4",
        mechanism: 15,
        needs: &["python:uvicorn"],
        serve: "exec $PY -m uvicorn --app-dir $P --host 0.0.0.0 --port 8080 --timeout-keep-alive 1 \
                --log-level error app:asgi",
        play: "exec $PY $P/client.py mode=checked c=40 think=1.7 seconds=7",
        expect: &[client(&["D4"]), server(&["D4"])],
        never: &["healthy"],
        never_words: &[(Side::Server, "gunicorn")],
        words: &[(Side::Server, "timeout")],
        ..BASE
    },
    Situation {
        name: "apache-loop-urllib",
        mechanism: 15,
        needs: &["apache2"],
        serve: "cat $P/apache.conf > apache.conf; echo hello > index.html; \
                exec apache2 -DNO_DETACH -d $PWD -f $PWD/apache.conf",
        play: "exec $PY -c 'import urllib.request as u; \
               [u.urlopen(\"http://10.107.0.2:8080/index.html\").read() for _ in range(160)]'",
        expect: &[client(CHURN), server(CHURN)],
        never: &["healthy"],
        never_words: &[(Side::Client, "nginx"), (Side::Server, "gunicorn")],
        words: &[(Side::Client, "urllib")],
        ..BASE
    },
    Situation {
        name: "python-http-server",
        mechanism: 15,
        needs: &["go"],
        serve: "exec $PY -m http.server 8080",
        play: "exec $PEER -url http://10.107.0.2:8080/ -n 160 -c 4 -think 5ms",
        expect: &[client(&["D6"]), server(&["D6"])],
        never: &["healthy"],
        never_words: &[(Side::Server, "nginx"), (Side::Server, "gunicorn")],
        words: &[(Side::Server, "http.server")],
        ..BASE
    },
    Situation {
        name: "php-built-in",
        mechanism: 15,
        needs: &["go", "php"],
        serve: "echo '<?php echo \"hello\";' > index.php; exec php -S 0.0.0.0:8080",
        play: "exec $PEER -url http://10.107.0.2:8080/index.php -n 160 -c 4 -think 5ms",
        expect: &[client(&["D6"]), server(&["D6"])],
        never: &["healthy"],
        never_words: &[(Side::Server, "nginx"), (Side::Server, "gunicorn")],
        words: &[(Side::Server, "php")],
        ..BASE
    },
    Situation {
        name: "ruby-loop",
        mechanism: 15,
        needs: &["ruby"],
        play: "exec ruby -rnet/http -e '160.times { Net::HTTP.get(\"10.107.0.2\", \"/\", 8080) }'",
        expect: &[client(CHURN), server(CHURN)],
        never: &["healthy"],
        never_words: &[(Side::Client, "requests.Session"), (Side::Client, "http.Client")],
        words: &[(Side::Client, "ruby")],
        ..BASE
    },
    Situation {
        name: "pgbench-connects-each",
        mechanism: 15,
        needs: &["psql"],
        port: 5432,
        filter: ":5432",
        serve: POSTGRES,
        play: "echo 'select 1;' > one.sql; PATH=$PATH:$(echo /usr/lib/postgresql/*/bin) \
               pgbench -n -C -f one.sql -c 4 -t 30 -h 10.107.0.2 -U nobody postgres > /dev/null",
        expect: &[client(CHURN), server(CHURN)],
        never: &["healthy", "D2", "D5"],
        never_words: HTTP,
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
    // 6: a host has two addresses, and a service two listeners.
    Situation {
        name: "both-families",
        mechanism: 6,
        needs: &["go"],
        serve: "exec $PEER -addr :8080",
        play: concat!(
            v6!(),
            "$PEER -url http://[$A]:8080/ -n 400 -c 4 -mode per-request -think 10ms > /dev/null & \
             exec $PEER -url http://10.107.0.2:8080/ -n 400 -c 4 -mode per-request -think 10ms"
        ),
        expect: &both(CHURN),
        never: &["healthy", "D2", "D4", "D5"],
        // The captures are of one family.
        counts: &[],
        ..BASE
    },
    Situation {
        name: "idle-server-by-ipv6",
        mechanism: 6,
        needs: &["go"],
        serve: "exec $PEER -addr :8080 -idle 1s",
        play: concat!(
            v6!(),
            "exec $PEER -url http://[$A]:8080/ -n 400 -c 40 -think 1500ms -for 8s"
        ),
        expect: &both(&["D4"]),
        never: &["healthy", "D1", "D11"],
        counts: &[],
        ..BASE
    },
    Situation {
        name: "two-listeners-of-a-port",
        mechanism: 6,
        serve: "sed -i 's/SO_REUSEADDR, 1/SO_REUSEPORT, 1/' $P/server.py; \
                $PY $P/server.py & exec $PY $P/server.py",
        play: "exec $PY $P/client.py mode=per-request n=400 c=8",
        expect: &both(CHURN),
        never: &["healthy", "D4", "D5"],
        ..BASE
    },
    // 15 and 1: databases with an idle timeout, and a server that takes new settings.
    Situation {
        name: "redis-idle-timeout",
        mechanism: 15,
        needs: &["redis-server"],
        port: 6379,
        filter: ":6379",
        serve: "exec redis-server --port 6379 --bind 0.0.0.0 --save '' --protected-mode no --timeout 1",
        play: "exec $PY $P/pings.py 30 2.6 9",
        expect: &both(&["D4"]),
        never: &["healthy", "D1", "D6", "D11"],
        never_words: HTTP,
        ..BASE
    },
    Situation {
        name: "nginx-reloads",
        mechanism: 1,
        needs: &["nginx", "go"],
        serve: "sed -e 's/@SSL@//' -e 's/@MORE@//' -e 's/master_process off;//' $P/nginx.conf > nginx.conf; \
                (sleep 4; for i in 1 2 3; do kill -HUP $(cat nginx.pid); sleep 1.5; done) & \
                exec nginx -p . -c nginx.conf",
        play: "exec $PEER -url http://10.107.0.2:8080/ -c 20 -think 20ms -n 100000 -for 7s",
        expect: &both(HEALTHY),
        never: &["D1", "D4", "D5", "D6"],
        ..BASE
    },
    // 5: the server ends its timeouts by a reset.
    Situation {
        name: "nginx-resets-timeouts",
        mechanism: 5,
        needs: &["nginx"],
        serve: "sed -e 's/@SSL@//' -e 's/@MORE@/keepalive_timeout 1s; reset_timedout_connection on;/' \
                $P/nginx.conf > nginx.conf; exec nginx -p . -c nginx.conf",
        play: "exec $PY $P/client.py mode=checked c=40 think=1.6 seconds=7",
        expect: &both(&["D4"]),
        never: &["healthy", "D1", "D3"],
        ..BASE
    },
];
