//! The page's numbers, against connections with known truth, and its limits.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use keepwarm_testkit::churn::{Family, Upstream, Way};
use keepwarm_testkit::skipped;

use crate::common::{
    folder, keepwarm, makes_namespaces, reaches_level_l2, run, thread_statuses, until,
};
use crate::http::{connect, get, read, samples, sum};
use crate::{Exporter, has, namespace};

/// Longest time that a page may take to cut a connection off: it allows five seconds.
const PATIENCE: Duration = Duration::from_secs(60);

#[test]
fn page_counts_each_close_once() {
    let Some(namespace) = namespace() else { return };
    namespace.enter().unwrap();
    let exporter = Exporter::start(&["--node-name", "n\"1"]);
    let mut upstream = Upstream::listen(Family::V4).unwrap();
    upstream.play(Way::ClientFin, 40, 1).unwrap();
    upstream.play(Way::ServerFin, 20, 3).unwrap();
    upstream.play(Way::ClientRst, 5, 1).unwrap();
    let remote = format!("remote=\"127.0.0.1:{}\"", upstream.port());
    let mut page = String::new();
    let client = ["side=\"client\"", remote.as_str()];
    let closed = "keepwarm_connections_closed_total";
    let all_seen = until(|| {
        page = get(exporter.address, "/metrics").1;
        sum(&samples(&page), closed, &client) >= 65.0
    });
    assert!(all_seen, "{page}");
    let found = samples(&page);
    let of = |metric: &str, more: &str| sum(&found, metric, &[client[0], client[1], more]);
    assert_eq!(of("keepwarm_connections_opened_total", ""), 65.0, "{page}");
    for (by, count) in
        [("local_fin", 40.0), ("remote_fin", 20.0), ("local_rst", 5.0), ("unclassified", 0.0)]
    {
        assert_eq!(of(closed, &format!("by=\"{by}\"")), count, "{by}");
    }
    let requests =
        |le: &str| of("keepwarm_requests_per_connection_bucket", &format!("le=\"{le}\""));
    assert_eq!((requests("1"), requests("2"), requests("3")), (45.0, 45.0, 65.0), "{page}");
    assert_eq!(of("keepwarm_requests_per_connection_sum", ""), 105.0);
    assert_eq!(of("keepwarm_idle_at_close_seconds_count", ""), 65.0, "{page}");
    assert_eq!(of("keepwarm_sockets", "time_wait"), 40.0);
    assert!(page.contains("node=\"n\\\"1\""), "the label of the node, escaped");
    assert!(page.contains("keepwarm_build_info{node="), "{page}");
    // The two sides of one service, the page's own, and no port of a client.
    let own = format!("remote=\"{}\"", exporter.address);
    for name in found.keys().filter(|name| name.contains("remote=")) {
        assert!(name.contains(&remote) || name.contains(&own), "{name}");
    }
    assert_eq!(get(exporter.address, "/healthz"), (200, "ok\n".to_owned()));
    assert_eq!(get(exporter.address, "/nothing").0, 404);
    if has("promtool") {
        let mut check = Command::new("promtool");
        check.args(["check", "metrics"]).stdin(Stdio::piped()).stderr(Stdio::piped());
        let mut check = check.spawn().unwrap();
        check.stdin.take().unwrap().write_all(page.as_bytes()).unwrap();
        let output = check.wait_with_output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.success() && said.is_empty(), "{said}");
    }
    assert_eq!(exporter.terminate(), Some(0), "SIGTERM is its end");
}

/// The page of docs has the metrics that there are, and no other.
#[test]
fn docs_have_every_metric() {
    let docs = include_str!("../../../../docs/prometheus.md");
    let source = include_str!("../../src/watch/listen/page.rs");
    let names = |text: &'static str, quote: char| -> std::collections::BTreeSet<&'static str> {
        let words = text.split(quote);
        words.filter(|word| word.starts_with("keepwarm_") && !word.contains(' ')).collect()
    };
    assert_eq!(names(docs, '`'), names(source, '"'));
}

/// Connections that never ask, heads without an end and bodies that nothing reads: each is bounded,
/// and a scrape beside them is answered.
#[test]
fn hostile_requests_keep_no_scrape_out() {
    let exporter = Exporter::start(&[":1"]);
    let mut silent: Vec<TcpStream> = (0..100).map(|_| connect(exporter.address)).collect();
    let mut kept = connect(exporter.address);
    let ask = |stream: &mut TcpStream| {
        stream.write_all(b"GET /healthz HTTP/1.1\r\nHost: test\r\n\r\n").unwrap();
        let mut bytes = Vec::new();
        let mut byte = [0; 1];
        while !bytes.ends_with(b"ok\n") {
            assert_eq!(stream.read(&mut byte).unwrap(), 1, "{:?}", String::from_utf8_lossy(&bytes));
            bytes.push(byte[0]);
        }
    };
    ask(&mut kept);
    ask(&mut kept);
    let page = get(exporter.address, "/metrics").1;
    let refused = sum(&samples(&page), "keepwarm_watch_requests_refused_total", &[]);
    assert!(refused >= 60.0, "{refused} of a hundred silent ones made room");
    // The first ones were closed for the others; the last ones are cut off for their silence.
    assert_eq!(read(silent.last_mut().unwrap()), "");
    let mut huge = connect(exporter.address);
    let head = format!("GET / HTTP/1.1\r\nX: {}\r\n", "x".repeat(9 << 10));
    let _ = huge.write_all(head.as_bytes());
    assert!(read(&mut huge).starts_with("HTTP/1.1 431 "));
    for (request, status) in [
        ("POST /metrics HTTP/1.1\r\n\r\n", 405),
        ("GET / HTTP/1.1\r\nContent-Length: 1000000000\r\n\r\n", 413),
        ("nonsense\r\n\r\n", 400),
        ("\u{16}\u{3}\u{1}\r\n", 400),
    ] {
        let mut stream = connect(exporter.address);
        stream.write_all(request.as_bytes()).unwrap();
        let response = read(&mut stream);
        assert!(response.starts_with(&format!("HTTP/1.1 {status} ")), "{request:?}: {response}");
    }
    assert_eq!(get(exporter.address, "/healthz").0, 200);
    assert_eq!(exporter.terminate(), Some(0));
}

/// As root: of its capabilities two are left to every thread, however it got into its namespace.
#[test]
fn needless_capabilities_are_dropped() {
    let of = |pid: u32| {
        let statuses = thread_statuses(pid);
        let field = |status: &str, name: &str| {
            let line = status.lines().find_map(|line| line.strip_prefix(name));
            u64::from_str_radix(line.unwrap().trim(), 16).unwrap()
        };
        let of = |status: &String| (field(status, "CapEff:"), field(status, "CapPrm:"));
        statuses.iter().map(of).collect::<Vec<_>>()
    };
    // CAP_DAC_READ_SEARCH and CAP_SYS_PTRACE (linux/capability.h).
    let needed: u64 = 1 << 2 | 1 << 19;
    let own = format!("/proc/{}/ns/net", std::process::id());
    let mut ways = vec![vec![":1"]];
    if makes_namespaces() {
        ways.push(vec![":1", "--netns", &own]);
    }
    for arguments in ways {
        let exporter = Exporter::start(&arguments);
        assert_eq!(get(exporter.address, "/healthz").0, 200);
        let threads = of(exporter.child.id());
        assert!(threads.len() > 2, "{threads:?}");
        for (effective, permitted) in threads {
            let left = effective | permitted;
            assert_eq!(left & !needed, 0, "{left:x} of a thread: {arguments:?}");
        }
        assert_eq!(exporter.terminate(), Some(0), "{arguments:?}");
    }
}

/// The thresholds of the heap are set by the environment, in the process that was started.
#[cfg(target_env = "gnu")]
#[test]
fn heap_gives_bursts_back() {
    let exporter = Exporter::start(&[":1"]);
    let environment = std::fs::read(format!("/proc/{}/environ", exporter.child.id())).unwrap();
    let is_set =
        |name: &[u8]| environment.split(|byte| *byte == 0).any(|one| one.starts_with(name));
    assert!(is_set(b"MALLOC_MMAP_THRESHOLD_=") && is_set(b"MALLOC_TRIM_THRESHOLD_="));
    assert_eq!(exporter.terminate(), Some(0));
}

/// Memory stays where it is, however many connections have come and gone: a hundred bytes kept of each
/// would be seen. They end by resets, since a TIME_WAIT is held for a minute.
#[test]
fn memory_does_not_grow_with_closes() {
    const ROUND: u64 = 10_000;
    const GROWTH_AT_MOST: f64 = (ROUND * 100) as f64;
    let Some(namespace) = namespace() else { return };
    namespace.enter().unwrap();
    let exporter = Exporter::start(&["--level", "l1"]);
    let mut upstream = Upstream::listen(Family::V4).unwrap();
    let mut played = 0;
    let mut after_round = || {
        upstream.play(Way::ClientRst, ROUND, 1).unwrap();
        played += ROUND;
        let mut resident = 0.0;
        let seen = until(|| {
            let found = samples(&get(exporter.address, "/metrics").1);
            let labels = ["side=\"client\"", "by=\"local_rst\""];
            resident = found["process_resident_memory_bytes"];
            sum(&found, "keepwarm_connections_closed_total", &labels) >= played as f64
        });
        assert!(seen, "{played} closes");
        resident
    };
    // A burst that was read late may need more than any before it; growth of each round does not end.
    let mut last = after_round();
    let settles = (0..8).any(|_| {
        let resident = after_round();
        let grown = resident - last;
        last = resident;
        grown <= GROWTH_AT_MOST
    });
    assert!(settles, "it still grows, at {:.1} MB", last / 1e6);
}

/// The slope of memory over two minutes of closes by FIN, whose TIME_WAITs are held for one, at the
/// level that a root has: in the second minute nothing grows with the closes. Two minutes long, beside
/// the alerts of Prometheus, which take no less.
#[test]
fn memory_has_no_slope_over_two_minutes() {
    const MINUTE: Duration = Duration::from_secs(60);
    const THIRD: Duration = Duration::from_secs(20);
    /// Pages come and go; a hundred bytes kept of each close would be seen.
    const BYTES_A_CLOSE: f64 = 50.0;
    const BURST: u64 = 25;
    if !reaches_level_l2() {
        return skipped::because("the slope of memory is measured where a watch reaches level L2");
    }
    let Some(namespace) = namespace() else { return };
    namespace.enter().unwrap();
    let exporter = Exporter::start(&[]);
    let mut upstream = Upstream::listen(Family::V4).unwrap();
    let (begun, mut closes) = (Instant::now(), 0);
    // The least resident memory, which no burst that was read late adds to, and the closes until then.
    let mut least_until = |to: Duration| {
        let mut least = f64::MAX;
        while begun.elapsed() < to {
            for way in [Way::ClientFin, Way::ServerFin, Way::ClientFin, Way::ClientRst] {
                upstream.play(way, BURST, 2).unwrap();
                closes += BURST;
            }
            let found = samples(&get(exporter.address, "/metrics").1);
            least = least.min(found["process_resident_memory_bytes"]);
            // A rate of 400 a second leaves the machine to the tests beside this one.
            std::thread::sleep(Duration::from_millis(250));
        }
        (least, closes as f64)
    };
    least_until(MINUTE);
    let thirds = [1, 2, 3].map(|third| least_until(MINUTE + third * THIRD));
    // A burst may move memory once; growth with the closes goes on.
    let slope = |pair: &[(f64, f64)]| (pair[1].0 - pair[0].0) / (pair[1].1 - pair[0].1);
    let least = thirds.windows(2).map(slope).fold(f64::MAX, f64::min);
    assert!(least < BYTES_A_CLOSE, "{least} bytes a close: {thirds:?}");
    assert_eq!(exporter.terminate(), Some(0));
}

#[test]
fn page_needs_name_and_password() {
    let folder = folder("watch-listen-auth");
    let users = folder.join("users");
    std::fs::write(&users, "# scrapers\nprom:se:cret\n").unwrap();
    let made = rcgen::generate_simple_self_signed(["127.0.0.1".to_owned()]).unwrap();
    let (certificate, key) = (folder.join("cert.pem"), folder.join("key.pem"));
    std::fs::write(&certificate, made.cert.pem()).unwrap();
    std::fs::write(&key, made.signing_key.serialize_pem()).unwrap();
    let path = |path: &std::path::Path| path.to_str().unwrap().to_owned();
    let (users, certificate, key) = (path(&users), path(&certificate), path(&key));
    let arguments =
        [":1", "--listen-auth", &users, "--listen-cert", &certificate, "--listen-key", &key];
    let exporter = Exporter::start(&arguments);
    assert_eq!(exporter.scheme, "https");
    // A handshake that comes byte by byte, in a record of 16 kB, is cut off.
    let mut slow = connect(exporter.address);
    slow.write_all(&[0x16, 3, 1, 0x40, 0, 1, 0, 0x3f, 0xfc, 3, 3]).unwrap();
    let cut = std::thread::spawn(move || {
        let begun = Instant::now();
        while slow.write_all(&[0]).is_ok() && begun.elapsed() < 2 * PATIENCE {
            std::thread::sleep(Duration::from_millis(100));
        }
        begun.elapsed() < PATIENCE
    });
    if has("curl") {
        let url = format!("https://{}/metrics", exporter.address);
        let status = |arguments: &[&str]| {
            let mut curl = Command::new("curl");
            curl.args(["-s", "-o", "/dev/null", "-w", "%{http_code}", "--cacert", &certificate]);
            String::from_utf8(curl.args(arguments).arg(&url).output().unwrap().stdout).unwrap()
        };
        assert_eq!(status(&["-u", "prom:se:cret"]), "200");
        assert_eq!(status(&["-u", "prom:wrong"]), "401");
        assert_eq!(status(&[]), "401");
    }
    // Plain HTTP at a port of TLS gets no page.
    let mut plain = connect(exporter.address);
    plain.write_all(b"GET /metrics HTTP/1.0\r\n\r\n").unwrap();
    let mut bytes = Vec::new();
    let _ = plain.read_to_end(&mut bytes);
    assert!(!bytes.starts_with(b"HTTP"), "{bytes:?}");
    assert!(cut.join().unwrap(), "the handshake goes on");
}

/// Secrets come by a pipe, too; a device that never ends is refused.
#[test]
fn secrets_are_read_to_their_bound() {
    let page = ["watch", ":1", "--listen", "127.0.0.1:0"];
    for option in ["--listen-auth", "--listen-cert"] {
        let mut command = keepwarm();
        command.args(page).args([option, "/dev/zero"]);
        if option == "--listen-cert" {
            command.args(["--listen-key", "/dev/zero"]);
        }
        run(&mut command).exits_with(2).says("/dev/zero").says("it is larger than");
    }
    let mut command = keepwarm();
    command.args(page).args(["--listen-auth", "/dev/stdin"]).stderr(Stdio::null());
    let (reader, mut writer) = std::io::pipe().unwrap();
    writer.write_all(b"prom:secret\n").unwrap();
    drop(writer);
    let exporter = Exporter::of(command.stdin(reader));
    assert_eq!(get(exporter.address, "/metrics").0, 401);
    assert_eq!(exporter.terminate(), Some(0));
}

#[test]
fn unusable_listen_arguments_are_named() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    run(keepwarm().args(["watch", "--listen", &address]))
        .exits_with(5)
        .says(&format!("cannot listen on {address}: the port is taken"));
    run(keepwarm().args(["watch", "--listen", "192.0.2.1:9465"]))
        .exits_with(5)
        .says("this host does not have that address");
    run(keepwarm().args(["watch", "--listen", "127.0.0.1:0", "--listen-auth", "/nowhere"]))
        .exits_with(2)
        .says("cannot use /nowhere for --listen-auth");
    let folder = folder("watch-listen-unusable");
    let file = folder.join("file");
    let name = file.to_str().unwrap();
    for (content, why) in [("", "names no user"), ("a:b\nc\n", "line 2 is not user:password")] {
        std::fs::write(&file, content).unwrap();
        run(keepwarm().args(["watch", "--listen", "127.0.0.1:0", "--listen-auth", name]))
            .exits_with(2)
            .says(why);
    }
    let tls = ["--listen-cert", name, "--listen-key", name];
    run(keepwarm().args(["watch", "--listen", "127.0.0.1:0"]).args(tls))
        .exits_with(2)
        .says(&format!("cannot use {name} for TLS"));
    for arguments in [&["--once"][..], &["--format", "json"], &["--listen-cert", "x"]] {
        run(keepwarm().args(["watch", "--listen", "127.0.0.1:0"]).args(arguments)).exits_with(2);
    }
}
