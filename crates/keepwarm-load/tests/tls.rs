//! Claim: TLS is the same load with the same ledger. Servers are trusted, or refused with a reason;
//! sessions are resumed where possible; and every connection is counted once.

mod common;

use std::io::{Read, Write};
use std::sync::Arc;
use std::time::Duration;

use common::run;
use common::tls::{Authority, Stream, plan, read_request, serve};
use keepwarm_load::{CloseCause, ErrorClass, Plan};
use keepwarm_testkit::http_server::{HttpServer, SilentPort};
use rcgen::{BasicConstraints, CertificateParams, IsCa, KeyPair};
use rustls::pki_types::PrivateKeyDer;
use rustls::{HandshakeKind, ServerConfig};

fn respond(stream: &mut Stream, bytes: &[u8]) {
    let _ = stream.write_all(bytes).and_then(|()| stream.flush());
}

fn answer_all(stream: &mut Stream) {
    while read_request(stream) {
        respond(stream, b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok");
    }
}

#[test]
fn few_handshakes_serve_many_requests() {
    let authority = Authority::new();
    let (address, seen) = serve(authority.server("localhost", None), answer_all);
    let builder = plan(address).requests(500).concurrency(4).threads(2).tls_roots(authority.pem());
    let summary = run(builder);
    assert_eq!((summary.completed, summary.failed), (500, 0), "{:?}", summary.errors);
    assert_eq!((summary.ledger.opened, summary.handshake_time.count()), (4, 4));
    assert_eq!(seen.lock().unwrap().len(), 4);
    assert!(summary.handshake_time.min() > Some(0));
}

#[test]
fn large_messages_cross_record_borders() {
    let authority = Authority::new();
    let body = vec![b'x'; 300_000];
    let expected = body.len() as u64;
    let (address, _) = serve(authority.server("localhost", None), move |stream| {
        let mut seen = 0;
        let mut bytes = [0; 4096];
        while let Ok(count @ 1..) = stream.read(&mut bytes) {
            seen += count;
            // A head of fewer than 1000 bytes, and a body of 200,000.
            if seen >= 200_000 && bytes[..count].ends_with(b"$") {
                seen = 0;
                let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", body.len());
                respond(stream, head.as_bytes());
                respond(stream, &body);
            }
        }
    });
    let mut request = vec![b'y'; 200_000];
    request.push(b'$');
    let builder = plan(address).requests(40).concurrency(2).tls_roots(authority.pem());
    let summary = run(builder.method("POST").body(request));
    assert_eq!((summary.completed, summary.failed), (40, 0), "{:?}", summary.errors);
    assert_eq!(summary.body_bytes, 40 * expected);
}

#[test]
fn untrusted_certificate_fails_with_back_off() {
    let authority = Authority::new();
    for (name, roots) in [("localhost", Authority::new().pem()), ("other.test", authority.pem())] {
        let (address, _) = serve(authority.server(name, None), answer_all);
        let summary = run(plan(address).requests(6).concurrency(2).tls_roots(roots));
        assert_eq!((summary.completed, summary.errors.of(ErrorClass::Tls)), (0, 6));
        assert_eq!(summary.ledger.closed_by_us[&CloseCause::TlsFailed], 6);
        assert_eq!((summary.ledger.never_written, summary.ledger.unused), (6, 6));
        let (key, stat) = summary.errors.iter().next().unwrap();
        assert!(stat.example.contains("certificate"), "{}", stat.example);
        assert!(key.hint().is_some());
    }
}

/// With `tls_insecure` any certificate is trusted; a server name can be asked for.
#[test]
fn insecure_trusts_any_certificate() {
    let authority = Authority::new();
    let (address, seen) = serve(authority.server("other.test", None), answer_all);
    let summary = run(plan(address).requests(5).tls_insecure(true));
    assert_eq!(summary.completed, 5);
    let builder = plan(address).requests(5).tls_roots(authority.pem());
    let summary = run(builder.tls_server_name("other.test"));
    assert_eq!(summary.completed, 5, "{:?}", summary.errors);
    let names: Vec<_> = seen.lock().unwrap().iter().map(|(_, name)| name.clone()).collect();
    assert_eq!(names, [Some("localhost".into()), Some("other.test".into())]);
}

#[test]
fn client_certificate_is_sent_when_asked() {
    let (authority, clients) = (Authority::new(), Authority::new());
    let (address, _) = serve(authority.server("localhost", Some(&clients)), answer_all);
    let (certificate, key) = clients.issue("loader.test");
    let builder = plan(address).requests(20).concurrency(2).tls_roots(authority.pem());
    let known = builder.clone().tls_identity(certificate.pem(), key.serialize_pem());
    assert_eq!(run(known).completed, 20);
    let summary = run(builder);
    assert_eq!((summary.completed, summary.failed), (0, 20), "{:?}", summary.errors);
}

#[test]
fn later_handshakes_resume_if_allowed() {
    let authority = Authority::new();
    let (address, seen) = serve(authority.server("localhost", None), answer_all);
    let builder = plan(address).requests(20).tls_roots(authority.pem()).requests_per_connection(1);
    let summary = run(builder.clone());
    assert_eq!((summary.completed, summary.handshake_time.count()), (20, 20));
    assert_eq!(summary.handshakes_resumed, 19);
    let resumed = |(kind, _): &&(HandshakeKind, _)| *kind == HandshakeKind::Resumed;
    assert_eq!(seen.lock().unwrap().iter().filter(resumed).count(), 19);
    assert_eq!(run(builder.tls_resumption(false)).handshakes_resumed, 0);
}

/// A body without a length is complete only if its end was announced.
#[test]
fn body_until_end_needs_close_notify() {
    let authority = Authority::new();
    for announced in [true, false] {
        let (address, _) = serve(authority.server("localhost", None), move |stream| {
            if read_request(stream) {
                respond(stream, b"HTTP/1.1 200 OK\r\n\r\nuntil the end");
                if announced {
                    stream.conn.send_close_notify();
                    let _ = stream.conn.complete_io(&mut stream.sock);
                }
            }
        });
        let summary = run(plan(address).requests(5).tls_roots(authority.pem()));
        let within = summary.errors.of(ErrorClass::EofWithinResponse);
        let expected = if announced { (5, 0) } else { (0, 5) };
        assert_eq!((summary.completed, within), expected, "{:?}", summary.errors);
        assert_eq!(summary.ledger.peer_fin, 5);
    }
}

/// A server without TLS and a silent one each end in time, in a class of their own.
#[test]
fn non_tls_and_silence_end_in_class() {
    let server = HttpServer::start(|conn| {
        conn.send(b"HTTP/1.1 400 Bad Request\r\n\r\n");
        conn.wait_for_client();
    });
    let summary = run(plan(server.address()).requests(4).tls_insecure(true));
    assert_eq!(summary.errors.of(ErrorClass::Tls), 4, "{:?}", summary.errors);

    let server = HttpServer::start(|conn| conn.wait_for_client());
    let builder = plan(server.address()).requests(2).timeout(Duration::from_millis(100));
    let summary = run(builder.tls_insecure(true));
    assert_eq!(summary.errors.of(ErrorClass::ConnectTimeout), 2, "{:?}", summary.errors);
    assert_eq!(summary.ledger.timed_out, 2);

    let server = HttpServer::start(|conn| conn.fin());
    let summary = run(plan(server.address()).requests(4).tls_insecure(true));
    assert_eq!((summary.errors.of(ErrorClass::Tls), summary.ledger.peer_fin), (4, 4));

    let port = SilentPort::new();
    let builder = plan(port.address()).requests(1).timeout(Duration::from_millis(100));
    assert_eq!(run(builder.tls_insecure(true)).ledger.connect_timed_out, 1);
}

#[test]
fn unusable_pem_is_refused() {
    let builder = Plan::builder("https://127.0.0.1:9/").requests(1);
    for (builder, setting) in [
        (builder.clone().tls_roots("no PEM"), "tls_roots"),
        (builder.clone().tls_insecure(true).tls_identity("no", "PEM"), "tls_identity"),
        (builder.tls_server_name("not a name"), "tls_server_name"),
    ] {
        assert_eq!(builder.build().unwrap_err().setting(), setting);
    }
}

/// Makes a self-signed certificate for `name`, marked as an authority: what `openssl req -x509` makes.
fn self_signed(name: &str, expired: bool) -> (rcgen::Certificate, ServerConfig) {
    let key = KeyPair::generate().expect("a key");
    let mut params = CertificateParams::new(vec![name.to_owned()]).expect("parameters");
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    if expired {
        params.not_after = rcgen::date_time_ymd(2020, 1, 1);
    }
    let certificate = params.self_signed(&key).expect("a certificate");
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let key = PrivateKeyDer::try_from(key.serialize_der()).expect("a key");
    let config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("versions")
        .with_no_client_auth()
        .with_single_cert(vec![certificate.der().clone()], key)
        .expect("a certificate that fits its key");
    (certificate, config)
}

#[test]
fn self_signed_certificate_is_trusted_if_given() {
    let (certificate, config) = self_signed("localhost", false);
    let (address, _) = serve(config, answer_all);
    let summary = run(plan(address).requests(5).tls_roots(certificate.pem()));
    assert_eq!((summary.completed, summary.failed), (5, 0), "{:?}", summary.errors);
    let both = format!("{}{}", Authority::new().pem(), certificate.pem());
    assert_eq!(run(plan(address).requests(5).tls_roots(both)).completed, 5);
}

/// A given certificate vouches for its own server only, for its own name and time.
#[test]
fn given_certificate_vouches_for_itself_only() {
    let (other, _) = self_signed("localhost", false);
    for (name, expired, given, said) in [
        ("other.test", false, true, "name"),
        ("localhost", true, true, "expired"),
        ("localhost", false, false, "authority"),
    ] {
        let (certificate, config) = self_signed(name, expired);
        let (address, _) = serve(config, answer_all);
        let roots = if given { certificate.pem() } else { other.pem() };
        let summary = run(plan(address).requests(3).tls_roots(roots));
        assert_eq!((summary.completed, summary.errors.of(ErrorClass::Tls)), (0, 3));
        let (_, stat) = summary.errors.iter().next().unwrap();
        assert!(stat.example.contains(said), "{}", stat.example);
        assert!(!stat.example.contains("Other"), "Rust's names: {}", stat.example);
    }
}
