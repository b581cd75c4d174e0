//! Real servers of HTTP/2 with TLS: nginx, Caddy, h2o, HAProxy, Apache. A server that is not installed is skipped, and
//! loudly.

use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use keepwarm::{Certificate, Client, ClientBuilder, CloseReason};

use crate::servers::{Process, all_succeed, downloads, folder, free_port, listens, runs, within};

/// A server with TLS, in a folder of its own: a certificate, its key, a small file and a large one.
struct TlsServer {
    process: Process,
    port: u16,
    authority: Vec<Certificate>,
}

impl TlsServer {
    /// Starts a program, whose command is made for a folder and a port.
    async fn start(name: &str, command: impl FnOnce(&Path, u16) -> Command) -> Self {
        let (folder, port) = (folder(name), free_port());
        let key = rcgen::KeyPair::generate().expect("a key");
        let names = vec!["localhost".to_owned()];
        let certificate = rcgen::CertificateParams::new(names).and_then(|it| it.self_signed(&key));
        let pem = certificate.expect("a certificate").pem();
        std::fs::write(folder.join("cert.pem"), &pem).expect("a file");
        std::fs::write(folder.join("key.pem"), key.serialize_pem()).expect("a file");
        std::fs::write(folder.join("small"), "x").expect("a file");
        std::fs::write(folder.join("large"), vec![0; 8 << 20]).expect("a file");
        let mut command = command(&folder, port);
        let process =
            Process(command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().expect("it runs"));
        listens(port).await;
        let authority = Certificate::all_from_pem(pem.as_bytes()).expect("a certificate");
        Self { process, port, authority }
    }

    fn client(&self, build: impl FnOnce(ClientBuilder) -> ClientBuilder) -> Client {
        build(Client::builder().root_certificates(self.authority.clone()))
            .build()
            .expect("a client")
    }

    fn url(&self, path: &str) -> String {
        format!("https://localhost:{}{path}", self.port)
    }
}

fn is_root() -> bool {
    let id = Command::new("id").arg("-u").output().expect("id");
    id.stdout.trim_ascii() == b"0"
}

async fn nginx(name: &str) -> Option<TlsServer> {
    if !runs("nginx", "-v") {
        return None;
    }
    let command = |folder: &Path, port| {
        let at = folder.display();
        // A master, so that it can be told to reload; root's workers read the folder as root.
        let user = if is_root() { "user root;" } else { "" };
        let settings = format!(
            "{user} daemon off; worker_processes 1; pid {at}/pid; error_log {at}/error.log;
             events {{ worker_connections 512; }}
             http {{
                 access_log off; client_body_temp_path {at}/a; proxy_temp_path {at}/b;
                 fastcgi_temp_path {at}/c; uwsgi_temp_path {at}/d; scgi_temp_path {at}/e;
                 keepalive_requests 100; client_max_body_size 0;
                 server {{
                     listen 127.0.0.1:{port} ssl http2;
                     ssl_certificate {at}/cert.pem; ssl_certificate_key {at}/key.pem;
                     root {at};
                     location = / {{ return 200 x; }}
                 }}
             }}"
        );
        std::fs::write(folder.join("nginx.conf"), settings).expect("a file");
        let mut command = Command::new("nginx");
        command.arg("-p").arg(folder).arg("-c").arg(folder.join("nginx.conf"));
        command
    };
    Some(TlsServer::start(name, command).await)
}

/// A GOAWAY after each hundred requests, and at two reloads; no request fails. At its exit a worker cuts what the
/// kernel has not sent yet, its GOAWAY too: then a GET goes again, and a POST may not. So the POSTs come
/// afterwards.
#[tokio::test]
async fn nginx_reloads_cost_no_request() {
    let Some(nginx) = nginx("http2-nginx-reload").await else { return };
    let client = nginx.client(|builder| builder);
    let url = nginx.url("/");
    let load = tokio::spawn({
        let client = client.clone();
        let url = url.clone();
        async move { all_succeed(&client, &url, 50, 40, false).await }
    });
    for _ in 0..2 {
        tokio::time::sleep(Duration::from_millis(150)).await;
        let before = nginx.process.children();
        nginx.process.signal("-HUP");
        let are_new = |workers: &[String]| workers.iter().all(|worker| !before.contains(worker));
        let renewed = async {
            while nginx.process.children().is_empty() || !are_new(&nginx.process.children()) {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        within("end of the old worker", renewed).await;
    }
    within("end", load).await.expect("every request succeeds");
    all_succeed(&client, &url, 50, 10, true).await;
    let total = client.stats().total;
    assert!(total.closed_for(CloseReason::GoAway) >= 10, "{total:?}");
    downloads(&client, &nginx.url("/large")).await;
    let large = client.post(nginx.url("/")).body(vec![0; 8 << 20]).send();
    assert_eq!(within("response", large).await.expect("a response").status(), 200);
}

#[tokio::test]
async fn nginx_has_as_many_connections_as_needed() {
    let Some(nginx) = nginx("http2-nginx-burst").await else { return };
    let client = nginx.client(|builder| builder.max_connections_per_origin(2));
    all_succeed(&client, &nginx.url("/"), 150, 1, false).await;
    assert!(client.stats().total.opened <= 4, "{:?}", client.stats().total);
}

/// Caddy, whose answer to a large POST comes before the body, and leaves the rest unread.
#[tokio::test]
async fn caddy_serves_all() {
    let caddy = std::env::var("KEEPWARM_CADDY").unwrap_or_else(|_| "caddy".into());
    if !runs(&caddy, "version") {
        return;
    }
    let command = |folder: &Path, port| {
        let at = folder.display();
        let settings = format!(
            "{{
                admin off
                auto_https disable_redirects
                storage file_system {at}/storage
            }}
            https://localhost:{port} {{
                bind 127.0.0.1
                tls {at}/cert.pem {at}/key.pem
                root * {at}
                respond / x
                file_server
            }}"
        );
        std::fs::write(folder.join("Caddyfile"), settings).expect("a file");
        let mut command = Command::new(&caddy);
        command.args(["run", "--adapter", "caddyfile", "--config"]).arg(folder.join("Caddyfile"));
        command.env("HOME", folder).env("XDG_CONFIG_HOME", folder).env("XDG_DATA_HOME", folder);
        command
    };
    let caddy = TlsServer::start("http2-caddy", command).await;
    let client = caddy.client(|builder| builder);
    all_succeed(&client, &caddy.url("/"), 50, 20, true).await;
    all_succeed(&client, &caddy.url("/small"), 50, 4, false).await;
    downloads(&client, &caddy.url("/large")).await;
    let early = client.post(caddy.url("/")).body(vec![0; 8 << 20]).send();
    let early = within("response", early).await.expect("the answer that overtakes the body");
    assert_eq!(within("body", early.text()).await.expect("a body"), "x");
    all_succeed(&client, &caddy.url("/"), 10, 2, false).await;
}

/// h2o, which announces a hundred streams, works on ten requests at once, and lets the others wait.
#[tokio::test]
async fn h2o_serves_within_its_limit() {
    if !runs("h2o", "--version") {
        return;
    }
    let command = |folder: &Path, port| {
        let at = folder.display();
        let user = if is_root() { "user: root" } else { "" };
        let settings = format!(
            "{user}
http2-max-concurrent-requests-per-connection: 10
listen:
  host: 127.0.0.1
  port: {port}
  ssl:
    certificate-file: {at}/cert.pem
    key-file: {at}/key.pem
hosts:
  \"localhost:{port}\":
    paths:
      \"/\":
        file.dir: {at}
"
        );
        std::fs::write(folder.join("h2o.conf"), settings).expect("a file");
        let mut command = Command::new("h2o");
        command.arg("-c").arg(folder.join("h2o.conf"));
        command
    };
    let h2o = TlsServer::start("http2-h2o", command).await;
    let client = h2o.client(|builder| builder);
    all_succeed(&client, &h2o.url("/small"), 40, 20, false).await;
    let opened = client.stats().total.opened;
    assert_eq!(opened, 1, "forty at once are within the hundred that it announces");
    downloads(&client, &h2o.url("/large")).await;
}

/// HAProxy before a server of its own. It announces a hundred streams, and refuses some below that: it counts
/// those too that have ended and are not yet put away.
#[tokio::test]
async fn haproxy_refusals_cost_no_request() {
    if !runs("haproxy", "-v") {
        return;
    }
    let behind = free_port();
    let command = |folder: &Path, port| {
        let at = folder.display();
        let pem = ["cert.pem", "key.pem"].map(|part| {
            std::fs::read_to_string(folder.join(part)).expect("the certificate and its key")
        });
        std::fs::write(folder.join("both.pem"), pem.concat()).expect("a file");
        let settings = format!(
            "
defaults
    mode http
    timeout client 20s
    timeout server 20s
    timeout connect 2s
frontend http2
    bind 127.0.0.1:{port} ssl crt {at}/both.pem alpn h2
    default_backend http1
backend http1
    server only 127.0.0.1:{behind}
frontend behind
    bind 127.0.0.1:{behind}
    http-request wait-for-body time 10s if METH_POST
    http-request return status 200 content-type text/plain string x
"
        );
        std::fs::write(folder.join("haproxy.cfg"), settings).expect("a file");
        let mut command = Command::new("haproxy");
        command.arg("-db").arg("-f").arg(folder.join("haproxy.cfg"));
        command
    };
    let haproxy = TlsServer::start("http2-haproxy", command).await;
    let client = haproxy.client(|builder| builder.max_connections_per_origin(2));
    all_succeed(&client, &haproxy.url("/"), 190, 40, false).await;
    all_succeed(&client, &haproxy.url("/"), 190, 10, true).await;
    assert!(client.stats().total.opened <= 4, "{:?}", client.stats().total);
}

/// Apache, whose limit on the requests of a connection ends none by HTTP/2. Without `User` its workers stay who
/// they are, and can read the folder.
#[tokio::test]
async fn apache_serves_all() {
    if !runs("apache2", "-v") {
        return;
    }
    let command = |folder: &Path, port| {
        let at = folder.display();
        let modules: String = ["mpm_event", "authz_core", "ssl", "http2"]
            .map(|name| {
                format!("LoadModule {name}_module /usr/lib/apache2/modules/mod_{name}.so\n")
            })
            .concat();
        let settings = format!(
            "{modules}
ServerRoot {at}
PidFile {at}/pid
ErrorLog {at}/error.log
ServerName localhost
Listen 127.0.0.1:{port}
Protocols h2 http/1.1
MaxKeepAliveRequests 10
DocumentRoot {at}
SSLEngine on
SSLCertificateFile {at}/cert.pem
SSLCertificateKeyFile {at}/key.pem
"
        );
        std::fs::write(folder.join("apache.conf"), settings).expect("a file");
        let mut command = Command::new("apache2");
        command.arg("-f").arg(folder.join("apache.conf")).arg("-DFOREGROUND");
        command
    };
    let apache = TlsServer::start("http2-apache", command).await;
    let client = apache.client(|builder| builder);
    all_succeed(&client, &apache.url("/small"), 90, 20, false).await;
    assert_eq!(
        client.stats().total.opened,
        1,
        "ninety at once are within the hundred that it announces"
    );
    downloads(&client, &apache.url("/large")).await;
    all_succeed(&client, &apache.url("/small"), 50, 4, true).await;
}
