//! Settings to change: one entry for each finding in each runtime, with the versions it is for.
//!
//! To add one, see "The knowledge base" in CONTRIBUTING.md. The order is that of likelihood: where
//! the program is not recognised, the first two runtimes of a finding are shown. The settings that
//! a text names are listed before it, and stand among the defaults: so no setting is advised that
//! does not exist in the versions that the advice is for. Steps that depend on no runtime are in
//! `steps`.

use super::Kind::{
    Apache, Curl, Dotnet, Go, Gunicorn, Haproxy, HttpServer, Hypercorn, Java, Keepwarm, Nginx,
    Node, Php, Postgres, Python, Redis, Ruby, Rust, Shell, Uvicorn, Werkzeug,
};
use super::range::{ANY, before, since};
use super::source;
use super::{Advice, Kind, Range};

const fn advise(
    code: &'static str,
    (kind, versions): (Kind, Range),
    settings: &'static [&'static str],
    text: &'static str,
    source: &'static str,
) -> Advice {
    Advice { code, kind, versions, settings, text, source }
}

/// The advice.
pub const ADVICE: &[Advice] = &[
    // ---- D1: a client for each request ----------------------------------------------------------
    advise(
        "D1",
        (Go, ANY),
        &[],
        "make one http.Client (and one Transport) when the program starts and share it; a Transport \
         for each request also leaks its idle connection",
        source::GO_TRANSPORT,
    ),
    advise(
        "D1",
        (Python, ANY),
        &["requests.get", "httpx.get", "urllib.request.urlopen"],
        "share one requests.Session, httpx.Client or aiohttp.ClientSession; requests.get(), \
         httpx.get(), urllib.request.urlopen() and a session for each call open a connection each",
        source::REQUESTS,
    ),
    advise(
        "D1",
        (Node, before("19")),
        &["keepAlive", "http.globalAgent"],
        "pass one http.Agent({ keepAlive: true }) to every request; before Node 19 http.globalAgent \
         keeps nothing, and neither does an Agent without it",
        source::NODE_AGENT,
    ),
    advise(
        "D1",
        (Node, since("19")),
        &["keepAlive", "http.globalAgent"],
        "leave requests to http.globalAgent, which keeps connections, or pass one http.Agent({ \
         keepAlive: true }) to all of them; an Agent of one's own has keepAlive off",
        source::NODE_AGENT,
    ),
    advise(
        "D1",
        (Java, since("11")),
        &["HttpClient.newHttpClient()", "disconnect()"],
        "make one HttpClient, OkHttpClient or CloseableHttpClient and share it: \
         HttpClient.newHttpClient() for each call has a pool each; of an HttpURLConnection, read the \
         body to its end before disconnect()",
        source::JAVA_CLIENT,
    ),
    advise(
        "D1",
        (Java, before("11")),
        &["disconnect()"],
        "make one OkHttpClient or CloseableHttpClient and share it; of an HttpURLConnection, read the \
         body to its end before disconnect()",
        source::JAVA_NET,
    ),
    advise(
        "D1",
        (Dotnet, ANY),
        &["new HttpClient()"],
        "share one HttpClient, or take it from IHttpClientFactory: each new HttpClient() has a pool \
         of its own, and disposing of it closes its connections",
        source::DOTNET,
    ),
    advise(
        "D1",
        (Php, since("8.5")),
        &["curl_init()", "curl_share_init_persistent", "file_get_contents"],
        "share connections between requests: curl_share_init_persistent with CURL_LOCK_DATA_CONNECT; \
         within one, keep one curl handle (curl_init() once); file_get_contents keeps none",
        source::PHP_SHARE,
    ),
    advise(
        "D1",
        (Php, before("8.5")),
        &["curl_init()", "file_get_contents"],
        "within a request keep one curl handle (curl_init() once; file_get_contents keeps none); \
         beyond it connections end with the request before PHP 8.5: put a local proxy with upstream \
         keep-alive in between",
        source::PHP_SHARE,
    ),
    advise(
        "D1",
        (Ruby, ANY),
        &["Net::HTTP.get", "Net::HTTP.start"],
        "keep what Net::HTTP.start gives and send every request on it, or use a client that has a pool \
         (net-http-persistent, httpx, Faraday with one of them); Net::HTTP.get opens a connection each",
        source::NET_HTTP,
    ),
    advise(
        "D1",
        (Rust, ANY),
        &["reqwest::get()"],
        "make one reqwest::Client (or keepwarm::Client) and clone it; reqwest::get() makes one for \
         each call",
        source::REQWEST_GET,
    ),
    advise(
        "D1",
        (Keepwarm, ANY),
        &["keep_alive"],
        "make one keepwarm::Client and clone it, and leave keep_alive on",
        source::KEEPWARM,
    ),
    advise(
        "D1",
        (Nginx, before("1.29.7")),
        &["keepalive", "proxy_http_version"],
        "in upstream {} set `keepalive 32;`, and where it is proxied to `proxy_http_version 1.1;` and \
         `proxy_set_header Connection \"\";`",
        source::NGINX_UPSTREAM,
    ),
    advise(
        "D1",
        (Nginx, since("1.29.7")),
        &["keepalive", "proxy_http_version"],
        "connections to an upstream {} are kept by default: look for `keepalive 0;`, \
         `proxy_http_version 1.0;` or `proxy_set_header Connection close;`, and for a proxy_pass with \
         variables, which has no upstream {}",
        source::NGINX_UPSTREAM,
    ),
    advise(
        "D1",
        (Apache, ANY),
        &["disablereuse"],
        "towards a backend look for disablereuse=On in ProxyPass, and for a RewriteRule with [P], which \
         shares no connections unless a <Proxy> section names the backend",
        source::APACHE_PROXY,
    ),
    advise(
        "D1",
        (Haproxy, ANY),
        &["http-reuse", "pool-max-conn", "option httpclose"],
        "towards a server set http-reuse safe or always, and look for http-reuse never, option \
         httpclose and pool-max-conn 0",
        source::HAPROXY,
    ),
    advise(
        "D1",
        (Curl, ANY),
        &["--next"],
        "each process opens a connection of its own: give one call several URLs (--next between their \
         options), or use a program that keeps a connection",
        source::CURL,
    ),
    advise(
        "D1",
        (Postgres, ANY),
        &["psql"],
        "each psql opens a session of its own: give one psql all statements (-f, or a pipe), and let a \
         program use a pool (pgbouncer, or its driver's)",
        source::LIBPQ,
    ),
    advise(
        "D1",
        (Redis, ANY),
        &["redis-cli"],
        "each redis-cli opens a connection of its own: give one redis-cli all commands by a pipe, and \
         let a program keep one client",
        source::REDIS,
    ),
    advise(
        "D1",
        (Shell, ANY),
        &["/dev/tcp"],
        "each command of a script, or run of a cron job, opens a connection of its own: do several \
         exchanges in one process, or keep the descriptor of /dev/tcp open",
        source::BASH,
    ),
    // ---- D2: fewer may idle than are used at once -----------------------------------------------
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
    // ---- D3: bodies that are not read -----------------------------------------------------------
    advise(
        "D3",
        (Go, before("1.27")),
        &["Body.Close"],
        "read the body to its end before Body.Close: io.Copy(io.Discard, resp.Body)",
        source::GO_DRAIN,
    ),
    advise(
        "D3",
        (Go, since("1.27")),
        &["Body.Close"],
        "Body.Close reads on for up to 256 KiB only: read larger bodies to their end, or ask for less \
         (Range, HEAD)",
        source::GO_DRAIN,
    ),
    advise(
        "D3",
        (Python, ANY),
        &["requests.get", "stream"],
        "read response.content, or leave `with requests.get(..., stream=True)` only after reading; \
         aiohttp: await response.read()",
        source::REQUESTS_BODY,
    ),
    advise(
        "D3",
        (Node, ANY),
        &["response.resume()"],
        "call response.resume() where the body is not wanted; of a fetch, await \
         response.arrayBuffer()",
        source::NODE_AGENT,
    ),
    advise(
        "D3",
        (Java, ANY),
        &[],
        "read and close every body, error bodies (getErrorStream) too",
        source::JAVA_NET,
    ),
    advise(
        "D3",
        (Dotnet, ANY),
        &["MaxResponseDrainSize"],
        "read the content before the response is disposed of: beyond MaxResponseDrainSize (1 MiB) its \
         connection is closed",
        source::DOTNET_HANDLER,
    ),
    advise(
        "D3",
        (Rust, ANY),
        &[],
        "read the response to its end before it is dropped: response.bytes()",
        source::REQWEST_RESPONSE,
    ),
    advise(
        "D3",
        (Ruby, ANY),
        &[],
        "let the block of read_body run to its end; leaving it by break or an exception closes the \
         connection",
        source::NET_HTTP,
    ),
    advise(
        "D3",
        (Php, ANY),
        &[],
        "let curl_exec end: a CURLOPT_WRITEFUNCTION that returns less than it was given, or a timeout, \
         ends the connection",
        source::PHP_SHARE,
    ),
    advise(
        "D3",
        (Nginx, ANY),
        &["proxy_ignore_client_abort"],
        "clients leave before the response is whole, and nginx then leaves its upstream: look at their \
         timeouts, or set proxy_ignore_client_abort on",
        source::NGINX_PROXY,
    ),
    // ---- D4: the server's keep-alive timeout is shorter than the client's -----------------------
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
    // ---- D5: a limit of requests on each connection ---------------------------------------------
    advise(
        "D5",
        (Nginx, before("1.19.10")),
        &["keepalive_requests"],
        "raise keepalive_requests (100 by default before 1.19.10)",
        source::NGINX_CORE,
    ),
    advise(
        "D5",
        (Nginx, since("1.19.10")),
        &["keepalive_requests"],
        "raise keepalive_requests (1000 by default)",
        source::NGINX_CORE,
    ),
    advise(
        "D5",
        (Java, ANY),
        &["maxKeepAliveRequests"],
        "as a server: maxKeepAliveRequests of Tomcat (100 by default)",
        source::TOMCAT,
    ),
    advise(
        "D5",
        (Apache, ANY),
        &["MaxKeepAliveRequests"],
        "raise MaxKeepAliveRequests (100 by default; 0 is no limit)",
        source::APACHE,
    ),
    // ---- D6: Connection: close, or HTTP/1.0 -----------------------------------------------------
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
    // ---- D7: connections that the program does not close ----------------------------------------
    advise("D7", (Go, ANY), &[], "close every resp.Body, of errors too", source::GO_RESPONSE),
    advise("D7", (Python, ANY), &[], "close responses and sessions (with ...:)", source::REQUESTS),
    advise(
        "D7",
        (Java, ANY),
        &[],
        "close every response stream, error streams too",
        source::JAVA_NET,
    ),
    advise(
        "D7",
        (Dotnet, ANY),
        &[],
        "dispose of every HttpResponseMessage that was asked for with ResponseHeadersRead",
        source::DOTNET,
    ),
    advise(
        "D7",
        (Node, ANY),
        &["response.resume()"],
        "read every response to its end, call response.resume(), or destroy it",
        source::NODE_AGENT,
    ),
    advise(
        "D7",
        (Rust, ANY),
        &[],
        "drop responses that are not wanted, and read the others to their end",
        source::REQWEST_RESPONSE,
    ),
    // ---- D13: requests that are given up before an answer ---------------------------------------
    advise(
        "D13",
        (Go, ANY),
        &["Client.Timeout"],
        "Client.Timeout and the context's deadline end the connection with the request",
        source::GO_CLIENT,
    ),
    advise(
        "D13",
        (Python, ANY),
        &["timeout="],
        "timeout= of requests and httpx ends the connection with the request",
        source::REQUESTS_TIMEOUT,
    ),
    advise(
        "D13",
        (Node, ANY),
        &["AbortSignal.timeout", "timeout"],
        "AbortSignal.timeout, destroy() and an Agent's timeout end the connection with the request",
        source::ABORT_SIGNAL,
    ),
    advise(
        "D13",
        (Nginx, ANY),
        &["proxy_read_timeout", "proxy_ignore_client_abort"],
        "towards an upstream: proxy_read_timeout, and clients that leave (proxy_ignore_client_abort)",
        source::NGINX_PROXY,
    ),
    advise(
        "D13",
        (Haproxy, ANY),
        &["timeout server"],
        "towards a server: timeout server",
        source::HAPROXY,
    ),
    advise("D13", (Curl, ANY), &["--max-time"], "--max-time ends the connection", source::CURL),
];
