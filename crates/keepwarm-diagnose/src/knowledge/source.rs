//! Sources of facts and advice: public pages, with addresses short enough for the line of 80
//! columns that `keepwarm explain` has for each.

pub(super) const GO_TRANSPORT: &str = "https://pkg.go.dev/net/http#Transport";
pub(super) const GO_SERVER: &str = "https://pkg.go.dev/net/http#Server";
pub(super) const GO_RESPONSE: &str = "https://pkg.go.dev/net/http#Response";
pub(super) const GO_DRAIN: &str = "https://github.com/golang/go/issues/77370";

pub(super) const REQUESTS: &str =
    "https://requests.readthedocs.io/en/latest/user/advanced/#session-objects";
pub(super) const REQUESTS_BODY: &str = "https://requests.readthedocs.io/en/latest/user/advanced/";
pub(super) const URLLIB3: &str = "https://urllib3.readthedocs.io/en/stable/advanced-usage.html";
pub(super) const HTTPX: &str = "https://www.python-httpx.org/advanced/resource-limits/";
pub(super) const AIOHTTP: &str =
    "https://docs.aiohttp.org/en/stable/client_reference.html#connectors";
pub(super) const AIOHTTP_WEB: &str =
    "https://docs.aiohttp.org/en/stable/web_reference.html#aiohttp.web.run_app";
pub(super) const UVICORN: &str = "https://www.uvicorn.org/settings/#timeouts";
pub(super) const GUNICORN: &str = "https://docs.gunicorn.org/en/stable/settings.html#keepalive";
pub(super) const HYPERCORN: &str =
    "https://hypercorn.readthedocs.io/en/latest/how_to_guides/configuring.html";
pub(super) const HTTP_SERVER: &str = "https://docs.python.org/3/library/http.server.html";

pub(super) const NODE_AGENT: &str = "https://nodejs.org/api/http.html#class-httpagent";
pub(super) const NODE_SERVER: &str = "https://nodejs.org/api/http.html#serverkeepalivetimeout";
pub(super) const NODE_65: &str = "https://github.com/nodejs/node/pull/62782";
pub(super) const UNDICI: &str = "https://undici.nodejs.org/#/docs/api/Client";

pub(super) const NGINX_UPSTREAM: &str =
    "https://nginx.org/en/docs/http/ngx_http_upstream_module.html#keepalive";
pub(super) const NGINX_PROXY: &str = "https://nginx.org/en/docs/http/ngx_http_proxy_module.html";
pub(super) const NGINX_CORE: &str = "https://nginx.org/en/docs/http/ngx_http_core_module.html";

pub(super) const JAVA_NET: &str =
    "https://docs.oracle.com/javase/8/docs/technotes/guides/net/properties.html";
pub(super) const JAVA_CLIENT: &str = "https://openjdk.org/groups/net/httpclient/";
pub(super) const JDK_30: &str = "https://bugs.openjdk.org/browse/JDK-8297030";
pub(super) const APACHE_CLIENT: &str = "https://hc.apache.org/httpcomponents-client-5.4.x/";
pub(super) const OKHTTP: &str =
    "https://square.github.io/okhttp/5.x/okhttp/okhttp3/-connection-pool/";
pub(super) const TOMCAT: &str = "https://tomcat.apache.org/tomcat-10.1-doc/config/http.html";

pub(super) const DOTNET: &str =
    "https://learn.microsoft.com/dotnet/fundamentals/networking/http/httpclient";
pub(super) const DOTNET_HANDLER: &str =
    "https://learn.microsoft.com/dotnet/api/system.net.http.socketshttphandler";
pub(super) const KESTREL: &str =
    "https://learn.microsoft.com/aspnet/core/fundamentals/servers/kestrel/options";

pub(super) const PHP_SHARE: &str = "https://wiki.php.net/rfc/curl_share_persistence";
pub(super) const PHP_HTTP: &str = "https://www.php.net/manual/en/context.http.php";
pub(super) const PHP_SERVER: &str =
    "https://www.php.net/manual/en/features.commandline.webserver.php";
pub(super) const CURL_AGE: &str = "https://curl.se/libcurl/c/CURLOPT_MAXAGE_CONN.html";

pub(super) const NET_HTTP: &str = "https://docs.ruby-lang.org/en/master/Net/HTTP.html";
pub(super) const PUMA: &str = "https://github.com/puma/puma/pull/3378";

pub(super) const REQWEST: &str = "https://docs.rs/reqwest/latest/reqwest/struct.ClientBuilder.html";
pub(super) const REQWEST_GET: &str = "https://docs.rs/reqwest/latest/reqwest/fn.get.html";
pub(super) const REQWEST_RESPONSE: &str =
    "https://docs.rs/reqwest/latest/reqwest/struct.Response.html";
pub(super) const KEEPWARM: &str = "https://github.com/keepwarm/keepwarm";

pub(super) const APACHE: &str = "https://httpd.apache.org/docs/2.4/mod/core.html";
pub(super) const APACHE_PROXY: &str = "https://httpd.apache.org/docs/2.4/mod/mod_proxy.html";
pub(super) const HAPROXY: &str = "https://docs.haproxy.org/3.0/configuration.html";
pub(super) const CURL: &str = "https://curl.se/docs/manpage.html";
pub(super) const LIBPQ: &str = "https://www.postgresql.org/docs/current/app-psql.html";
pub(super) const POSTGRES: &str =
    "https://www.postgresql.org/docs/current/runtime-config-client.html";
pub(super) const REDIS: &str = "https://redis.io/docs/latest/develop/tools/cli/";
pub(super) const REDIS_CONF: &str = "https://redis.io/docs/latest/develop/reference/clients/";
pub(super) const BASH: &str =
    "https://www.gnu.org/software/bash/manual/html_node/Redirections.html";
pub(super) const URLLIB: &str = "https://docs.python.org/3/library/urllib.request.html";
pub(super) const WERKZEUG: &str = "https://github.com/pallets/werkzeug/pull/2399";
pub(super) const NGINX_FASTCGI: &str =
    "https://nginx.org/en/docs/http/ngx_http_fastcgi_module.html";
pub(super) const GO_CLIENT: &str = "https://pkg.go.dev/net/http#Client";
pub(super) const REQUESTS_TIMEOUT: &str =
    "https://requests.readthedocs.io/en/latest/user/advanced/#timeouts";
pub(super) const ABORT_SIGNAL: &str = "https://nodejs.org/api/globals.html#class-abortsignal";

pub(super) const GRPC_DEADLINES: &str = "https://grpc.io/docs/guides/deadlines/";
pub(super) const SOCKET_MAN: &str = "https://man7.org/linux/man-pages/man7/socket.7.html";
pub(super) const TCP_MAN: &str = "https://man7.org/linux/man-pages/man7/tcp.7.html";
pub(super) const HTTP_CONNECTIONS: &str = "https://www.rfc-editor.org/rfc/rfc9112#section-9";
pub(super) const RESET_UNREAD: &str = "https://www.rfc-editor.org/rfc/rfc2525#section-2.17";
pub(super) const SNMP_COUNTERS: &str = "https://docs.kernel.org/networking/snmp_counter.html";
pub(super) const IP_SYSCTL: &str = "https://docs.kernel.org/networking/ip-sysctl.html";
pub(super) const LISTEN: &str = "https://man7.org/linux/man-pages/man2/listen.2.html";
pub(super) const SOCK_DIAG: &str = "https://man7.org/linux/man-pages/man7/sock_diag.7.html";

pub(super) const IPV6: &str = "https://man.archlinux.org/man/IPV6_V6ONLY.2const.en";
