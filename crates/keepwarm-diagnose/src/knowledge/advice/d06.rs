//! D6: Connection: close, or HTTP/1.0.

use super::advise;
use crate::knowledge::Kind::{
    Apache, Curl, Dotnet, Go, Gunicorn, Haproxy, HttpServer, Java, Keepwarm, Nginx, Node, Php,
    Postgres, Python, Redis, Ruby, Rust, Shell, Werkzeug,
};
use crate::knowledge::range::{ANY, before, since};
use crate::knowledge::{Advice, source};

pub(super) const ADVICE: &[Advice] = &[
    advise(
        "D6",
        (Nginx, before("1.29.7")),
        &["keepalive", "proxy_http_version"],
        "towards an upstream this is the default: in upstream {} set `keepalive 32;`, and where it is \
         proxied to `proxy_http_version 1.1;` and `proxy_set_header Connection \"\";`",
        source::NGINX_UPSTREAM,
    ),
    advise(
        "D6",
        (Nginx, since("1.29.7")),
        &["keepalive", "proxy_http_version"],
        "look for `keepalive 0;`, `proxy_http_version 1.0;` or `proxy_set_header Connection close;`: \
         without them connections to an upstream {} are kept",
        source::NGINX_UPSTREAM,
    ),
    advise(
        "D6",
        (Go, ANY),
        &["Transport.DisableKeepAlives", "Server.SetKeepAlivesEnabled"],
        "look for Transport.DisableKeepAlives, Request.Close, or Server.SetKeepAlivesEnabled(false)",
        source::GO_TRANSPORT,
    ),
    advise(
        "D6",
        (Python, ANY),
        &["--worker-class", "protocol_version", "run_simple", "urllib.request.urlopen"],
        "as a server: gunicorn's sync worker, http.server (protocol_version HTTP/1.0) and Werkzeug's \
         run_simple close after each response: take a --worker-class that keeps connections (gthread, \
         uvicorn); as a client: urllib.request.urlopen says Connection: close, a requests.Session does \
         not",
        source::GUNICORN,
    ),
    advise(
        "D6",
        (Gunicorn, ANY),
        &["--worker-class"],
        "the sync worker closes after each response: take a --worker-class that keeps connections \
         (gthread, uvicorn's)",
        source::GUNICORN,
    ),
    advise(
        "D6",
        (HttpServer, ANY),
        &["protocol_version"],
        "http.server closes after each response: set protocol_version of its handler to HTTP/1.1, or \
         take a server for production",
        source::HTTP_SERVER,
    ),
    advise(
        "D6",
        (Werkzeug, ANY),
        &["run_simple"],
        "the development server (run_simple, flask run) says Connection: close: take a server for \
         production",
        source::WERKZEUG,
    ),
    advise(
        "D6",
        (Node, before("19")),
        &["keepAlive", "http.globalAgent"],
        "http.globalAgent and an Agent without keepAlive send Connection: close: new http.Agent({ \
         keepAlive: true })",
        source::NODE_AGENT,
    ),
    advise(
        "D6",
        (Node, since("19")),
        &["keepAlive"],
        "an Agent without keepAlive sends Connection: close: new http.Agent({ keepAlive: true })",
        source::NODE_AGENT,
    ),
    advise(
        "D6",
        (Php, ANY),
        &["php -S", "php-fpm", "file_get_contents"],
        "as a client: file_get_contents says Connection: close, curl does not; as a server: php -S \
         closes after each response, and php-fpm unless the proxy asks to keep its connection",
        source::PHP_HTTP,
    ),
    advise(
        "D6",
        (Apache, ANY),
        &["KeepAlive", "disablereuse"],
        "as a server: look for KeepAlive Off; towards a backend: for disablereuse=On, and for \
         force-proxy-request-1.0 or proxy-nokeepalive",
        source::APACHE,
    ),
    advise(
        "D6",
        (Haproxy, ANY),
        &["option httpclose", "http-reuse"],
        "look for option httpclose; with http-reuse never a connection to a server ends with its client's",
        source::HAPROXY,
    ),
    advise(
        "D6",
        (Curl, ANY),
        &["--next"],
        "look for -H 'Connection: close' and --http1.0; each process opens a connection of its own: give \
         one call several URLs (--next)",
        source::CURL,
    ),
    advise(
        "D6",
        (Postgres, ANY),
        &["psql"],
        "each psql opens and ends a session of its own: give one psql all statements (-f, or a pipe), \
         and let a program use a pool (pgbouncer, or its driver's)",
        source::LIBPQ,
    ),
    advise(
        "D6",
        (Redis, ANY),
        &["redis-cli"],
        "each redis-cli opens and ends a connection of its own: give one redis-cli all commands by a \
         pipe, and let a program keep one client",
        source::REDIS,
    ),
    advise(
        "D6",
        (Shell, ANY),
        &["/dev/tcp"],
        "each command of a script, or run of a cron job, opens a connection of its own: do several \
         exchanges in one process, or keep the descriptor of /dev/tcp open",
        source::BASH,
    ),
    advise(
        "D6",
        (Ruby, ANY),
        &["Net::HTTP.start"],
        "a Net::HTTP that was not started says Connection: close in each request: send them within \
         Net::HTTP.start",
        source::NET_HTTP,
    ),
    advise(
        "D6",
        (Java, ANY),
        &["-Dhttp.keepAlive"],
        "look for -Dhttp.keepAlive=false, and for a Connection: close that the program or a filter of \
         the server sets",
        source::JAVA_NET,
    ),
    advise(
        "D6",
        (Dotnet, ANY),
        &["ConnectionClose"],
        "look for DefaultRequestHeaders.ConnectionClose = true, and for a response that sets \
         Connection: close",
        source::DOTNET,
    ),
    advise(
        "D6",
        (Rust, ANY),
        &["pool_max_idle_per_host"],
        "look for a Connection: close header, for HTTP/1.0, and for pool_max_idle_per_host(0)",
        source::REQWEST,
    ),
    advise(
        "D6",
        (Keepwarm, ANY),
        &["keep_alive"],
        "look for keep_alive(false), and for a server that answers Connection: close",
        source::KEEPWARM,
    ),
];
