//! D2: fewer may idle than are used at once.

use super::advise;
use crate::knowledge::Kind::{Dotnet, Go, Java, Keepwarm, Nginx, Node, Python, Rust};
use crate::knowledge::range::ANY;
use crate::knowledge::{Advice, source};

pub(super) const ADVICE: &[Advice] = &[
    advise(
        "D2",
        (Go, ANY),
        &["Transport.MaxIdleConnsPerHost"],
        "set Transport.MaxIdleConnsPerHost to at least the peak of simultaneous requests (and \
         MaxIdleConns to the sum over hosts); the default is 2",
        source::GO_TRANSPORT,
    ),
    advise(
        "D2",
        (Python, ANY),
        &["pool_maxsize", "max_keepalive_connections"],
        "requests: session.mount(\"http://\", HTTPAdapter(pool_maxsize=N)), default 10; httpx: \
         Limits(max_keepalive_connections=N), default 20; N at least the peak of simultaneous \
         requests",
        source::REQUESTS,
    ),
    advise(
        "D2",
        (Node, ANY),
        &["maxFreeSockets"],
        "raise maxFreeSockets of the http.Agent to the peak of simultaneous requests",
        source::NODE_AGENT,
    ),
    advise(
        "D2",
        (Java, ANY),
        &["-Dhttp.maxConnections", "ConnectionPool", "setMaxConnPerRoute"],
        "raise the pool to the peak of simultaneous requests: -Dhttp.maxConnections=N \
         (HttpURLConnection, default 5), ConnectionPool(N, ...) (OkHttp, 5), setMaxConnPerRoute(N) \
         (Apache, 5)",
        source::JAVA_NET,
    ),
    advise(
        "D2",
        (Nginx, ANY),
        &["keepalive"],
        "raise `keepalive N;` in upstream {}: N idle connections for each worker process",
        source::NGINX_UPSTREAM,
    ),
    advise(
        "D2",
        (Rust, ANY),
        &["pool_max_idle_per_host"],
        "raise pool_max_idle_per_host to the peak of simultaneous requests, or leave it unset: no limit",
        source::REQWEST,
    ),
    advise(
        "D2",
        (Dotnet, ANY),
        &["MaxConnectionsPerServer"],
        "share one HttpClient; its SocketsHttpHandler keeps every connection, and \
         MaxConnectionsPerServer makes requests wait instead",
        source::DOTNET_HANDLER,
    ),
    advise(
        "D2",
        (Keepwarm, ANY),
        &["max_idle_per_origin"],
        "raise max_idle_per_origin, or leave it unset: no limit",
        source::KEEPWARM,
    ),
];
