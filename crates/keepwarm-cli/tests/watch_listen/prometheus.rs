//! Real Prometheus and alertmanager beside a program that uses up its local ports: every query of the
//! dashboard finds something, and the alert comes before connect(2) fails.

use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use keepwarm_testkit::mortal;
use serde_json::Value;

use crate::common::{PATIENCE, folder, until};
use crate::files::printed;
use crate::http::get;
use crate::{Exporter, has, namespace};

/// Local ports of the namespace, and connections a second: taken for 60 s each, they run out after
/// 40 s, and the forecast of a minute sees it coming from the first.
const PORTS: u32 = 1_200;
const RATE: u32 = 30;
const SERVICE: &str = "127.0.0.1:8081";

const PROMETHEUS: &str = "127.0.0.1:9090";
const ALERTMANAGER: &str = "127.0.0.1:9093";
const WEBHOOK: &str = "127.0.0.1:9099";

/// A program of Debian's, killed when dropped.
struct Program(Child);

impl Program {
    fn start(program: &str, arguments: &[String]) -> Program {
        let mut command = mortal::command(program, "KILL");
        command.args(arguments).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        Program(command.spawn().unwrap())
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn alert_comes_before_ports_are_gone() {
    if !(has("prometheus") && has("prometheus-alertmanager")) {
        return;
    }
    let Some(namespace) = namespace() else { return };
    namespace.enter().unwrap();
    namespace.set("tcp_tw_reuse", 0).unwrap();
    std::fs::write("/proc/sys/net/ipv4/ip_local_port_range", format!("20000 {}", 19_999 + PORTS))
        .unwrap();
    let exporter = Exporter::start(&["--level", "l1"]);
    let alerts = webhook();
    let _programs = start_prometheus(exporter.address);
    serve();
    let gate = Arc::new(AtomicBool::new(true));
    let slow = Arc::clone(&gate);
    // A thread is in the namespace of the thread that starts it.
    let churning = thread::spawn(move || run_out(&slow));
    let text = alerts.recv_timeout(PATIENCE).expect("an alert");
    assert!(text.contains("KeepwarmPortsRunOut") && text.contains(SERVICE), "{text}");
    assert!(!churning.is_finished(), "the alert came too late: {text}");
    ask_dashboard();
    gate.store(false, Ordering::SeqCst);
    let opened = churning.join().unwrap();
    assert!(opened <= PORTS, "ports that were not there: {opened}");
    assert_eq!(exporter.terminate(), Some(0));
}

/// Opens connections at the rate, then as fast as they go, until connect(2) fails; returns how many.
fn run_out(slow: &AtomicBool) -> u32 {
    let begun = Instant::now();
    for opened in 0..100_000 {
        let due = Duration::from_secs(1) * opened / RATE;
        while slow.load(Ordering::SeqCst) && begun.elapsed() < due {
            thread::sleep(Duration::from_millis(2));
        }
        match TcpStream::connect(SERVICE) {
            Ok(mut stream) => {
                stream.write_all(b"ask").unwrap();
                let _ = stream.read(&mut [0; 8]);
            }
            Err(error) if error.kind() == ErrorKind::AddrNotAvailable => return opened,
            Err(error) => panic!("{error}"),
        }
    }
    panic!("the ports never run out")
}

/// Answers each connection once, and closes after its client.
fn serve() {
    let listener = TcpListener::bind(SERVICE).unwrap();
    thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            let _ = stream.read(&mut [0; 8]).and_then(|_| stream.write_all(b"answer"));
            let _ = stream.read(&mut [0; 8]);
        }
    });
}

/// Receives what alertmanager sends.
fn webhook() -> mpsc::Receiver<String> {
    let listener = TcpListener::bind(WEBHOOK).unwrap();
    let (sender, receiver) = mpsc::channel();
    thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            let mut text = Vec::new();
            let mut piece = [0; 4096];
            stream.set_read_timeout(Some(Duration::from_millis(500))).unwrap();
            while let Ok(count @ 1..) = stream.read(&mut piece) {
                text.extend_from_slice(&piece[..count]);
            }
            let _ = stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n");
            let _ = sender.send(String::from_utf8_lossy(&text).into_owned());
        }
    });
    receiver
}

fn start_prometheus(page: SocketAddr) -> [Program; 2] {
    let folder = folder("watch-prometheus");
    let _ = std::fs::remove_dir_all(folder.join("data"));
    let _ = std::fs::remove_dir_all(folder.join("alerts"));
    let rules = printed("alerts", "alerts.yml");
    let (prometheus, alertmanager) =
        (folder.join("prometheus.yml"), folder.join("alertmanager.yml"));
    let config = format!(
        "global: {{scrape_interval: 1s, scrape_timeout: 1s, evaluation_interval: 1s}}\n\
         rule_files: ['{}']\n\
         alerting: {{alertmanagers: [{{static_configs: [{{targets: ['{ALERTMANAGER}']}}]}}]}}\n\
         scrape_configs: [{{job_name: keepwarm, static_configs: [{{targets: ['{page}']}}]}}]\n",
        rules.display()
    );
    std::fs::write(&prometheus, config).unwrap();
    let config = format!(
        "route: {{receiver: test, group_wait: 0s}}\n\
         receivers: [{{name: test, webhook_configs: [{{url: 'http://{WEBHOOK}/'}}]}}]\n"
    );
    std::fs::write(&alertmanager, config).unwrap();
    let path = |name: &str, path: &Path| format!("--{name}={}", path.display());
    let alertmanager = Program::start(
        "prometheus-alertmanager",
        &[
            path("config.file", &alertmanager),
            path("storage.path", &folder.join("alerts")),
            format!("--web.listen-address={ALERTMANAGER}"),
            "--cluster.listen-address=".to_owned(),
        ],
    );
    let prometheus = Program::start(
        "prometheus",
        &[
            path("config.file", &prometheus),
            path("storage.tsdb.path", &folder.join("data")),
            format!("--web.listen-address={PROMETHEUS}"),
        ],
    );
    let address = PROMETHEUS.parse().unwrap();
    let is_up = || TcpStream::connect(PROMETHEUS).is_ok() && get(address, "/-/ready").0 == 200;
    assert!(until(is_up), "Prometheus is not ready");
    [alertmanager, prometheus]
}

/// Asks Prometheus each query of the dashboard; each finds something.
fn ask_dashboard() {
    let dashboard = printed("dashboard", "dashboard.json");
    let dashboard: Value = serde_json::from_slice(&std::fs::read(dashboard).unwrap()).unwrap();
    let mut asked = 0;
    for panel in dashboard["panels"].as_array().unwrap() {
        for target in panel["targets"].as_array().unwrap() {
            let query = target["expr"].as_str().unwrap();
            let query = query.replace("$__rate_interval", "20s");
            let query = query.replace("$instance", ".*").replace("$remote", ".*");
            let mut answer = Value::Null;
            let found = until(|| {
                answer = ask(&query);
                answer["data"]["result"].as_array().is_some_and(|result| !result.is_empty())
            });
            assert!(found, "{}: {query}: {answer}", panel["title"]);
            asked += 1;
        }
    }
    assert!(asked >= 10, "{asked} queries");
}

fn ask(query: &str) -> Value {
    let escaped: String = query.bytes().map(|byte| format!("%{byte:02X}")).collect();
    let path = format!("/api/v1/query?query={escaped}");
    serde_json::from_str(&get(PROMETHEUS.parse().unwrap(), &path).1).unwrap()
}
