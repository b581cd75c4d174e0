//! nginx with TLS, on two ports, in a folder of its own.

use std::fs;
use std::net::TcpStream;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

use keepwarm_testkit::skipped;
use rcgen::{CertificateParams, KeyPair};

use super::{dead_port, folder, until};

/// A running nginx, which ends when this is dropped.
pub(crate) struct Nginx {
    child: Child,
    folder: PathBuf,
    pub(crate) ports: [u16; 2],
}

impl Nginx {
    /// Starts nginx with the servers that `servers` writes for two ports and for the settings of a
    /// certificate of `localhost`. `None`, with the reason said, where nginx is not installed: `lost`
    /// is what the test cannot show then.
    pub(crate) fn start(
        name: &str,
        lost: &str,
        servers: impl FnOnce([u16; 2], &str) -> String,
    ) -> Option<Self> {
        let version = Command::new("nginx").arg("-v").stderr(Stdio::null()).status();
        if !version.is_ok_and(|status| status.success()) {
            skipped::because(&format!("nginx is not installed, so {lost}"));
            return None;
        }
        let folder = folder(&format!("{name}-{}", std::process::id()));
        let key = KeyPair::generate().expect("a key");
        let certificate = CertificateParams::new(vec!["localhost".to_owned()])
            .and_then(|params| params.self_signed(&key))
            .expect("a certificate");
        fs::write(folder.join("cert.pem"), certificate.pem()).expect("a file");
        fs::write(folder.join("key.pem"), key.serialize_pem()).expect("a file");
        let (ports, at) = ([dead_port(), dead_port()], folder.display());
        let certificate =
            format!("ssl_certificate {at}/cert.pem; ssl_certificate_key {at}/key.pem;");
        let settings = format!(
            "daemon off; master_process off; pid {at}/pid; error_log {at}/error.log;
             events {{ worker_connections 512; }}
             http {{ access_log off; client_body_temp_path {at}/a; proxy_temp_path {at}/b;
             fastcgi_temp_path {at}/c; uwsgi_temp_path {at}/d; scgi_temp_path {at}/e;
             keepalive_requests 1000000; {} }}",
            servers(ports, &certificate),
        );
        let file = folder.join("nginx.conf");
        fs::write(&file, settings).expect("a file");
        let mut nginx = Command::new("nginx");
        nginx.arg("-c").arg(&file).arg("-p").arg(&folder).stderr(Stdio::null());
        let child = nginx.spawn().expect("nginx starts");
        let nginx = Self { child, folder, ports };
        let listens = |port: &u16| TcpStream::connect(("127.0.0.1", *port)).is_ok();
        assert!(until(|| ports.iter().all(listens)), "nginx listens");
        Some(nginx)
    }

    /// Returns the file of the certificate.
    pub(crate) fn authority(&self) -> PathBuf {
        self.folder.join("cert.pem")
    }
}

impl Drop for Nginx {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        let _ = fs::remove_dir_all(&self.folder);
    }
}
