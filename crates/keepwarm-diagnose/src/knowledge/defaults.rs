//! Defaults of programs: one line a setting, with the versions it holds for and its source.
//!
//! To add one, see "The knowledge base" in CONTRIBUTING.md. `setting` is the name as one writes it,
//! so that advice can name it too; a value by which a program can be recognised from outside stands
//! around the line: `closes_after` for the idle timeout of a server, `keeps` for the idle set of a
//! client.

use super::Kind::{
    Apache, Curl, Dotnet, Go, Gunicorn, Haproxy, HttpServer, Hypercorn, Java, Keepwarm, Nginx,
    Node, Php, Postgres, Python, Redis, Ruby, Rust, Shell, Uvicorn, Werkzeug,
};
use super::range::{ANY, before, between, since};
use super::source;
use super::{Fact, Kind, Range};

/// A default by which no program is recognised.
const fn fact(
    kind: Kind,
    program: &'static str,
    versions: Range,
    setting: &'static str,
    default: &'static str,
    source: &'static str,
) -> Fact {
    Fact { kind, program, versions, setting, default, server_idle_ms: None, idle_set: None, source }
}

const fn closes_after(ms: u32, fact: Fact) -> Fact {
    Fact { server_idle_ms: Some(ms), ..fact }
}

const fn keeps(idle: u32, fact: Fact) -> Fact {
    Fact { idle_set: Some(idle), ..fact }
}

const GO: &str = "Go net/http";
const NODE: &str = "node http.Server";
const JDK: &str = "java.net.http.HttpClient";
const URL_CONNECTION: &str = "HttpURLConnection";
const UPSTREAM: &str = "nginx towards an upstream";
const HANDLER: &str = "SocketsHttpHandler";

/// The defaults.
#[rustfmt::skip] // One line a fact reads as the table it is.
pub const DEFAULTS: &[Fact] = &[
    keeps(2, fact(Go, GO, ANY, "Transport.MaxIdleConnsPerHost", "2", source::GO_TRANSPORT)),
    fact(Go, GO, ANY, "Transport.MaxIdleConns", "100 in DefaultTransport, no limit in another", source::GO_TRANSPORT),
    fact(Go, GO, ANY, "Transport.IdleConnTimeout", "90 s in DefaultTransport, none in another", source::GO_TRANSPORT),
    fact(Go, GO, ANY, "Transport.DisableKeepAlives", "false", source::GO_TRANSPORT),
    fact(Go, GO, before("1.27"), "Body.Close", "on an unread body closes the connection", source::GO_DRAIN),
    fact(Go, GO, since("1.27"), "Body.Close", "reads on for up to 256 KiB, then closes the connection", source::GO_DRAIN),
    fact(Go, GO, ANY, "Client.Timeout", "none", source::GO_CLIENT),
    fact(Go, "Go net/http server", ANY, "Server.IdleTimeout", "ReadTimeout; none if that is not set", source::GO_SERVER),
    fact(Go, "Go net/http server", ANY, "Server.SetKeepAlivesEnabled", "true", source::GO_SERVER),

    fact(Python, "requests", ANY, "requests.get", "a new Session for each call", source::REQUESTS),
    keeps(10, fact(Python, "requests", ANY, "pool_maxsize", "10 a host (HTTPAdapter)", source::REQUESTS)),
    fact(Python, "requests", ANY, "stream", "False: the body is read whole", source::REQUESTS),
    fact(Python, "requests", ANY, "timeout=", "none", source::REQUESTS_TIMEOUT),
    fact(Python, "urllib.request", ANY, "urllib.request.urlopen", "a connection for each call: it says Connection: close", source::URLLIB),
    fact(Werkzeug, "Werkzeug (Flask's own server)", ANY, "run_simple", "says Connection: close in each response", source::WERKZEUG),
    fact(Python, "urllib3", ANY, "maxsize", "1 a host (PoolManager)", source::URLLIB3),
    fact(Python, "httpx", ANY, "httpx.get", "a new Client for each call", source::HTTPX),
    keeps(20, fact(Python, "httpx", ANY, "max_keepalive_connections", "20 (Limits)", source::HTTPX)),
    fact(Python, "httpx", ANY, "keepalive_expiry", "5 s (Limits)", source::HTTPX),
    fact(Python, "aiohttp", ANY, "limit", "100, and no limit for each host (TCPConnector)", source::AIOHTTP),
    fact(Python, "aiohttp", ANY, "keepalive_timeout", "15 s (TCPConnector)", source::AIOHTTP),
    closes_after(5_000, fact(Uvicorn, "uvicorn", ANY, "--timeout-keep-alive", "5 s", source::UVICORN)),
    closes_after(2_000, fact(Gunicorn, "gunicorn with a worker that keeps connections", ANY, "--keep-alive", "2 s", source::GUNICORN)),
    closes_after(5_000, fact(Hypercorn, "hypercorn", ANY, "--keep-alive of hypercorn", "5 s", source::HYPERCORN)),
    fact(Gunicorn, "gunicorn", ANY, "--worker-class", "sync, which closes after each response", source::GUNICORN),
    closes_after(75_000, fact(Python, "aiohttp.web", ANY, "run_app(keepalive_timeout)", "75 s", source::AIOHTTP_WEB)),
    fact(HttpServer, "http.server", ANY, "protocol_version", "HTTP/1.0: closes after each response", source::HTTP_SERVER),

    fact(Node, "node http.Agent", ANY, "keepAlive", "false in an Agent of one's own", source::NODE_AGENT),
    fact(Node, "node http.Agent", ANY, "maxFreeSockets", "256 a host", source::NODE_AGENT),
    fact(Node, "node http.Agent", ANY, "timeout", "none in an Agent of one's own", source::NODE_AGENT),
    fact(Node, "node http.globalAgent", before("19"), "http.globalAgent", "keeps nothing", source::NODE_AGENT),
    fact(Node, "node http.globalAgent", since("19"), "http.globalAgent", "keeps idle sockets for 5 s", source::NODE_AGENT),
    fact(Node, "node fetch and http", ANY, "AbortSignal.timeout", "none", source::ABORT_SIGNAL),
    fact(Node, "node http", ANY, "response.resume()", "not called: a body waits to be read", source::NODE_AGENT),
    fact(Node, "undici (fetch)", ANY, "keepAliveTimeout of undici", "4 s", source::UNDICI),
    closes_after(5_000, fact(Node, NODE, before("18"), "server.keepAliveTimeout", "5 s", source::NODE_SERVER)),
    // Seen to close a second later: Node adds keepAliveTimeoutBuffer, or its check of connections
    // comes round.
    closes_after(6_000, fact(Node, NODE, between("18", "26"), "server.keepAliveTimeout", "5 s, and a second", source::NODE_SERVER)),
    closes_after(66_000, fact(Node, NODE, since("26"), "server.keepAliveTimeout", "65 s, and a second", source::NODE_65)),

    fact(Nginx, UPSTREAM, before("1.29.7"), "keepalive", "off: a connection for each request", source::NGINX_UPSTREAM),
    fact(Nginx, UPSTREAM, since("1.29.7"), "keepalive", "32 a worker", source::NGINX_UPSTREAM),
    fact(Nginx, UPSTREAM, before("1.29.7"), "proxy_http_version", "1.0", source::NGINX_PROXY),
    fact(Nginx, UPSTREAM, since("1.29.7"), "proxy_http_version", "1.1", source::NGINX_PROXY),
    fact(Nginx, UPSTREAM, ANY, "proxy_read_timeout", "60 s", source::NGINX_PROXY),
    fact(Nginx, "nginx towards FastCGI (php-fpm)", ANY, "fastcgi_keep_conn", "off: a connection for each request", source::NGINX_FASTCGI),
    fact(Nginx, UPSTREAM, ANY, "proxy_ignore_client_abort", "off: a client that leaves ends the upstream's response too", source::NGINX_PROXY),
    fact(Nginx, UPSTREAM, since("1.15.3"), "keepalive_timeout in upstream {}", "60 s", source::NGINX_UPSTREAM),
    closes_after(75_000, fact(Nginx, "nginx", ANY, "keepalive_timeout", "75 s", source::NGINX_CORE)),
    fact(Nginx, "nginx", before("1.19.10"), "keepalive_requests", "100", source::NGINX_CORE),
    fact(Nginx, "nginx", since("1.19.10"), "keepalive_requests", "1000", source::NGINX_CORE),

    keeps(5, fact(Java, URL_CONNECTION, ANY, "-Dhttp.maxConnections", "5 a host", source::JAVA_NET)),
    fact(Java, URL_CONNECTION, ANY, "-Dhttp.keepAlive", "true", source::JAVA_NET),
    fact(Java, URL_CONNECTION, ANY, "disconnect()", "closes the connection, unless its body was read to the end", source::JAVA_NET),
    fact(Java, JDK, since("11"), "HttpClient.newHttpClient()", "a pool of its own for each client", source::JAVA_CLIENT),
    fact(Java, JDK, since("11"), "-Djdk.httpclient.connectionPoolSize", "no limit", source::JAVA_CLIENT),
    fact(Java, JDK, between("11", "20"), "-Djdk.httpclient.keepalive.timeout", "1200 s", source::JDK_30),
    fact(Java, JDK, since("20"), "-Djdk.httpclient.keepalive.timeout", "30 s", source::JDK_30),
    keeps(5, fact(Java, "Apache HttpClient 5", ANY, "setMaxConnPerRoute", "5, and 25 in all; further requests queue", source::APACHE_CLIENT)),
    keeps(5, fact(Java, "OkHttp", ANY, "ConnectionPool", "5 idle in all, for 5 min", source::OKHTTP)),
    fact(Java, "Tomcat", ANY, "maxKeepAliveRequests", "100", source::TOMCAT),
    closes_after(60_000, fact(Java, "Tomcat", ANY, "keepAliveTimeout", "that of connectionTimeout, 60 s", source::TOMCAT)),
    closes_after(20_000, fact(Java, "Tomcat as it is shipped", ANY, "connectionTimeout", "20 s in its server.xml", source::TOMCAT)),

    fact(Dotnet, "HttpClient", ANY, "new HttpClient()", "a pool of its own for each client", source::DOTNET),
    fact(Dotnet, HANDLER, before("6"), "PooledConnectionIdleTimeout", "2 min", source::DOTNET_HANDLER),
    fact(Dotnet, HANDLER, since("6"), "PooledConnectionIdleTimeout", "1 min", source::DOTNET_HANDLER),
    fact(Dotnet, HANDLER, ANY, "MaxConnectionsPerServer", "no limit", source::DOTNET_HANDLER),
    fact(Dotnet, HANDLER, ANY, "MaxResponseDrainSize", "1 MiB are read of a body that is not wanted", source::DOTNET_HANDLER),
    fact(Dotnet, "HttpClient", ANY, "ConnectionClose", "null: the connection is kept", source::DOTNET),
    closes_after(130_000, fact(Dotnet, "Kestrel", ANY, "KeepAliveTimeout", "130 s", source::KESTREL)),

    fact(Php, "PHP curl", ANY, "curl_init()", "connections of its own, which end with it and with the request", source::PHP_SHARE),
    fact(Php, "PHP curl", since("8.5"), "curl_share_init_persistent", "not called: connections end with the request", source::PHP_SHARE),
    fact(Php, "PHP curl", since("8.2"), "CURLOPT_MAXAGE_CONN", "118 s", source::CURL_AGE),
    fact(Php, "php-fpm", ANY, "php-fpm", "closes each FastCGI connection unless the proxy asks to keep it", source::NGINX_FASTCGI),
    fact(Php, "PHP streams", ANY, "file_get_contents", "says Connection: close", source::PHP_HTTP),
    fact(Php, "php -S", ANY, "php -S", "closes after each response", source::PHP_SERVER),

    fact(Ruby, "Net::HTTP", ANY, "Net::HTTP.get", "a connection for each call", source::NET_HTTP),
    fact(Ruby, "Net::HTTP", ANY, "Net::HTTP.start", "not called: each request says Connection: close", source::NET_HTTP),
    fact(Ruby, "Net::HTTP", ANY, "keep_alive_timeout", "2 s", source::NET_HTTP),
    closes_after(20_000, fact(Ruby, "Puma before 7.0", ANY, "persistent_timeout", "20 s", source::PUMA)),
    closes_after(65_000, fact(Ruby, "Puma since 7.0", ANY, "persistent_timeout", "65 s", source::PUMA)),

    fact(Rust, "reqwest", ANY, "reqwest::get()", "a new Client for each call", source::REQWEST_GET),
    fact(Rust, "reqwest", ANY, "pool_max_idle_per_host", "no limit", source::REQWEST),
    fact(Rust, "reqwest", ANY, "pool_idle_timeout", "90 s", source::REQWEST),

    closes_after(5_000, fact(Apache, "Apache httpd", ANY, "KeepAliveTimeout", "5 s", source::APACHE)),
    fact(Apache, "Apache httpd", ANY, "MaxKeepAliveRequests", "100", source::APACHE),
    fact(Apache, "Apache httpd", ANY, "KeepAlive", "On", source::APACHE),
    fact(Apache, "Apache mod_proxy", ANY, "disablereuse", "Off: connections to a backend are kept", source::APACHE_PROXY),
    fact(Apache, "Apache mod_proxy", ANY, "ttl", "none: idle connections to a backend are kept", source::APACHE_PROXY),

    fact(Haproxy, "haproxy", ANY, "http-reuse", "safe: idle connections are shared with care", source::HAPROXY),
    fact(Haproxy, "haproxy", ANY, "pool-max-conn", "no limit", source::HAPROXY),
    fact(Haproxy, "haproxy", ANY, "pool-purge-delay", "5 s", source::HAPROXY),
    fact(Haproxy, "haproxy", ANY, "timeout http-keep-alive", "timeout http-request; timeout client if that is not set", source::HAPROXY),
    fact(Haproxy, "haproxy", ANY, "option httpclose", "off: connections are kept", source::HAPROXY),
    fact(Haproxy, "haproxy", ANY, "inter", "2 s between health checks, each a connection", source::HAPROXY),
    fact(Haproxy, "haproxy", ANY, "timeout server", "none; advised is a value", source::HAPROXY),

    fact(Curl, "curl", ANY, "--next", "one call keeps its connections, and they end with the process", source::CURL),
    fact(Curl, "curl", ANY, "--max-time", "none", source::CURL),

    fact(Postgres, "psql", ANY, "psql", "one connection for each process", source::LIBPQ),
    fact(Postgres, "PostgreSQL", ANY, "idle_session_timeout", "0: sessions stay", source::POSTGRES),

    fact(Redis, "redis-cli", ANY, "redis-cli", "one connection for each process", source::REDIS),
    fact(Redis, "redis-server", ANY, "timeout", "0: idle connections stay", source::REDIS_CONF),

    fact(Shell, "bash", ANY, "/dev/tcp", "one connection for each redirection", source::BASH),

    fact(Keepwarm, "keepwarm", ANY, "max_idle_per_origin", "no limit", source::KEEPWARM),
    fact(Keepwarm, "keepwarm", ANY, "idle_timeout", "90 s", source::KEEPWARM),
    fact(Keepwarm, "keepwarm", ANY, "keep_alive", "true", source::KEEPWARM),
];
