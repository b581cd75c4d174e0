//! D4: the server's keep-alive timeout is shorter than the client's.

use super::advise;
use crate::knowledge::Kind::{
    Apache, Curl, Dotnet, Go, Gunicorn, Haproxy, Hypercorn, Java, Keepwarm, Nginx, Node, Php,
    Postgres, Python, Redis, Ruby, Rust, Shell, Uvicorn,
};
use crate::knowledge::range::{ANY, before, since};
use crate::knowledge::{Advice, source};

pub(super) const ADVICE: &[Advice] = &[
    advise(
        "D4",
        (Node, before("26")),
        &["server.keepAliveTimeout", "timeout"],
        "as a server: server.keepAliveTimeout above the idle timeout of every client and load balancer \
         before it (the default is 5 s before Node 26); as a client: an Agent whose timeout is below \
         the server's",
        source::NODE_SERVER,
    ),
    advise(
        "D4",
        (Node, since("26")),
        &["server.keepAliveTimeout", "timeout"],
        "as a server: server.keepAliveTimeout above the idle timeout of every client and load balancer \
         before it (the default is 65 s since Node 26); as a client: an Agent whose timeout is below \
         the server's",
        source::NODE_65,
    ),
    advise(
        "D4",
        (Go, ANY),
        &["Transport.IdleConnTimeout", "Server.IdleTimeout"],
        "as a client: Transport.IdleConnTimeout at 0.8 of the server's keep-alive timeout (the default \
         is 90 s); as a server: Server.IdleTimeout above its clients'",
        source::GO_TRANSPORT,
    ),
    advise(
        "D4",
        (Python, ANY),
        &["--timeout-keep-alive", "--keep-alive", "keepalive_expiry", "keepalive_timeout"],
        "as a server: uvicorn --timeout-keep-alive, gunicorn --keep-alive above the clients' idle \
         timeout; as a client: httpx keepalive_expiry, aiohttp keepalive_timeout below the server's \
         (requests has none: retry what may be repeated)",
        source::UVICORN,
    ),
    advise(
        "D4",
        (Uvicorn, ANY),
        &["--timeout-keep-alive"],
        "--timeout-keep-alive above the clients' idle timeout (the default is 5 s)",
        source::UVICORN,
    ),
    advise(
        "D4",
        (Gunicorn, ANY),
        &["--keep-alive"],
        "--keep-alive above the clients' idle timeout (the default is 2 s)",
        source::GUNICORN,
    ),
    advise(
        "D4",
        (Hypercorn, ANY),
        &["--keep-alive of hypercorn"],
        "raise the timeout (--keep-alive of hypercorn, 5 s by default) above the clients' idle timeout",
        source::HYPERCORN,
    ),
    advise(
        "D4",
        (Nginx, since("1.15.3")),
        &["keepalive_timeout", "keepalive_timeout in upstream {}"],
        "as a server: keepalive_timeout above the clients' idle timeout; towards an upstream: \
         keepalive_timeout in upstream {} below the upstream's own",
        source::NGINX_UPSTREAM,
    ),
    advise(
        "D4",
        (Nginx, before("1.15.3")),
        &["keepalive_timeout"],
        "as a server: keepalive_timeout above the clients' idle timeout; towards an upstream: the \
         upstream's own above all else, for before 1.15.3 nginx keeps idle connections without an end",
        source::NGINX_CORE,
    ),
    advise(
        "D4",
        (Java, since("11")),
        &["-Djdk.httpclient.keepalive.timeout", "keepAliveTimeout"],
        "as a client: -Djdk.httpclient.keepalive.timeout below the server's keep-alive timeout (in \
         seconds; the default is 30 since Java 20, 1200 before); as a server: keepAliveTimeout of \
         Tomcat above its clients'",
        source::JDK_30,
    ),
    advise(
        "D4",
        (Java, before("11")),
        &["keepAliveTimeout"],
        "as a client: HttpURLConnection goes by the server's Keep-Alive header, so let it send one; as \
         a server: keepAliveTimeout of Tomcat above its clients'",
        source::JAVA_NET,
    ),
    advise(
        "D4",
        (Dotnet, ANY),
        &["PooledConnectionIdleTimeout", "KeepAliveTimeout"],
        "as a client: PooledConnectionIdleTimeout below the server's keep-alive timeout; as a server: \
         KeepAliveTimeout of Kestrel's Limits above its clients'",
        source::DOTNET_HANDLER,
    ),
    advise(
        "D4",
        (Ruby, ANY),
        &["keep_alive_timeout", "persistent_timeout"],
        "as a client: keep_alive_timeout of Net::HTTP below the server's (the default is 2 s); as a \
         server: Puma's persistent_timeout above its clients'",
        source::NET_HTTP,
    ),
    advise(
        "D4",
        (Php, since("8.2")),
        &["CURLOPT_MAXAGE_CONN"],
        "CURLOPT_MAXAGE_CONN below the server's keep-alive timeout, in seconds; the default is 118",
        source::CURL_AGE,
    ),
    advise(
        "D4",
        (Php, before("8.2")),
        &[],
        "raise the server's keep-alive timeout above 118 s, which curl keeps idle connections for",
        source::CURL_AGE,
    ),
    advise(
        "D4",
        (Rust, ANY),
        &["pool_idle_timeout"],
        "as a client: pool_idle_timeout below the server's keep-alive timeout (the default is 90 s)",
        source::REQWEST,
    ),
    advise(
        "D4",
        (Apache, ANY),
        &["KeepAliveTimeout", "ttl"],
        "as a server: KeepAliveTimeout above the clients' idle timeout (the default is 5 s); towards a \
         backend: ttl of ProxyPass below the backend's",
        source::APACHE,
    ),
    advise(
        "D4",
        (Haproxy, ANY),
        &["timeout http-keep-alive", "pool-purge-delay"],
        "as a server: timeout http-keep-alive above the clients' idle timeout; towards a server: \
         pool-purge-delay below the server's",
        source::HAPROXY,
    ),
    advise(
        "D4",
        (Curl, ANY),
        &[],
        "raise the server's idle timeout: curl keeps connections for 118 s within one process",
        source::CURL_AGE,
    ),
    advise(
        "D4",
        (Postgres, ANY),
        &["idle_session_timeout"],
        "idle_session_timeout (0 by default: never) above the idle time of the pools before it",
        source::POSTGRES,
    ),
    advise(
        "D4",
        (Redis, ANY),
        &["timeout"],
        "timeout in redis.conf (0 by default: never) above the idle time of the pools before it",
        source::REDIS_CONF,
    ),
    advise(
        "D4",
        (Shell, ANY),
        &[],
        "a script that keeps a connection has to use it more often than the peer's idle timeout",
        source::BASH,
    ),
    advise(
        "D4",
        (Keepwarm, ANY),
        &["idle_timeout"],
        "idle_timeout below the server's; its Keep-Alive advice is honoured",
        source::KEEPWARM,
    ),
];
