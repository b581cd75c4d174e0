//! D1: a client for each request.

use super::advise;
use crate::knowledge::Kind::{
    Apache, Curl, Dotnet, Go, Haproxy, Java, Keepwarm, Nginx, Node, Php, Postgres, Python, Redis,
    Ruby, Rust, Shell,
};
use crate::knowledge::range::{ANY, before, since};
use crate::knowledge::{Advice, source};

pub(super) const ADVICE: &[Advice] = &[
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
];
