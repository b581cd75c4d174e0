//! Servers with keys, roles and certificates.

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use async_nats::jetstream;
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};

use crate::common::*;

/// Makes a key; returns its public half.
fn key(path: &Path) -> String {
    let output = fleet().arg("key").arg(path).output().unwrap();
    assert!(output.status.success(), "{}", said(&output));
    String::from_utf8(output.stdout).unwrap().trim().to_owned()
}

/// A server with the printed configuration, and the public key of its coordinator.
fn with_roles(program: &Path) -> (Nats, String) {
    let directory = scratch();
    let coordinator = key(&directory.join("coordinator.nk"));
    let worker = key(&directory.join("worker.nk"));
    let output = fleet().args(["print", "nats-server"]).output().unwrap();
    let config = String::from_utf8(output.stdout).unwrap();
    let config = config
        .replace("COORDINATOR_KEY", &coordinator)
        .replace("WORKER_KEY", &worker)
        .replace("/var/lib/nats", &directory.join("js").display().to_string());
    (Nats::configured(program, directory, &config), coordinator)
}

#[test]
fn printed_roles_carry_a_run() {
    if !can_run() {
        return;
    }
    for program in nats_servers() {
        let (nats, coordinator) = with_roles(&program);
        let server = server();
        let worker_key = nats.directory.join("worker.nk").display().to_string();
        let more =
            [&LOOPBACK[..], &["--nkey", &worker_key, "--coordinator", &coordinator]].concat();
        let _workers = [nats.worker("w1", &more), nats.worker("w2", &more)];
        let own_key = nats.directory.join("coordinator.nk").display().to_string();
        let load = ["--nkey", &own_key, "--workers", "2", "--", "-n", "200", "-c", "4"];
        let output = nats.run(&load).arg(server.url()).output().unwrap();
        assert!(is_good(output.status.code(), &nats.record()), "{}", said(&output));
        assert_eq!(nats.record().requests.completed, 200);
    }
}

/// The server itself holds a worker's key to its role: it calls no worker, changes no plan, and hears
/// no other worker.
#[test]
fn worker_key_cannot_coordinate() {
    if !can_run() {
        return;
    }
    for program in nats_servers() {
        let (nats, _) = with_roles(&program);
        let seed = |name: &str| {
            std::fs::read_to_string(nats.directory.join(name)).unwrap().trim().to_owned()
        };
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let connect = async |name: &str| {
                let options = async_nats::ConnectOptions::new().nkey(seed(name));
                let options = options.request_timeout(Some(Duration::from_secs(1)));
                options.connect(&nats.url).await.unwrap()
            };
            let (coordinator, worker) =
                (connect("coordinator.nk").await, connect("worker.nk").await);
            let stream = jetstream::stream::Config {
                name: "KV_keepwarm_r".to_owned(),
                subjects: vec!["$KV.keepwarm_r.>".to_owned()],
                max_messages_per_subject: 1,
                allow_direct: true,
                ..Default::default()
            };
            let own = jetstream::new(coordinator);
            let mut stream = own.create_stream(stream).await.unwrap();
            let mut theirs = jetstream::new(worker);
            theirs.set_timeout(Duration::from_secs(1));
            for (subject, may) in [
                ("$KV.keepwarm_r.plan", false),
                ("$KV.keepwarm_r.start", false),
                ("$KV.keepwarm_r.stop", false),
                ("$KV.keepwarm_r.worker.w1", true),
            ] {
                let ack = theirs.publish(subject, "x".into()).await.unwrap().await;
                assert_eq!(ack.is_ok(), may, "{subject}: {ack:?}");
            }
            assert_eq!(stream.info().await.unwrap().state.messages, 1);
            assert!(theirs.delete_stream("KV_keepwarm_r").await.is_err(), "a worker deletes a run");
        });
        // As a coordinator, a worker's key is refused, and told so.
        let worker_key = nats.directory.join("worker.nk").display().to_string();
        let load = ["--nkey", &worker_key, "--wait", "1s", "--", "-n", "1", "http://127.0.0.1:9/"];
        let output = nats.run(&load).output().unwrap();
        assert_eq!(output.status.code(), Some(3), "{}", said(&output));
    }
}

/// The table of real workers, by name, with what they may load.
#[test]
fn look_lists_workers_and_limits() {
    if !can_run() {
        return;
    }
    let nats = Nats::start();
    let limits = ["--max-rate", "1500", "--max-connections", "7000", "--max-duration", "90s"];
    let _one = nats.worker("one", &[&LOOPBACK[..], &limits].concat());
    let _two = nats.worker("a-name-that-is-longer-than-a-column", &LOOPBACK);
    let output = fleet().args(["look", "--nats", &nats.url]).output().unwrap();
    let table = String::from_utf8(output.stdout).unwrap();
    assert!(table.starts_with("2 workers, 2 free\nkeepwarm "), "{table}");
    assert!(table.contains("\nmay load 127.0.0.0/8:*\n"), "{table}");
    assert!(table.lines().all(|line| line.chars().count() <= 80), "{table}");
    let row = table.lines().find(|line| line.starts_with("one ")).unwrap();
    let cells: Vec<&str> = row.split_whitespace().skip(2).collect();
    assert_eq!(cells, ["1,500", "7,000", "90s", "free"], "{table}");
}

#[test]
fn wrong_keys_are_denied() {
    if !can_run() {
        return;
    }
    let (nats, coordinator) = with_roles(&nats_servers()[0]);
    let stranger = nats.directory.join("stranger.nk");
    key(&stranger);
    let stranger = stranger.display().to_string();
    for more in [&["--nkey", &stranger][..], &[]] {
        for command in [&["look"][..], &["worker", "--allow-target", "127.0.0.1:80"]] {
            let mut command_line = fleet();
            let output = command_line.args(command).args(["--nats", &nats.url]).args(more).output();
            let output = output.unwrap();
            assert_eq!(output.status.code(), Some(6), "{}", said(&output));
            assert!(said(&output).contains("--nkey"), "{}", said(&output));
        }
    }
    // The server lets it in; the worker does not trust the plan.
    let worker_key = nats.directory.join("worker.nk").display().to_string();
    let own_key = nats.directory.join("coordinator.nk").display().to_string();
    let other = coordinator.replace(&coordinator[10..14], "AAAA");
    let more = [&LOOPBACK[..], &["--nkey", &worker_key, "--coordinator", &other]].concat();
    let _worker = nats.worker("w1", &more);
    let output = nats.run(&["--nkey", &own_key, "--", "-n", "1", "http://127.0.0.1:9/"]).output();
    let output = output.unwrap();
    assert_eq!(output.status.code(), Some(2), "{}", said(&output));
    assert!(said(&output).contains("--coordinator does not name"), "{}", said(&output));
}

/// Certificates of an authority of the test's own, and of a stranger, in PEM.
fn certificates(directory: &Path) {
    let write = |name: &str, text: String| std::fs::write(directory.join(name), text).unwrap();
    let authority = |file: &str| {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        write(file, params.self_signed(&key).unwrap().pem());
        Issuer::new(params, key)
    };
    let (own, _stranger) = (authority("ca.pem"), authority("stranger.pem"));
    for name in ["server", "client"] {
        let key = KeyPair::generate().unwrap();
        let params = CertificateParams::new(vec!["127.0.0.1".to_owned()]).unwrap();
        write(&format!("{name}.pem"), params.signed_by(&key, &own).unwrap().pem());
        write(&format!("{name}.key"), key.serialize_pem());
    }
}

#[test]
fn own_authority_is_trusted_and_no_other() {
    if !can_run() {
        return;
    }
    for program in nats_servers() {
        let directory = scratch();
        certificates(&directory);
        let path = |name: &str| directory.join(name).display().to_string();
        let config = format!(
            "jetstream {{ store_dir: {:?} }}\ntls {{ cert_file: {:?}, key_file: {:?} }}\n",
            path("js"),
            path("server.pem"),
            path("server.key")
        );
        let nats = Nats::configured(&program, directory.clone(), &config);
        let url = nats.url.replace("nats://", "tls://");
        let ca = path("ca.pem");
        let _worker =
            nats.worker("w1", &["--nats", &url, "--tls-ca", &ca, LOOPBACK[0], LOOPBACK[1]]);
        let server = server();
        let mut command = fleet();
        command.args(["run", "--nats", &url, "--tls-ca", &ca, "--output", &path("run.json")]);
        let output = command.args(["--", "-n", "50", "-c", "2", &server.url()]).output().unwrap();
        assert!(is_good(output.status.code(), &nats.record()), "{}", said(&output));
        assert_eq!(nats.record().requests.completed, 50);

        for more in [vec![], vec!["--tls-ca".to_owned(), path("stranger.pem")]] {
            let output = fleet().args(["look", "--nats", &url]).args(&more).output().unwrap();
            assert_eq!(output.status.code(), Some(3), "{}", said(&output));
            assert!(said(&output).contains("--tls-ca"), "{}", said(&output));
        }
        let missing = path("no-such.pem");
        let output = fleet().args(["look", "--nats", &url, "--tls-ca", &missing]).output().unwrap();
        assert_eq!(output.status.code(), Some(2), "{}", said(&output));
        assert!(said(&output).contains(&missing), "{}", said(&output));
    }
}

#[test]
fn client_certificate_opens_a_strict_server() {
    if !can_run() {
        return;
    }
    let directory = scratch();
    certificates(&directory);
    let path = |name: &str| directory.join(name).display().to_string();
    let config = format!(
        "jetstream {{ store_dir: {:?} }}\n\
         tls {{ cert_file: {:?}, key_file: {:?}, ca_file: {:?}, verify: true }}\n",
        path("js"),
        path("server.pem"),
        path("server.key"),
        path("ca.pem")
    );
    let nats = Nats::configured(&nats_servers()[0], directory.clone(), &config);
    let url = nats.url.replace("nats://", "tls://");
    let look = |more: &[&str]| {
        let mut command: Command = fleet();
        command.args(["look", "--nats", &url, "--tls-ca", &path("ca.pem")]).args(more);
        command.output().unwrap()
    };
    let output = look(&[]);
    assert_eq!(output.status.code(), Some(3), "{}", said(&output));
    let (cert, own) = (path("client.pem"), path("client.key"));
    let output = look(&["--tls-cert", &cert, "--tls-key", &own]);
    assert!(said(&output).contains("no worker answers"), "{}", said(&output));
}
