//! Proxies that other people wrote: squid, also over TLS, tinyproxy, HAProxy as the TLS front of
//! tinyproxy, and dante. Each one keeps a tunnel as warm as a direct connection.
//!
//! Needs Debian's `squid-openssl`, `tinyproxy`, `haproxy` and `dante-server`. A test whose program
//! is absent reports that and passes.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use keepwarm::{Client, ClientBuilder, Proxy};
use keepwarm_testkit::mortal;
use keepwarm_testkit::scripted::{Answer, Peer, Request, Server, ok, within};
use keepwarm_testkit::skipped;
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;

use crate::tls::Authority;

const REQUESTS: usize = 20;

/// The credentials that every proxy with a password is told to accept.
const USER: &str = "me:secret";

/// A running proxy. Ends when it is dropped.
struct Running {
    child: Child,
    folder: PathBuf,
    port: u16,
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        let _ = std::fs::remove_dir_all(&self.folder);
        // Squid's shared memory outlives it, and would stop that of another user.
        let segments = std::fs::read_dir("/dev/shm").into_iter().flatten().flatten();
        let own = format!("keepwarm{}-", self.port);
        for segment in segments.filter(|it| it.file_name().to_string_lossy().starts_with(&own)) {
            let _ = std::fs::remove_file(segment.path());
        }
    }
}

impl Running {
    /// Starts a program with a configuration in which `PORT` stands for its port, and `FOLDER` for a
    /// folder of its own with the files of `beside`. `None` if the program is absent.
    async fn start(program: &[&str], config: &str, beside: &[(&str, &str)]) -> Option<Self> {
        let Some(found) = program.iter().find(|word| word.starts_with('/')) else {
            panic!("{program:?} names no path");
        };
        if !Path::new(found).exists() {
            skipped::because(&format!("no {found}"));
            return None;
        }
        let mut why = String::new();
        // Another program may take the port between the choice and the start.
        for _ in 0..5 {
            match Self::try_start(program, config, beside).await {
                Ok(running) => return Some(running),
                Err(told) => why = told,
            }
        }
        panic!("{program:?} does not start: {why}");
    }

    async fn try_start(
        program: &[&str],
        config: &str,
        beside: &[(&str, &str)],
    ) -> Result<Self, String> {
        let chosen = TcpListener::bind("127.0.0.1:0").await.expect("bind");
        let port = chosen.local_addr().expect("an address").port();
        drop(chosen);
        let name = format!("keepwarm-proxy-{}-{port}", std::process::id());
        let folder = std::env::temp_dir().join(name);
        std::fs::create_dir_all(&folder).expect("a folder");
        let place = folder.to_str().expect("UTF-8");
        let fill = |text: &str| text.replace("PORT", &port.to_string()).replace("FOLDER", place);
        for (name, text) in [("conf", config)].iter().chain(beside) {
            std::fs::write(folder.join(name), fill(text)).expect("a file");
        }
        let told = std::fs::File::create(folder.join("told")).expect("a file");
        let mut command = mortal::command(program[0], "KILL");
        command.args(program[1..].iter().map(|word| fill(word)));
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(told);
        let child = command.spawn().map_err(|error| error.to_string())?;
        let mut running = Self { child, folder, port };
        let listens = async {
            while TcpStream::connect(("127.0.0.1", port)).await.is_err() {
                if let Ok(Some(status)) = running.child.try_wait() {
                    return Err(status.to_string());
                }
                // Not every one of them can say that it listens.
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
            Ok(())
        };
        let outcome = within("a listening proxy", listens).await;
        let told = std::fs::read_to_string(running.folder.join("told")).unwrap_or_default();
        outcome.map(|()| running).map_err(|status| format!("{status} {told}"))
    }

    fn url(&self, protocol: &str, user: &str) -> String {
        let at = if user.is_empty() { "" } else { "@" };
        format!("{protocol}://{user}{at}localhost:{}", self.port)
    }
}

/// One origin without TLS and one with it. Both answer with the `Proxy-Authorization` that reached
/// them.
struct Origins {
    authority: Authority,
    plain: Server,
    tls_port: u16,
    /// Connections that the origin with TLS has accepted.
    tls_accepted: Arc<AtomicUsize>,
}

impl Origins {
    async fn start() -> Self {
        let authority = Authority::new();
        let told = |request: &Request| {
            request.field("proxy-authorization").unwrap_or("no credentials").to_owned()
        };
        let plain = Server::start(move |request| Answer::Send(ok(&told(request))));
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("bind");
        let tls_port = listener.local_addr().expect("an address").port();
        let acceptor = TlsAcceptor::from(Arc::new(authority.server("localhost", None)));
        let tls_accepted = Arc::new(AtomicUsize::new(0));
        let accepted = Arc::clone(&tls_accepted);
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                accepted.fetch_add(1, Ordering::SeqCst);
                let acceptor = acceptor.clone();
                tokio::spawn(async move {
                    let Ok(stream) = acceptor.accept(stream).await else { return };
                    let mut peer = Peer::over(stream);
                    while let Some(request) = peer.request_or_end().await {
                        peer.write(ok(&told(&request))).await;
                    }
                });
            }
        });
        Self { authority, plain, tls_port, tls_accepted }
    }

    fn tls_url(&self) -> String {
        format!("https://localhost:{}/", self.tls_port)
    }

    fn tls_accepted(&self) -> usize {
        self.tls_accepted.load(Ordering::SeqCst)
    }

    fn builder(&self, proxy: &str) -> ClientBuilder {
        let proxy = Proxy::all(proxy).expect("a proxy");
        let builder = Client::builder().proxy(proxy).timeout(Duration::from_secs(60));
        builder.root_certificates(self.authority.certificate())
    }
}

/// Sends requests one after the other, and returns how many connections the client opened.
async fn opened(builder: ClientBuilder, target: &str) -> u64 {
    let client = builder.build().expect("a client");
    for _ in 0..REQUESTS {
        let response = client.get(target).send().await.expect("a response");
        assert_eq!(response.status(), 200, "{target}");
        let body = response.text().await.expect("a body");
        assert_eq!(body, "no credentials", "{target}: an origin is never told of the proxy's");
    }
    client.stats().total.opened
}

/// Counts the sockets in TIME_WAIT of which either end has this port.
fn time_waits(port: u16) -> usize {
    let table = std::fs::read_to_string("/proc/net/tcp").unwrap_or_default();
    let end = format!(":{port:04X}");
    let has_port = |line: &&str| {
        let words: Vec<_> = line.split_whitespace().collect();
        words.len() > 3 && words[3] == "06" && words[1..3].iter().any(|one| one.ends_with(&end))
    };
    table.lines().filter(has_port).count()
}

/// Holds that a tunnel to the origin with TLS serves all requests, and leaves at most the TIME_WAIT
/// of its own close; without keep-alive each request leaves at least one, of its connection or of
/// the proxy's.
async fn tunnel_is_kept(proxy: &Running, url: &str, origins: &Origins) {
    let target = origins.tls_url();
    let ports = [proxy.port, origins.tls_port];
    let count = || ports.map(time_waits).iter().sum::<usize>();
    let (waits, accepted) = (count(), origins.tls_accepted());
    assert_eq!(opened(origins.builder(url), &target).await, 1, "{url}");
    assert_eq!(origins.tls_accepted() - accepted, 1, "{url}");
    let kept = count() - waits;
    assert!(kept <= 2, "{url}: {kept} TIME_WAITs of one tunnel, which has two connections");
    let (waits, accepted) = (count(), origins.tls_accepted());
    let churn = opened(origins.builder(url).keep_alive(false), &target).await;
    assert_eq!(churn, REQUESTS as u64, "{url}: a tunnel for each request");
    assert_eq!(origins.tls_accepted() - accepted, REQUESTS, "{url}");
    let churned = count() - waits;
    assert!(churned >= REQUESTS / 2, "{url}: {churned} TIME_WAITs of {REQUESTS} tunnels");
}

/// Holds that no and wrong credentials are refused at CONNECT, with 407 and `wrong`, and not told.
async fn password_is_wanted(proxy: &Running, protocol: &str, wrong: u16, origins: &Origins) {
    for (user, status) in [("", 407), ("me:other-secret", wrong)] {
        let client = origins.builder(&proxy.url(protocol, user)).build().expect("a client");
        let error = client.get(origins.tls_url()).send().await.expect_err("refused");
        assert!(error.is_proxy() && error.is_connect(), "{error}");
        assert_eq!(error.status().map(|status| status.as_u16()), Some(status), "{error}");
        let text = error.to_string();
        assert!(text.contains("user:password@") && !text.contains("other-secret"), "{text}");
        // The body of the refusal, which names the program.
        assert!(text.contains("<!DOCTYPE html") || text.contains("<?xml"), "{text}");
        // A request of http is read, and refused, by the proxy itself.
        let response = client.get(origins.plain.url("/")).send().await.expect("a response");
        assert_eq!(response.status(), status);
    }
}

/// Of a name of its own, by which its segments of shared memory begin.
const SQUID: [&str; 6] = ["/usr/sbin/squid", "-N", "-n", "keepwarmPORT", "-f", "FOLDER/conf"];
const TINYPROXY: [&str; 4] = ["/usr/bin/tinyproxy", "-d", "-c", "FOLDER/conf"];
const HAPROXY: [&str; 4] = ["/usr/sbin/haproxy", "-db", "-f", "FOLDER/conf"];

/// `port` is the line of its port.
fn squid(port: &str, access: &str) -> String {
    format!(
        "{port}\n{access}\ncache deny all\ncache_mem 8 MB\naccess_log none\ncache_log /dev/null\n\
         pid_filename none\nshutdown_lifetime 0 seconds\ncoredump_dir /tmp\nvisible_hostname here\n\
         max_filedescriptors 1024\npinger_enable off\n"
    )
}

/// A password helper of squid: a line with user and password in, `OK` or `ERR` out.
const SQUID_HELPER: &str = "while read -r line; do
  if [ \"$line\" = 'me secret' ]; then echo OK; else echo ERR; fi
done\n";

const SQUID_PASSWORD: &str = "auth_param basic program /bin/sh FOLDER/helper\n\
    auth_param basic children 2 startup=1\nacl known proxy_auth REQUIRED\n\
    http_access allow known\nhttp_access deny all";

const TINYPROXY_CONFIG: &str = "Port PORT\nListen 127.0.0.1\nTimeout 60\nBasicAuth me secret\n";

#[tokio::test]
async fn squid_keeps_connections_and_tunnels() {
    let config = squid("http_port 127.0.0.1:PORT", "http_access allow all");
    let Some(squid) = Running::start(&SQUID, &config, &[]).await else { return };
    let (origins, url) = (Origins::start().await, squid.url("http", ""));
    assert_eq!(opened(origins.builder(&url), &origins.plain.url("/")).await, 1);
    tunnel_is_kept(&squid, &url, &origins).await;
}

#[tokio::test]
async fn squid_over_tls_wants_a_password() {
    let origins = Origins::start().await;
    let pem = origins.authority.pem("localhost");
    let port = "https_port 127.0.0.1:PORT tls-cert=FOLDER/pem tls-key=FOLDER/pem";
    let config = squid(port, SQUID_PASSWORD);
    let beside = [("pem", pem.as_str()), ("helper", SQUID_HELPER)];
    let Some(squid) = Running::start(&SQUID, &config, &beside).await else { return };
    let url = squid.url("https", USER);
    assert_eq!(opened(origins.builder(&url), &origins.plain.url("/")).await, 1);
    tunnel_is_kept(&squid, &url, &origins).await;
    password_is_wanted(&squid, "https", 407, &origins).await;
}

#[tokio::test]
async fn tinyproxy_wants_a_password() {
    let Some(tiny) = Running::start(&TINYPROXY, TINYPROXY_CONFIG, &[]).await else { return };
    let (origins, url) = (Origins::start().await, tiny.url("http", USER));
    // It closes each connection on which it has read a request itself.
    let closed = opened(origins.builder(&url), &origins.plain.url("/")).await;
    assert_eq!(closed, REQUESTS as u64);
    tunnel_is_kept(&tiny, &url, &origins).await;
    password_is_wanted(&tiny, "http", 401, &origins).await;
}

#[tokio::test]
async fn haproxy_is_the_tls_front_of_tinyproxy() {
    let Some(tiny) = Running::start(&TINYPROXY, TINYPROXY_CONFIG, &[]).await else { return };
    let origins = Origins::start().await;
    let config = format!(
        "global\n  maxconn 100\ndefaults\n  mode tcp\n  timeout connect 60s\n  \
         timeout client 60s\n  timeout server 60s\nlisten front\n  \
         bind 127.0.0.1:PORT ssl crt FOLDER/pem\n  server tiny 127.0.0.1:{}\n",
        tiny.port
    );
    let pem = origins.authority.pem("localhost");
    let started = Running::start(&HAPROXY, &config, &[("pem", &pem)]).await;
    let Some(front) = started else { return };
    tunnel_is_kept(&front, &front.url("https", USER), &origins).await;
    password_is_wanted(&front, "https", 401, &origins).await;
}

/// `methods` is the authentication it asks for.
fn dante(methods: &str) -> String {
    format!(
        "logoutput: /dev/null\ninternal: 127.0.0.1 port = PORT\nexternal: lo\n\
         socksmethod: {methods}\nclientmethod: none\nuser.privileged: root\n\
         user.unprivileged: nobody\nclient pass {{ from: 0.0.0.0/0 to: 0.0.0.0/0 }}\n\
         socks pass {{ from: 0.0.0.0/0 to: 0.0.0.0/0 }}\n"
    )
}

fn is_root() -> bool {
    let output = Command::new("id").arg("-u").output();
    output.is_ok_and(|output| output.stdout.trim_ascii() == b"0")
}

#[tokio::test]
async fn dante_keeps_tunnels_of_both_schemes() {
    if !is_root() {
        return skipped::because("danted takes root");
    }
    let program = ["/usr/sbin/danted", "-f", "FOLDER/conf"];
    let Some(dante) = Running::start(&program, &dante("none"), &[]).await else { return };
    let origins = Origins::start().await;
    for protocol in ["socks5", "socks5h"] {
        let url = dante.url(protocol, "");
        assert_eq!(opened(origins.builder(&url), &origins.plain.url("/")).await, 1);
        tunnel_is_kept(&dante, &url, &origins).await;
    }
}

/// Dante asks the machine's own list of users, which a mount namespace extends by one.
#[tokio::test]
async fn dante_wants_a_password() {
    let can = Command::new("unshare").args(["--mount", "true"]).stderr(Stdio::null()).status();
    if !is_root() || !can.is_ok_and(|status| status.success()) {
        return skipped::because("danted with users of its own takes root and a mount namespace");
    }
    let inside = "mount --bind FOLDER/passwd /etc/passwd && mount --bind FOLDER/shadow /etc/shadow \
        && exec \"$0\" -f FOLDER/conf";
    let program = ["unshare", "--mount", "sh", "-c", inside, "/usr/sbin/danted"];
    let users = std::fs::read_to_string("/etc/passwd").expect("users");
    let users = format!("{users}me:x:65533:65534::/:/bin/false\n");
    let shadow = std::fs::read_to_string("/etc/shadow").expect("shadow");
    let shadow = format!("{shadow}me:{SHADOW}:19000:0:99999:7:::\n");
    let beside = [("passwd", users.as_str()), ("shadow", shadow.as_str())];
    let Some(dante) = Running::start(&program, &dante("username"), &beside).await else { return };
    let origins = Origins::start().await;
    tunnel_is_kept(&dante, &dante.url("socks5h", USER), &origins).await;
    for (user, words) in [("", "wants an authentication"), ("me:other", "refuses the user")] {
        let client = origins.builder(&dante.url("socks5", user)).build().expect("a client");
        let error = client.get(origins.tls_url()).send().await.expect_err("refused");
        assert!(error.is_proxy() && error.to_string().contains(words), "{error}");
    }
}

/// `secret`, by `openssl passwd -6 -salt keepwarm secret`.
const SHADOW: &str = "$6$keepwarm$Acb8JF4mcxtsI4w6TNh6ICqtUrDuHOFX4j1EJFktfrYhp6ugCsTEIjdKJYiBdNIORHPE8Bysp4FmFuxpnzLOP.";
