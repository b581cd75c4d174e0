//! The facts. One line each, with the versions it holds for and where it stands.
//!
//! To add one: put a line into `DEFAULTS` or `ADVICE`, with a source that somebody else can open.
//! A test checks that versions can be read, that ranges of one setting do not overlap, and that
//! every finding that has advice has a page. The order of `ADVICE` is that of likelihood: where the
//! program is not recognised, the first two are shown.

use super::Kind::{Dotnet, Go, Java, Keepwarm, Nginx, Node, Php, Python, Rust};
use super::{Advice, Fact, Kind, Range, Topic};

const ANY: Range = Range { since: "", before: "" };

const fn since(version: &'static str) -> Range {
    Range { since: version, before: "" }
}

const fn before(version: &'static str) -> Range {
    Range { since: "", before: version }
}

/// A default that nothing is recognised by.
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

const fn advise(
    code: &'static str,
    kind: Kind,
    versions: Range,
    text: &'static str,
    source: &'static str,
) -> Advice {
    Advice { code, kind, versions, text, source }
}

const GO_TRANSPORT: &str = "https://pkg.go.dev/net/http#Transport";
const REQUESTS: &str = "https://requests.readthedocs.io/en/latest/user/advanced/#session-objects";
const NODE_AGENT: &str = "https://nodejs.org/api/http.html#class-httpagent";
const NODE_SERVER: &str = "https://nodejs.org/api/http.html#serverkeepalivetimeout";
const NGINX_UPSTREAM: &str =
    "https://nginx.org/en/docs/http/ngx_http_upstream_module.html#keepalive";
const NGINX_CORE: &str =
    "https://nginx.org/en/docs/http/ngx_http_core_module.html#keepalive_timeout";
const DOTNET: &str =
    "https://learn.microsoft.com/en-us/dotnet/fundamentals/networking/http/httpclient-guidelines";
const JAVA_CLIENT: &str = "https://docs.oracle.com/en/java/javase/21/docs/api/java.net.http/java/net/http/HttpClient.html";
const JAVA_NET: &str = "https://docs.oracle.com/en/java/javase/21/docs/api/java.base/java/net/doc-files/net-properties.html";
const HTTPX: &str = "https://www.python-httpx.org/advanced/resource-limits/";
const AIOHTTP: &str = "https://docs.aiohttp.org/en/stable/client_reference.html#connectors";
const PHP_SHARE: &str = "https://wiki.php.net/rfc/curl_share_persistence";
const REQWEST: &str = "https://docs.rs/reqwest/latest/reqwest/struct.ClientBuilder.html";
const KEEPWARM: &str = "https://github.com/keepwarm/keepwarm";

/// What programs do if nobody sets anything.
pub const DEFAULTS: &[Fact] = &[
    keeps(2, fact(Go, "Go net/http", ANY, "Transport.MaxIdleConnsPerHost", "2", GO_TRANSPORT)),
    fact(Go, "Go net/http", ANY, "Transport.MaxIdleConns (DefaultTransport)", "100", GO_TRANSPORT),
    fact(
        Go,
        "Go net/http",
        ANY,
        "Transport.IdleConnTimeout (DefaultTransport)",
        "90 s",
        GO_TRANSPORT,
    ),
    fact(
        Go,
        "Go net/http",
        before("1.27"),
        "Response.Body.Close on an unread body",
        "closes the connection",
        "https://github.com/golang/go/issues/77370",
    ),
    fact(
        Go,
        "Go net/http",
        since("1.27"),
        "Response.Body.Close on an unread body",
        "reads on for up to 256 KiB, then closes the connection",
        "https://github.com/golang/go/issues/77370",
    ),
    fact(
        Go,
        "Go net/http server",
        ANY,
        "Server.IdleTimeout",
        "ReadTimeout; none if that is not set",
        "https://pkg.go.dev/net/http#Server",
    ),
    keeps(10, fact(Python, "requests", ANY, "HTTPAdapter(pool_maxsize)", "10 a host", REQUESTS)),
    fact(Python, "requests", ANY, "requests.get()", "a new Session for each call", REQUESTS),
    fact(
        Python,
        "urllib3",
        ANY,
        "PoolManager(maxsize)",
        "1 a host",
        "https://urllib3.readthedocs.io/en/stable/advanced-usage.html#customizing-pool-behavior",
    ),
    keeps(20, fact(Python, "httpx", ANY, "Limits(max_keepalive_connections)", "20", HTTPX)),
    fact(Python, "httpx", ANY, "Limits(keepalive_expiry)", "5 s", HTTPX),
    fact(Python, "aiohttp", ANY, "TCPConnector(limit)", "100; no limit for each host", AIOHTTP),
    fact(Python, "aiohttp", ANY, "TCPConnector(keepalive_timeout)", "15 s", AIOHTTP),
    closes_after(
        5_000,
        fact(
            Python,
            "uvicorn",
            ANY,
            "--timeout-keep-alive",
            "5 s",
            "https://www.uvicorn.org/settings/#timeouts",
        ),
    ),
    closes_after(
        2_000,
        fact(
            Python,
            "gunicorn (worker with keep-alive)",
            ANY,
            "--keep-alive",
            "2 s; the sync worker keeps nothing",
            "https://docs.gunicorn.org/en/stable/settings.html#keepalive",
        ),
    ),
    closes_after(
        75_000,
        fact(
            Python,
            "aiohttp.web",
            ANY,
            "run_app(keepalive_timeout)",
            "75 s",
            "https://docs.aiohttp.org/en/stable/web_reference.html#aiohttp.web.run_app",
        ),
    ),
    fact(Node, "node http.Agent", ANY, "new http.Agent({ keepAlive })", "false", NODE_AGENT),
    fact(
        Node,
        "node http.globalAgent",
        since("19"),
        "http.globalAgent.keepAlive",
        "true, idle sockets for 5 s",
        NODE_AGENT,
    ),
    fact(
        Node,
        "node http.globalAgent",
        before("19"),
        "http.globalAgent.keepAlive",
        "false",
        NODE_AGENT,
    ),
    fact(
        Node,
        "undici (fetch)",
        ANY,
        "keepAliveTimeout",
        "4 s",
        "https://undici.nodejs.org/#/docs/api/Client",
    ),
    // Seen to close a second after the setting: Node adds keepAliveTimeoutBuffer, or its check of
    // connections comes round.
    closes_after(
        6_000,
        fact(Node, "node http.Server", before("26"), "server.keepAliveTimeout", "5 s", NODE_SERVER),
    ),
    closes_after(
        5_000,
        fact(
            Node,
            "node http.Server",
            before("18"),
            "server.keepAliveTimeout (measured)",
            "5 s",
            NODE_SERVER,
        ),
    ),
    closes_after(
        66_000,
        fact(
            Node,
            "node http.Server",
            since("26"),
            "server.keepAliveTimeout",
            "65 s, and a buffer of 1 s",
            "https://github.com/nodejs/node/pull/62782",
        ),
    ),
    fact(
        Nginx,
        "nginx upstream",
        before("1.29.7"),
        "keepalive in upstream {}",
        "off, and HTTP/1.0 to the upstream: a connection for each request",
        NGINX_UPSTREAM,
    ),
    fact(
        Nginx,
        "nginx upstream",
        since("1.29.7"),
        "keepalive in upstream {}",
        "32 a worker, HTTP/1.1 to the upstream",
        NGINX_UPSTREAM,
    ),
    closes_after(
        60_000,
        fact(
            Nginx,
            "nginx upstream",
            since("1.15.3"),
            "keepalive_timeout in upstream {}",
            "60 s",
            "https://nginx.org/en/docs/http/ngx_http_upstream_module.html#keepalive_timeout",
        ),
    ),
    closes_after(75_000, fact(Nginx, "nginx", ANY, "keepalive_timeout", "75 s", NGINX_CORE)),
    fact(
        Nginx,
        "nginx",
        since("1.19.10"),
        "keepalive_requests",
        "1000",
        "https://nginx.org/en/docs/http/ngx_http_core_module.html#keepalive_requests",
    ),
    fact(
        Nginx,
        "nginx",
        before("1.19.10"),
        "keepalive_requests",
        "100",
        "https://nginx.org/en/docs/http/ngx_http_core_module.html#keepalive_requests",
    ),
    keeps(5, fact(Java, "HttpURLConnection", ANY, "http.maxConnections", "5 a host", JAVA_NET)),
    fact(
        Java,
        "java.net.http.HttpClient",
        since("20"),
        "jdk.httpclient.keepalive.timeout",
        "30 s",
        "https://bugs.openjdk.org/browse/JDK-8297030",
    ),
    fact(
        Java,
        "java.net.http.HttpClient",
        before("20"),
        "jdk.httpclient.keepalive.timeout",
        "1200 s",
        "https://bugs.openjdk.org/browse/JDK-8297030",
    ),
    keeps(
        5,
        fact(
            Java,
            "Apache HttpClient 5",
            ANY,
            "setMaxConnPerRoute",
            "5, 25 in all; further requests queue",
            "https://hc.apache.org/httpcomponents-client-5.4.x/",
        ),
    ),
    keeps(
        5,
        fact(
            Java,
            "OkHttp",
            ANY,
            "ConnectionPool(maxIdleConnections)",
            "5 in all, for 5 min",
            "https://square.github.io/okhttp/5.x/okhttp/okhttp3/-connection-pool/",
        ),
    ),
    fact(Dotnet, "HttpClient", since("6"), "PooledConnectionIdleTimeout", "1 min", DOTNET),
    fact(Dotnet, "HttpClient", before("6"), "PooledConnectionIdleTimeout", "2 min", DOTNET),
    closes_after(
        130_000,
        fact(
            Dotnet,
            "Kestrel",
            ANY,
            "Limits.KeepAliveTimeout",
            "130 s",
            "https://learn.microsoft.com/en-us/dotnet/api/microsoft.aspnetcore.server.kestrel.core.kestrelserverlimits.keepalivetimeout",
        ),
    ),
    fact(
        Php,
        "PHP curl",
        ANY,
        "the cache of connections",
        "dies with the request; shared ones from PHP 8.5",
        PHP_SHARE,
    ),
    fact(Rust, "reqwest", ANY, "pool_max_idle_per_host", "no limit", REQWEST),
    fact(Rust, "reqwest", ANY, "pool_idle_timeout", "90 s", REQWEST),
    fact(Keepwarm, "keepwarm", ANY, "max_idle_per_origin", "no limit", KEEPWARM),
    fact(Keepwarm, "keepwarm", ANY, "idle_timeout", "90 s", KEEPWARM),
];

/// What to set.
pub const ADVICE: &[Advice] = &[
    advise(
        "D1",
        Go,
        ANY,
        "make one http.Client (and one Transport) when the program starts and share it; a Transport \
         for each request also leaks its idle connection",
        GO_TRANSPORT,
    ),
    advise(
        "D1",
        Python,
        ANY,
        "share one requests.Session, httpx.Client or aiohttp.ClientSession; requests.get(), \
         httpx.get() and a session for each call open a connection each",
        REQUESTS,
    ),
    advise(
        "D1",
        Node,
        ANY,
        "pass one http.Agent({ keepAlive: true }) to every request; an Agent of one's own has \
         keepAlive off by default",
        NODE_AGENT,
    ),
    advise(
        "D1",
        Java,
        ANY,
        "make one HttpClient, OkHttpClient or CloseableHttpClient and share it",
        JAVA_CLIENT,
    ),
    advise("D1", Dotnet, ANY, "share one HttpClient, or take it from IHttpClientFactory", DOTNET),
    advise(
        "D1",
        Php,
        since("8.5"),
        "use curl_share_init_persistent with CURL_LOCK_DATA_CONNECT",
        PHP_SHARE,
    ),
    advise(
        "D1",
        Php,
        before("8.5"),
        "connections end with the request: put a local proxy with upstream keep-alive in between, or \
         go to PHP 8.5 for curl_share_init_persistent",
        PHP_SHARE,
    ),
    advise("D1", Rust, ANY, "make one reqwest::Client (or keepwarm::Client) and clone it", REQWEST),
    advise(
        "D1",
        Keepwarm,
        ANY,
        "make one keepwarm::Client and clone it; keep_alive(false) is not set",
        KEEPWARM,
    ),
    advise(
        "D1",
        Nginx,
        before("1.29.7"),
        "in upstream {} set `keepalive 32;`, and where it is proxied to `proxy_http_version 1.1;` and \
         `proxy_set_header Connection \"\";`",
        NGINX_UPSTREAM,
    ),
    advise(
        "D2",
        Go,
        ANY,
        "set Transport.MaxIdleConnsPerHost to at least the peak of simultaneous requests (and \
         MaxIdleConns to the sum over hosts); the default is 2",
        GO_TRANSPORT,
    ),
    advise(
        "D2",
        Python,
        ANY,
        "requests: session.mount(\"http://\", HTTPAdapter(pool_maxsize=N)), default 10; httpx: \
         Limits(max_keepalive_connections=N), default 20; N at least the peak of simultaneous \
         requests",
        REQUESTS,
    ),
    advise(
        "D2",
        Node,
        ANY,
        "raise maxFreeSockets of the http.Agent to the peak of simultaneous requests",
        NODE_AGENT,
    ),
    advise(
        "D2",
        Java,
        ANY,
        "raise the pool: -Dhttp.maxConnections=N (HttpURLConnection), ConnectionPool(N, ...) (OkHttp), \
         setMaxConnPerRoute(N) (Apache)",
        JAVA_NET,
    ),
    advise(
        "D2",
        Nginx,
        ANY,
        "raise `keepalive N;` in upstream {}: N idle connections for each worker process",
        NGINX_UPSTREAM,
    ),
    advise(
        "D2",
        Rust,
        ANY,
        "raise pool_max_idle_per_host to the peak of simultaneous requests",
        REQWEST,
    ),
    advise("D2", Keepwarm, ANY, "raise max_idle_per_origin, or leave it unset: no limit", KEEPWARM),
    advise(
        "D3",
        Go,
        before("1.27"),
        "read the body to its end before Close: io.Copy(io.Discard, resp.Body)",
        "https://github.com/golang/go/issues/77370",
    ),
    advise(
        "D3",
        Go,
        since("1.27"),
        "Close reads on for up to 256 KiB only: read larger bodies to their end, or ask for less \
         (Range, HEAD)",
        "https://github.com/golang/go/issues/77370",
    ),
    advise(
        "D3",
        Python,
        ANY,
        "read response.content, or leave `with requests.get(..., stream=True)` only after reading; \
         aiohttp: await response.read()",
        "https://requests.readthedocs.io/en/latest/user/advanced/#body-content-workflow",
    ),
    advise("D3", Node, ANY, "response.resume() where the body is not wanted", NODE_AGENT),
    advise(
        "D3",
        Java,
        ANY,
        "read and close every body, error bodies (getErrorStream) too",
        JAVA_NET,
    ),
    advise("D3", Rust, ANY, "read the response to its end: response.bytes()", REQWEST),
    advise(
        "D4",
        Node,
        ANY,
        "as a server: server.keepAliveTimeout above the idle timeout of every client and load balancer \
         before it (the default is 5 s before Node 26, 65 s since); as a client: an Agent whose \
         `timeout` is below the server's",
        NODE_SERVER,
    ),
    advise(
        "D4",
        Go,
        ANY,
        "as a client: Transport.IdleConnTimeout at 0.8 of the server's keep-alive timeout (the default \
         is 90 s); as a server: Server.IdleTimeout above its clients'",
        GO_TRANSPORT,
    ),
    advise(
        "D4",
        Python,
        ANY,
        "as a server: uvicorn --timeout-keep-alive, gunicorn --keep-alive above the clients' idle \
         timeout; as a client: httpx keepalive_expiry, aiohttp keepalive_timeout below the server's",
        "https://www.uvicorn.org/settings/#timeouts",
    ),
    advise(
        "D4",
        Nginx,
        ANY,
        "as a server: keepalive_timeout above the clients' idle timeout; towards an upstream: its \
         keepalive_timeout in upstream {} below the upstream's own",
        NGINX_CORE,
    ),
    advise(
        "D4",
        Java,
        ANY,
        "-Djdk.httpclient.keepalive.timeout below the server's keep-alive timeout",
        JAVA_CLIENT,
    ),
    advise(
        "D4",
        Dotnet,
        ANY,
        "PooledConnectionIdleTimeout below the server's keep-alive timeout",
        DOTNET,
    ),
    advise("D4", Rust, ANY, "pool_idle_timeout below the server's keep-alive timeout", REQWEST),
    advise(
        "D4",
        Keepwarm,
        ANY,
        "idle_timeout below the server's; its Keep-Alive advice is honoured",
        KEEPWARM,
    ),
    advise(
        "D5",
        Nginx,
        ANY,
        "raise keepalive_requests (1000 by default, 100 before 1.19.10)",
        "https://nginx.org/en/docs/http/ngx_http_core_module.html#keepalive_requests",
    ),
    advise(
        "D5",
        Java,
        ANY,
        "as a server: maxKeepAliveRequests of Tomcat (100 by default); Apache httpd: MaxKeepAliveRequests",
        "https://tomcat.apache.org/tomcat-10.1-doc/config/http.html",
    ),
    advise(
        "D6",
        Nginx,
        before("1.29.7"),
        "towards an upstream this is the default: in upstream {} set `keepalive 32;`, and where it is \
         proxied to `proxy_http_version 1.1;` and `proxy_set_header Connection \"\";`",
        NGINX_UPSTREAM,
    ),
    advise(
        "D6",
        Go,
        ANY,
        "look for Transport.DisableKeepAlives, Request.Close, or Server.SetKeepAlivesEnabled(false)",
        GO_TRANSPORT,
    ),
    advise(
        "D6",
        Python,
        ANY,
        "gunicorn's sync worker and the built-in servers (http.server) close after each response: \
         take a worker with keep-alive (gthread, uvicorn); a client that sends Connection: close asks \
         for it",
        "https://docs.gunicorn.org/en/stable/settings.html#keepalive",
    ),
    advise(
        "D6",
        Node,
        ANY,
        "an Agent without keepAlive sends Connection: close: new http.Agent({ keepAlive: true })",
        NODE_AGENT,
    ),
    advise(
        "D6",
        Php,
        ANY,
        "the built-in server closes after each response: use php-fpm behind nginx",
        PHP_SHARE,
    ),
    advise(
        "D7",
        Go,
        ANY,
        "close every resp.Body, of errors too",
        "https://pkg.go.dev/net/http#Response",
    ),
    advise("D7", Python, ANY, "close responses and sessions (with ...:)", REQUESTS),
    advise("D7", Java, ANY, "close every response stream, error streams too", JAVA_NET),
];

/// The pages of `keepwarm explain`, besides one for each runtime.
pub const TOPICS: &[Topic] = &[
    Topic {
        name: "D1",
        title: "a client for each request",
        text: "The client opens a connection, sends one request on it, and closes it first. Each of \
               them holds a local port for 60 s (TIME_WAIT), and pays a handshake.\n\n\
               How it shows: one request a connection, closed by the client within milliseconds of \
               its last byte. If the pools are not even closed, nothing is closed: connections with \
               one request each pile up.\n\n\
               How it differs from D6: there the client, or the server, says Connection: close, and \
               either may close first.",
    },
    Topic {
        name: "D2",
        title: "fewer connections may idle than are used at once",
        text: "A burst opens as many connections as there are requests at once. When they come back, \
               the pool keeps a few and closes the rest, which the next burst opens again.\n\n\
               How it shows: the client closes connections within milliseconds of their last byte, \
               some carried one request and a few carried many, and after each burst the same small \
               number is left: 2 names Go, 10 requests, 5 Java, 20 httpx.",
    },
    Topic {
        name: "D3",
        title: "a body that is not read to its end",
        text: "A client that closes a response before it has read the body cannot use the connection \
               again. The kernel answers data that nobody will read with an RST (RFC 2525, section \
               2.17).\n\n\
               How it shows: closes with data unread at the client; at the server, resets right after \
               a response.",
    },
    Topic {
        name: "D4",
        title: "the server's keep-alive timeout is shorter than the client's",
        text: "The server closes idle connections before the client does. That costs connections; and \
               a request that is written in the moment of the close fails (ECONNRESET, 502), the more \
               often the less traffic there is.\n\n\
               How it shows: the server closes first, always after the same idle time, and that time \
               names the server. The rule: each hop's server timeout is longer than its client's.",
    },
    Topic {
        name: "D5",
        title: "a limit of requests on each connection",
        text: "The server closes each connection after a fixed number of requests: 1000 is nginx, 100 \
               Apache and Tomcat. Harmless when the number is large.",
    },
    Topic {
        name: "D6",
        title: "Connection: close, or HTTP/1.0",
        text: "One request a connection, because one of the two says so. Who closes first is no sign \
               of who said it: a client that sends Connection: close mostly sees the server's FIN \
               first.\n\n\
               How to tell: look at one exchange, `curl -v` to the server (does it answer Connection: \
               close, or HTTP/1.0?), and one request of the client (does it send Connection: close?).",
    },
    Topic {
        name: "D7",
        title: "connections that the program does not close",
        text: "The peer has closed, and the program has not: CLOSE_WAIT, for as long as it lives. A \
               number that grows is a leak (a response that was never closed); a number that stays is \
               a pool that looks when it needs a connection.",
    },
    Topic {
        name: "D8",
        title: "connections without a request",
        text: "Probes: a load balancer or a monitor that connects and closes, often by RST. Left out \
               of the verdict on the rest.",
    },
    Topic {
        name: "D9",
        title: "connects that fail",
        text: "Nobody listens, the queue of the listener is full, or the way there is closed. With no \
               local port left connect(2) fails too, without a packet.",
    },
    Topic {
        name: "D10",
        title: "local ports run out",
        text: "Towards one service a source address has as many connections as \
               net.ipv4.ip_local_port_range has ports (28,232 by default), TIME_WAIT of the client \
               included. At half of them connect(2) gets slow: it first tries only every second port, \
               and then searches long. At all of them it fails: cannot assign requested address.\n\n\
               Closing first at more than ports / 60 s (470 a second) for a minute gets there. The \
               cure is to keep connections. Until then: a wider ip_local_port_range, or \
               net.ipv4.tcp_tw_reuse=1 on the client.",
    },
    Topic {
        name: "D11",
        title: "connections that are meant to end",
        text: "Closed by their owner's own idle timeout or lifetime: nothing to do.",
    },
    Topic {
        name: "D12",
        title: "few long connections",
        text: "Proxies and HTTP/2 carry many requests on few connections, and requests cannot be \
               counted from outside. No churn.",
    },
    Topic {
        name: "healthy",
        title: "connections are kept",
        text: "Many requests on each connection, and few closes for what was carried.",
    },
    Topic {
        name: "mixed",
        title: "no single cause, or not enough evidence",
        text: "Fewer than 30 closes, or none of the causes has four fifths of them. Watch longer, or \
               one destination at a time.",
    },
    Topic {
        name: "time-wait",
        title: "what TIME_WAIT is, and whose",
        text: "The side that closes first keeps the four-tuple for 60 s (TCP_TIMEWAIT_LEN, a constant: \
               tcp_fin_timeout does not change it). At a server it is harmless: 256 bytes. At a client \
               each holds a local port: see D10.\n\n\
               Counting it is not counting closes: on loopback Linux reuses a client's after one \
               second (tcp_tw_reuse = 2), a new connection replaces a server's, and a reset leaves \
               none. `keepwarm watch` counts the closes themselves.",
    },
    Topic {
        name: "levels",
        title: "what the kernel lets us see",
        text: "L0, counters: how many, not where. L1, destroy events and dumps, for any user: every \
               close with its closer, by FIN or RST, requests, idle time; opens by conservation. Not: \
               the process of a connection too short to be seen alive, the name of a reset's reason, \
               lifetimes.",
    },
];
